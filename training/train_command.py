# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video train`: parses, calls [`train`], prints. Torch is not imported before it is needed."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.errors import UsageError
from ..common.exit_codes import OK
from ..common.json_files import parse_json
from ..common.text import printable
from ..hub.commands import add_push_options
from ..hub.push import PushPlan, check_repo_id, push


if TYPE_CHECKING:
    from .plan import TrainingListener, TrainingPlan

DESCRIPTION = "Train a detector from a recipe, on data sets in their original layout or on real faces only."
EXAMPLES = """\
examples:
  deepfake-video train FaceForensics++ --recipe frames --output run1
  deepfake-video train FaceForensics++ faces --recipe bilstm --set initial=imagenet --output run2
  deepfake-video train my_faces --recipe frames --set 'fakes={"self-blended": 1}' --validation-data Celeb-DF-v2 \\
      --output run3
  accelerate launch -m deepfake_video.cli train FaceForensics++ --recipe frames --output run4     several GPUs

To resume a training run that was stopped, run the same command again. The model folder is OUTPUT/model.
"""
_HINT = "run the same command to resume from the last validation."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video train`."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "data", nargs="+", type=Path, metavar="DATA", help="data sets, or folders with real/ and fake/"
    )
    parser.add_argument(
        "--validation-data",
        nargs="+",
        type=Path,
        default=[],
        metavar="DATA",
        help="validate on these instead of on held-out people",
    )
    parser.add_argument(
        "--recipe", required=True, metavar="RECIPE", help="name of a recipe, or path of a recipe file in JSON"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NAME=VALUE",
        help="change a field of the recipe; the value is JSON or a plain string",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FOLDER", help="folder for the log, the state and the model"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="folder for cached face crops (default: OUTPUT/crops)"
    )
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="cpu: do not use a GPU")
    parser.add_argument(
        "--precision", choices=["no", "fp16", "bf16"], default="no", help="mixed precision (default: no)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that prepare the data, for each GPU (default: by the number of cores)",
    )
    parser.add_argument(
        "--pairs-on",
        choices=["cpu", "device"],
        default="cpu",
        help="where the pixels of training pairs are computed: cpu, in the worker processes, or device, on the device "
        "of the network, which needs fewer CPU cores (speed on a GPU not measured; default: cpu)",
    )
    parser.add_argument(
        "--stop-after", type=int, metavar="STEPS", help="stop after this number of steps, to be resumed later"
    )
    parser.add_argument("--quiet", action="store_true", help="print only errors and the result")
    parser.add_argument("--push", metavar="USER/NAME", help="publish the model on the Hugging Face Hub")
    add_push_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video train`; returns the exit code."""
    if arguments.push:
        check_repo_id(arguments.push)
    try:
        from transformers.utils import logging

        from .training_run import train

        # Of saving the model, which takes a moment.
        logging.disable_progress_bar()
        result = train(_make_plan(arguments), _make_listener(quiet=arguments.quiet))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_HINT) from None
    if result.model is None:
        print(
            f"stopped after step {result.steps}; run the same command to resume. State: {result.output / 'state'}",
            file=sys.stderr,
        )
    elif result.metrics:
        area = result.metrics["auc"]
        interval = "" if area.low is None else f" ({area.low:.3f} to {area.high:.3f})"
        print(f"{result.model}: AUC {area.value:.3f}{interval} on the validation videos")
        if arguments.push:
            push_plan = PushPlan(
                folder=result.model,
                repo_id=arguments.push,
                private=arguments.private,
                revision=arguments.revision,
            )
            print(push(push_plan).summary())
    return OK


def _make_plan(arguments: argparse.Namespace) -> "TrainingPlan":
    from .plan import TrainingPlan
    from .recipe import Recipe

    return TrainingPlan(
        data=arguments.data,
        recipe=Recipe.read(arguments.recipe, **parse_changes(arguments.changes)),
        output=arguments.output,
        validation_data=arguments.validation_data,
        cache=arguments.cache,
        device=arguments.device,
        precision=arguments.precision,
        workers=arguments.workers,
        pairs_on=arguments.pairs_on,
        stop_after=arguments.stop_after,
    )


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """
    Parse the values of `--set`.

    Args:
        changes: Strings of the form NAME=VALUE, where VALUE is JSON or a plain string.

    Returns:
        Values by name.

    Raises:
        UsageError: If a string does not have this form.
    """
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise UsageError(f"--set expects NAME=VALUE, got {change!r}.")
        try:
            values[name] = parse_json(text)
        except ValueError:
            values[name] = text
    return values


def _make_listener(*, quiet: bool) -> "TrainingListener":
    from .plan import TrainingListener

    class Printer(TrainingListener):
        """Prints progress; the reasons why videos are skipped are printed even in quiet mode."""

        def note(self, text: str) -> None:
            if not quiet:
                print(printable(text), file=sys.stderr)

        def skipped(self, reason: str) -> None:
            print(f"skipped: {printable(reason)}", file=sys.stderr)

        def logged(self, record: Mapping[str, Any]) -> None:
            if not quiet:
                print("  ".join(f"{name} {value:.4g}" for name, value in record.items()), flush=True)

    return Printer()
