# SPDX-License-Identifier: Apache-2.0
"""
The command `deepfake-video`: parse the arguments, call a function of the package, print its result.

Torch is imported only when it is needed, and the package only after the handler for interrupts is installed.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence


# For each command its summary, and the module whose functions add its arguments and run it.
_COMMANDS = {
    "predict": ("score videos", "scanning.command", "add_arguments", "run"),
    "explain": ("explain stored results in plain sentences", "scanning.explain_command", "add_arguments", "run"),
    "demo": ("open the demo in the browser", "app", "add_arguments", "run"),
    "serve": ("serve an HTTP interface", "serving.serve_command", "add_arguments", "run"),
    "evaluate": ("evaluate a model on a data set", "evaluation.command", "add_arguments", "run"),
    "train": ("train a detector", "training.train_command", "add_arguments", "run"),
    "convert": ("turn a legacy checkpoint into a model folder", "convert_weights", "add_arguments", "run"),
    "push": ("publish a model folder on the Hugging Face Hub", "hub.commands", "add_push_arguments", "run_push"),
    "export": ("write a model as ONNX", "hub.commands", "add_export_arguments", "run_export"),
    "checkpoint": (
        "copy the packaged checkpoint into a self-contained folder",
        "hub.commands",
        "add_checkpoint_arguments",
        "run_checkpoint",
    ),
    "completion": ("print a shell completion script", "common.completion_command", "add_arguments", "run"),
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """
    Build the parser of all commands.

    Args:
        command: The only command whose module is imported and whose arguments are added; all of them by default.
    """
    from .common.exit_codes import EXIT_CODES_HELP
    from .version import __version__

    parser = argparse.ArgumentParser(
        prog="deepfake-video",
        description="Score videos for face manipulation: a triage tool, not proof.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"deepfake-video {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (summary, module_name, add_arguments, run) in _COMMANDS.items():
        added = commands.add_parser(name, help=summary, allow_abbrev=False)
        if command not in (None, name):
            continue
        module = importlib.import_module(f".{module_name}", __package__)
        getattr(module, add_arguments)(added)
        added.epilog = "\n\n".join(filter(None, [(added.epilog or "").rstrip(), EXIT_CODES_HELP]))
        # Completion needs the parser of all commands.
        added.set_defaults(run=getattr(module, run), parser=added, build_parser=build_parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    from .common.console import open_closed_streams, replace_unencodable
    from .common.exit_codes import run_command

    open_closed_streams()
    replace_unencodable()
    return run_command(lambda: _parse_and_run(argv))


def _parse_and_run(argv: Sequence[str] | None) -> int:
    from .common.errors import UsageError

    words = sys.argv[1:] if argv is None else argv
    options = words[: words.index("--")] if "--" in words else words
    if "" in words or any(word.startswith("--") and word.partition("=")[1:] == ("=", "") for word in options):
        # An empty output folder, for instance, would be the current folder.
        raise UsageError("an argument is empty, perhaps because a shell variable is not set.")
    command = next((word for word in words if word in _COMMANDS), "")
    arguments, left = build_parser(command).parse_known_args(words)
    if left:
        _take_left(arguments, left)
    return int(arguments.run(arguments))


def _take_left(arguments: argparse.Namespace, left: Sequence[str]) -> None:
    """
    Take the paths that argparse leaves over, because an option stands between them and the first ones.

    `parse_intermixed_args` does not know subparsers and, in Python 3.11, forgets that no option follows `--`.
    """
    end = left.index("--") if "--" in left else len(left)
    several = [action for action in arguments.parser._get_positional_actions() if action.nargs in ("*", "+")]
    if not several or any(word.startswith("-") and word != "-" for word in left[:end]):
        # The main parser would show its own usage, which does not list the options of the command.
        arguments.parser.error(f"unrecognized arguments: {' '.join(left)}")
    (action,) = several
    found = map(action.type or str, [*left[:end], *left[end + 1 :]])
    setattr(arguments, action.dest, [*getattr(arguments, action.dest), *found])


def entry() -> int:
    """Run [`main`] as the command of this process."""
    from .common.interrupts import run_interruptible

    return run_interruptible(main)


if __name__ == "__main__":
    sys.exit(entry())
