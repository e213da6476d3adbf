# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video train`; nothing here imports torch before it is needed."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..common.exit_codes import FAILED, INTERRUPTED, OK, USAGE, report
from ..hub.commands import add_push_options


DESCRIPTION = "Train a detector on data sets as they were downloaded, or on real faces alone, by a recipe."
EXAMPLES = """\
examples:
  deepfake-video train FaceForensics++ --recipe frames --output run1
  deepfake-video train FaceForensics++ faces --recipe bilstm --set initial=imagenet --output run2
  deepfake-video train my_faces --recipe frames --set 'fakes={"self-blended": 1}' --validation-data Celeb-DF-v2 \\
      --output run3
  accelerate launch -m deepfake_video.cli train FaceForensics++ --recipe frames --output run4     several GPUs

A training that was stopped goes on when the same command is given again. The model folder is OUTPUT/model. Exit status
0: trained, or stopped by --stop-after, 1: it failed on the way, 2: wrong usage, 130: interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deepfake-video train`."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "data", nargs="+", type=Path, metavar="DATA", help="data sets, or folders with real/ and fake/"
    )
    parser.add_argument(
        "--validation-data", nargs="+", type=Path, default=[], metavar="DATA", help="validates instead"
    )
    parser.add_argument("--recipe", required=True, metavar="RECIPE", help="a recipe's name, or its JSON file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NAME=VALUE",
        help="change a field of the recipe; the value is JSON, or a word",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="log, state and model")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of face crops (default: OUTPUT/crops)")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="cpu keeps it off a GPU")
    parser.add_argument("--precision", choices=["no", "fp16", "bf16"], default="no", help="mixed precision")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that prepare data (default: 2)")
    parser.add_argument("--stop-after", type=int, metavar="STEPS", help="stop after so many steps; go on later")
    parser.add_argument("--quiet", action="store_true", help="print errors and the result alone")
    parser.add_argument("--push", metavar="USER/NAME", help="publish the model on the Hub")
    add_push_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """`deepfake-video train`; returns the exit code."""
    for path in (*arguments.data, *arguments.validation_data):
        if not path.exists():
            return report(f"{path}: there is no such folder or file.", USAGE)
    if arguments.workers < 0 or (arguments.stop_after is not None and arguments.stop_after < 1):
        return report("--workers must be at least 0, and --stop-after at least 1.", USAGE)
    try:
        from .session import train_and_save

        return exit_code(lambda: train_and_save(arguments))
    except KeyboardInterrupt:
        return report("interrupted; the same command goes on from the last validation.", INTERRUPTED)


def exit_code(work: Callable[[], int | None]) -> int:
    """What `work` returns, or `OK`; where it cannot go on, `FAILED`, and one line on standard error says why."""
    try:
        return work() or OK
    except (ValueError, OSError) as error:
        return report(error, FAILED)


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """
    The fields that `--set` names.

    Raises:
        ValueError: If one is no NAME=VALUE.
    """
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise ValueError(f"--set takes NAME=VALUE, got {change!r}.")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values
