# SPDX-License-Identifier: Apache-2.0
"""
The command `deepfake-video convert`: convert a legacy checkpoint to a model folder for the Hugging Face Hub.

`python -m deepfake_video.convert_weights` and `python convert_weights.py` run the same command; the latter runs the
installed package.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .conversion.converting import ConversionResult
    from .conversion.plan import ConversionPlan

_DESCRIPTION = """Convert a legacy deepfake-detection checkpoint (.pt/.pth/.tar/.ckpt/.safetensors) to a folder that
`pipeline("video-classification", ..., trust_remote_code=True)` loads, and check that both compute the same scores."""
_EPILOG = """examples:
  deepfake-video convert model.pt --inspect
  deepfake-video convert model.pt --output my-model --preset resnext50-lstm --pooling mean
  deepfake-video convert model.pt --output my-model --recurrence sequence --pooling mean --fake-index 1
  deepfake-video convert model.pt --output my-model --license mit --repo-id me/my-model --push --private

The file is never executed: it is read with weights_only=True, and only tensors are accepted. What the weights do not
determine is set by a preset or by options; --inspect lists what is detected, assumed and required."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video convert`."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint to convert")
    parser.add_argument("--output", type=Path, metavar="DIR", help="model folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the model folder at DIR")
    parser.add_argument("--dry-run", action="store_true", help="convert and compare only; write and send nothing")
    parser.add_argument(
        "--inspect", action="store_true", help="show what the file contains and which options are required"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_weight_options(parser.add_argument_group("weights"))
    _add_function_options(parser.add_argument_group("network"))
    _add_preprocessing_options(
        parser.add_argument_group("preprocessing (defaults depend on the detected architecture, see --inspect)")
    )
    _add_card_options(parser.add_argument_group("model card"))
    _add_push_options(parser.add_argument_group("Hugging Face Hub"))


def _add_weight_options(group: argparse._ArgumentGroup) -> None:
    from .conversion.published import PRESET_NAMES

    group.add_argument("--preset", choices=PRESET_NAMES, help="published system that the file belongs to")
    group.add_argument(
        "--key",
        metavar="NAME",
        help="which set of weights to convert, if the file contains several (such as an exponential moving average)",
    )
    group.add_argument("--backbone", metavar="timm/NAME", help="timm network of the file, if it is not detected")
    group.add_argument(
        "--head-order",
        type=lambda text: tuple(name.strip() for name in text.split(",")),
        metavar="A,B,...",
        help="names of the head's linear layers, first to last; required if neither their shapes nor the file "
        "determines their order",
    )


def _add_function_options(group: argparse._ArgumentGroup) -> None:
    from typing import get_args

    from .conversion import plan

    group.add_argument("--pooling", choices=get_args(plan.Pooling), help="pooling over the frames after an RNN")
    group.add_argument(
        "--attention-activation",
        choices=get_args(plan.Activation),
        help="activation between the two layers of an attention pooling; only tanh can be converted",
    )
    group.add_argument(
        "--recurrence",
        choices=get_args(plan.Recurrence),
        help="the RNN runs over the frames, or is reset at each frame (code without batch_first)",
    )
    group.add_argument(
        "--as-sequence",
        action="store_true",
        help="run a per-frame RNN over the frames: a DIFFERENT function than the published one",
    )
    group.add_argument(
        "--fake-index",
        type=int,
        choices=(0, 1),
        help="index of the fake logit; for a single sigmoid, 1 if it is the probability of fake, 0 if that of real",
    )
    group.add_argument(
        "--activation", choices=get_args(plan.Activation), help="activation between the linear layers of the head"
    )
    group.add_argument(
        "--padding",
        choices=get_args(plan.Padding),
        help='convolution padding of an EfficientNet: that of torch, or TensorFlow\'s "same"',
    )
    group.add_argument(
        "--padding-image-size",
        type=int,
        metavar="N",
        help="image size in pixels from which --padding same is computed (default: the size of each frame)",
    )
    group.add_argument(
        "--frame-aggregation",
        choices=get_args(plan.FrameAggregation),
        help="how a frame classifier averages its frames",
    )


def _add_preprocessing_options(group: argparse._ArgumentGroup) -> None:
    from typing import get_args

    from .conversion import plan

    group.add_argument("--image-size", type=int, metavar="N", help="height and width of the frames in pixels")
    group.add_argument("--num-frames", type=int, metavar="N", help="frames per video")
    group.add_argument("--frame-sampling", choices=get_args(plan.FrameSampling), help="how the frames are selected")
    group.add_argument("--channel-order", choices=get_args(plan.ChannelOrder), help="order of the colour channels")
    group.add_argument(
        "--antialias",
        action=argparse.BooleanOptionalAction,
        help="resize frames with antialiasing, as Pillow does, or without it, as OpenCV's cv2.resize does",
    )
    for name, statistic in (("mean", "mean"), ("std", "standard deviation")):
        group.add_argument(
            f"--image-{name}",
            type=float,
            nargs=3,
            metavar="X",
            help=f"{statistic} per channel, in channel order, of pixel values from 0 to 1",
        )
    group.add_argument("--faces", choices=get_args(plan.Faces), help="crop frames to the face, or use whole frames")
    group.add_argument(
        "--face-margin", type=float, metavar="X", help="side of the crop relative to the side of the face box"
    )


def _add_card_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--license", metavar="ID", help="license of the weights (mit, cc-by-nc-4.0, …); it is never guessed"
    )
    group.add_argument("--base-model", metavar="ID", help="Hub model that the weights were trained from")
    group.add_argument(
        "--dataset",
        action="append",
        dest="datasets",
        default=[],
        metavar="ID",
        help="training data set on the Hub; repeatable",
    )


def _add_push_options(group: argparse._ArgumentGroup) -> None:
    from .hub.commands import add_push_options

    group.add_argument("--repo-id", metavar="USER/NAME", help="repository on the Hub")
    group.add_argument("--push", action="store_true", help="publish the folder in one commit")
    add_push_options(group)


def run(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video convert` and return the exit code."""
    from .common.errors import UsageError
    from .common.exit_codes import OK

    if not (arguments.inspect or arguments.dry_run) and arguments.output is None:
        raise UsageError(
            "--output DIR is required, unless --dry-run (convert and compare only) or --inspect (only show what the "
            "file contains) is used."
        )
    if arguments.inspect and arguments.push:
        raise UsageError("--inspect only shows what the file contains; omit it to convert and push.")
    if arguments.push and arguments.repo_id is None:
        raise UsageError("--push requires --repo-id USER/NAME.")
    plan = _make_plan(arguments)
    if arguments.inspect:
        _inspect(plan, as_json=arguments.json)
    else:
        _convert(plan, arguments)
    return OK


def _make_plan(arguments: argparse.Namespace) -> "ConversionPlan":
    from .conversion.plan import ConversionPlan

    given = ((field.name, getattr(arguments, field.name)) for field in fields(ConversionPlan))
    # argparse makes lists.
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given}
    return ConversionPlan(**values)


def _inspect(plan: "ConversionPlan", *, as_json: bool) -> None:
    from .conversion.inspection import inspect_checkpoint

    inspection = inspect_checkpoint(plan)
    if as_json:
        print(json.dumps(inspection.to_dict(), indent=2))
    else:
        print("\n".join(inspection.lines()))


def _convert(plan: "ConversionPlan", arguments: argparse.Namespace) -> None:
    from transformers.utils import logging

    from .conversion.converting import convert
    from .hub.push import PushPlan, push

    logging.disable_progress_bar()
    result = convert(plan)
    if arguments.json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        _print_result(result, plan)
    if plan.license is None:
        print("The model card states no license: ask the authors of the weights and use --license.", file=sys.stderr)
    if not arguments.push:
        return
    if result.folder is None or plan.repo_id is None:
        print(f"would push to {plan.repo_id} ({arguments.revision or 'main'}); nothing was sent", file=sys.stderr)
        return
    pushed = push(
        PushPlan(folder=result.folder, repo_id=plan.repo_id, private=arguments.private, revision=arguments.revision)
    )
    if not arguments.json:
        print(pushed.summary())


def _print_result(result: "ConversionResult", plan: "ConversionPlan") -> None:
    print("\n".join(result.inspection.lines()))
    print(result.parity.line())
    verb = "wrote" if result.folder else "would write"
    print(f"{verb} {plan.output or 'the folder'}: {', '.join(result.files)}")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run `deepfake-video convert`.

    Args:
        argv: Arguments without the name of the command; those of the process by default.

    Returns:
        The exit code.
    """
    from . import cli

    return cli.main(["convert", *(sys.argv[1:] if argv is None else argv)])


def entry() -> int:
    """Run [`main`] as the command of this process."""
    from .common.interrupts import run_interruptible

    return run_interruptible(main)


def _main_of_the_installed_package() -> int:
    """A file run by its path is not part of a package, so it runs the installed one."""
    try:
        from deepfake_video.convert_weights import entry as installed_entry
    except ModuleNotFoundError as error:
        if error.name not in ("deepfake_video", "deepfake_video.convert_weights"):
            raise
        print(
            "error: install the package first: pip install deepfake-video (or `pip install .` in its folder)",
            file=sys.stderr,
        )
        return 2
    return int(installed_entry())


if __name__ == "__main__":
    sys.exit(entry() if __package__ else _main_of_the_installed_package())
