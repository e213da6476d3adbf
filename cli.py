# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video`: parses, calls, prints. Nothing here imports torch before it is needed."""

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__, convert_weights
from .app import add_demo
from .conversion import hub, onnx_export
from .evaluation.command import add_evaluate
from .scanning.command import SOME_FAILED, add_predict


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="deepfake-video",
        description="Score videos for face manipulation: a triage tool, not a verdict.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"deepfake-video {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_predict(commands)
    add_demo(commands)
    add_evaluate(commands)
    for name, summary, module in (
        ("convert", "turn a legacy checkpoint into a model folder", convert_weights),
        ("push", "publish a model folder on the Hugging Face Hub", hub),
        ("export", "write a model as ONNX", onnx_export),
    ):
        command = commands.add_parser(name, help=summary, allow_abbrev=False)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except BrokenPipeError:
        # The reader has gone, as with `| head`; Python would complain again when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED


if __name__ == "__main__":
    sys.exit(main())
