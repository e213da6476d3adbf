# SPDX-License-Identifier: Apache-2.0
"""
The command `deepfake-video`: parses, calls, prints.

Nothing here imports torch before it is needed, and nothing of the package before an interrupt is taken care of.
"""

import argparse
import sys
from collections.abc import Sequence


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    from . import app, convert_weights
    from .common import completion
    from .common.exit_codes import EXIT_CODES_HELP
    from .evaluation import command as evaluation
    from .hub import commands as hub
    from .scanning import command as scanning
    from .scanning import explain_command as explaining
    from .training import train_command as training
    from .version import __version__

    parser = argparse.ArgumentParser(
        prog="deepfake-video",
        description="Score videos for face manipulation: a triage tool, not a verdict.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"deepfake-video {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary, add_arguments, run in (
        ("predict", "score videos", scanning.add_arguments, scanning.run),
        ("explain", "explain stored results in plain sentences", explaining.add_arguments, explaining.run),
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
        ("export", "write a model as ONNX", hub.add_export_arguments, hub.run_export),
        (
            "checkpoint",
            "copy the packaged checkpoint into a folder of its own",
            hub.add_checkpoint_arguments,
            hub.run_checkpoint,
        ),
        (
            "completion",
            "print a script for completion in a shell",
            completion.add_arguments,
            completion.runner(build_parser),
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
        # The main parser would show its own usage, which names none of the options of the command.
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return int(arguments.run(arguments))


def entry() -> int:
    """[`main`] as the command of this process."""
    from .common.interrupts import run_interruptible

    return run_interruptible(main)


if __name__ == "__main__":
    sys.exit(entry())
