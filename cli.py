# SPDX-License-Identifier: Apache-2.0
"""
The command `deepfake-video`: parse the arguments, call a function of the package, print its result.

Torch is imported only when it is needed, and the package only after the handler for interrupts is installed.
"""

import argparse
import sys
from collections.abc import Sequence


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    from . import app, convert_weights
    from .common.exit_codes import EXIT_CODES_HELP
    from .evaluation import command as evaluation
    from .hub import commands as hub
    from .scanning import command as scanning
    from .training import train_command as training
    from .version import __version__

    parser = argparse.ArgumentParser(
        prog="deepfake-video",
        description="Score videos for face manipulation: a triage tool, not proof.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"deepfake-video {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary, add_arguments, run in (
        ("predict", "score videos", scanning.add_arguments, scanning.run),
        ("demo", "open the demo in the browser", app.add_arguments, app.run),
        ("evaluate", "evaluate a model on a data set", evaluation.add_arguments, evaluation.run),
        ("train", "train a detector", training.add_arguments, training.run),
        (
            "convert",
            "turn a legacy checkpoint into a model folder",
            convert_weights.add_arguments,
            convert_weights.run,
        ),
        ("push", "publish a model folder on the Hugging Face Hub", hub.add_push_arguments, hub.run_push),
        ("export", "export a model to ONNX", hub.add_export_arguments, hub.run_export),
        (
            "checkpoint",
            "copy the packaged checkpoint into a self-contained folder",
            hub.add_checkpoint_arguments,
            hub.run_checkpoint,
        ),
    ):
        command = commands.add_parser(name, help=summary, allow_abbrev=False)
        add_arguments(command)
        command.epilog = "\n\n".join(filter(None, [(command.epilog or "").rstrip(), EXIT_CODES_HELP]))
        command.set_defaults(run=run, parser=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    from .common.console import use_replacements
    from .common.exit_codes import run_command

    use_replacements()
    return run_command(lambda: _parse_and_run(argv))


def _parse_and_run(argv: Sequence[str] | None) -> int:
    arguments, unknown = build_parser().parse_known_args(argv)
    if unknown:
        # The main parser would show its own usage, which does not list the options of the command.
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return int(arguments.run(arguments))


def entry() -> int:
    """Run [`main`] as the command of this process."""
    from .common.interrupts import run_interruptible

    return run_interruptible(main)


if __name__ == "__main__":
    sys.exit(entry())
