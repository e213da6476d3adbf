# SPDX-License-Identifier: Apache-2.0
"""
The entry of the converter: a legacy checkpoint in, a folder for the Hugging Face Hub out, pushed when asked.

It is the command `deepfake-video convert`, the module `python -m deepfake_video.convert_weights`, and the file
`python convert_weights.py`, which runs the installed package.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from .conversion.choices import Choices
    from .conversion.converting import Inspection
    from .conversion.heads import Head

_DESCRIPTION = """Convert a legacy deepfake-detection checkpoint (.pt, .pth, .tar, .safetensors) into a folder that
`pipeline("video-classification", ..., trust_remote_code=True)` loads, and prove that it computes the same."""
_EPILOG = """examples:
  deepfake-video convert model.pt --inspect
  deepfake-video convert model.pt --output my-model --preset resnext50-lstm --pooling mean
  deepfake-video convert model.pt --output my-model --recurrence sequence --pooling mean --fake-index 1
  deepfake-video convert model.pt --output my-model --license mit --repo-id me/my-model --push --private

The file is never executed: it is read with weights_only=True, and only tensors are accepted. What weights cannot tell
is settled by a preset or a flag; --inspect says which, and what must be given."""
_FLAGS = (
    "key",
    "head_order",
    "backbone",
    "preset",
    "pooling",
    "recurrence",
    "as_sequence",
    "fake_index",
    "activation",
    "padding",
    "padding_image_size",
    "channel_order",
    "image_mean",
    "image_std",
    "image_size",
    "num_frames",
    "frame_sampling",
    "frame_aggregation",
    "faces",
    "face_margin",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deepfake-video convert`."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the file to convert")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the model folder at DIR")
    parser.add_argument("--dry-run", action="store_true", help="convert and compare, but write and send nothing")
    parser.add_argument("--inspect", action="store_true", help="say what the file holds and what must be given")
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    _add_function_flags(parser.add_argument_group("what the network computes"))
    _add_preprocessing_flags(parser.add_argument_group("how frames are prepared (defaults by layout, see --inspect)"))
    _add_card_flags(parser.add_argument_group("model card"))
    _add_push_flags(parser.add_argument_group("Hugging Face Hub"))


def _add_function_flags(group: argparse._ArgumentGroup) -> None:
    from .conversion.published import PRESETS

    group.add_argument(
        "--key", metavar="NAME", help="which weights, where the file holds several (an average over training, say)"
    )
    group.add_argument(
        "--head-order",
        type=lambda text: tuple(name.strip() for name in text.split(",")),
        metavar="A,B,...",
        help="the head's linear layers, first to last, where neither shapes nor the file tell their order",
    )
    group.add_argument(
        "--backbone", metavar="timm/NAME", help="the network of timm that the file holds, where it is not recognised"
    )
    group.add_argument(
        "--preset",
        choices=PRESETS,
        help="the published system that the file belongs to",
    )
    group.add_argument("--pooling", choices=("last", "mean", "max", "attention"), help="over the frames, after an RNN")
    group.add_argument(
        "--recurrence",
        choices=("sequence", "per-frame"),
        help="whether the RNN runs over the frames, or starts anew at each (batch_first forgotten)",
    )
    group.add_argument(
        "--as-sequence",
        action="store_true",
        default=None,
        help="run a per-frame RNN over the frames instead: a DIFFERENT function than the published one",
    )
    group.add_argument(
        "--fake-index", type=int, choices=(0, 1), help="the logit, or the side of a single sigmoid, that means fake"
    )
    group.add_argument(
        "--activation", choices=("relu", "gelu", "silu", "tanh", "none"), help="between the head's linear layers"
    )
    group.add_argument(
        "--padding", choices=("torch", "same"), help="convolution padding of an EfficientNet: torch's or TensorFlow's"
    )
    group.add_argument(
        "--padding-image-size",
        type=int,
        metavar="N",
        help="with --padding same: fix it for this image size (without: computed from each frame)",
    )
    group.add_argument(
        "--frame-aggregation", choices=("mean-probability", "mean-logit"), help="of a classifier of single frames"
    )


def _add_preprocessing_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--image-size", type=int, metavar="N", help="height and width of the frames in pixels")
    group.add_argument("--num-frames", type=int, metavar="N", help="frames of a video that are judged")
    group.add_argument("--frame-sampling", choices=("even", "first", "bursts"), help="which frames")
    group.add_argument("--channel-order", choices=("rgb", "bgr"), help="order of the colours")
    for name in ("mean", "std"):
        group.add_argument(
            f"--image-{name}",
            type=float,
            nargs=3,
            metavar="X",
            help=f"{name} of the channels, in that order, of 0 to 1",
        )
    group.add_argument("--faces", choices=("auto", "none"), help="crop each frame to the face, or take whole frames")
    group.add_argument("--face-margin", type=float, metavar="X", help="side of the crop over the side of the face box")


def _add_card_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--license", metavar="ID", help="licence of the weights (mit, cc-by-nc-4.0, …); never guessed")
    group.add_argument("--base-model", metavar="ID", help="Hub model that the weights were made from")
    group.add_argument(
        "--dataset", action="append", default=[], metavar="ID", help="Hub data set they were trained on; repeatable"
    )


def _add_push_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--repo-id", metavar="USER/NAME", help="repository on the Hub")
    group.add_argument("--push", action="store_true", help="publish the folder there, in one commit")
    group.add_argument("--private", action="store_true", help="make a new repository private")
    group.add_argument("--revision", metavar="BRANCH", help="branch to push to, made if needed (default: main)")


def run(arguments: argparse.Namespace) -> int:
    """`deepfake-video convert`; returns the exit code: 1 for a file that cannot be converted, 2 for wrong usage."""
    from .common.exit_codes import FAILED, OK, USAGE, report

    if not (arguments.inspect or arguments.dry_run) and arguments.output is None:
        return report("give --output DIR, --dry-run to convert and compare only, or --inspect to look.", USAGE)
    if arguments.push and arguments.repo_id is None:
        return report("--push needs --repo-id USER/NAME.", USAGE)
    from .conversion.errors import ConversionError

    try:
        if arguments.inspect:
            _run_inspect(arguments)
        else:
            _run_convert(arguments)
    except ConversionError as error:
        return report(error, USAGE if error.reason == "flags" else FAILED)
    return OK


def _run_inspect(arguments: argparse.Namespace) -> None:
    from .conversion.converting import inspect

    inspection = inspect(arguments.checkpoint, _given(arguments))
    if arguments.json:
        print(json.dumps(inspection.as_dict(), indent=2))
    else:
        _print_inspection(inspection)


def _run_convert(arguments: argparse.Namespace) -> None:
    from transformers.utils import logging

    from .conversion.converting import convert
    from .conversion.model_card import Provenance
    from .hub.push import PushPlan, check_repo_id, push

    if arguments.repo_id is not None:
        check_repo_id(arguments.repo_id)
    logging.disable_progress_bar()
    provenance = Provenance(arguments.repo_id, arguments.license, arguments.base_model, tuple(arguments.dataset))
    conversion = convert(
        arguments.checkpoint,
        arguments.output,
        _given(arguments),
        provenance=provenance,
        overwrite=arguments.overwrite,
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        result = {
            **conversion.inspection.as_dict(),
            "parity": {"logits": conversion.parity.logits, "features": conversion.parity.features},
            "output": None if arguments.dry_run else str(arguments.output),
            "files": conversion.files,
        }
        print(json.dumps(result, indent=2))
    else:
        _print_inspection(conversion.inspection)
        print(conversion.parity.line())
        verb = "would write" if arguments.dry_run else "wrote"
        print(f"{verb} {arguments.output or 'the folder'}: {', '.join(conversion.files)}")
    if arguments.license is None:
        print("The model card states no licence: find out the weights' own and give --license.", file=sys.stderr)
    if arguments.push and arguments.dry_run:
        print(f"would push to {arguments.repo_id} ({arguments.revision or 'main'}); nothing was sent", file=sys.stderr)
    elif arguments.push:
        plan = PushPlan(
            folder=arguments.output,
            repo_id=arguments.repo_id,
            private=arguments.private,
            revision=arguments.revision,
        )
        pushed = push(plan)
        if not arguments.json:
            print(pushed.summary())


def _given(arguments: argparse.Namespace) -> dict[str, object]:
    return {name: getattr(arguments, name) for name in _FLAGS}


def _print_inspection(inspection: "Inspection") -> None:
    from .conversion.choices import describe

    checkpoint, layout, choices = inspection.checkpoint, inspection.layout, inspection.choices
    wrappers = "".join(f"[{name!r}]" for name in checkpoint.wrappers) or "none"
    print(f"file        {checkpoint.path} ({checkpoint.num_bytes} bytes, sha256 {checkpoint.sha256})")
    print(f"container   {checkpoint.container}; wrappers {wrappers}; common prefix {checkpoint.prefix or 'none'}")
    print(f"recognised  {layout.family}: {describe(layout)}")
    _print_head(layout.head, checkpoint.prefix)
    _print_choices(choices)
    for sentence in inspection.diagnosis:
        print(f"note        {sentence}")


def _print_head(head: "Head", prefix: str) -> None:
    orders = {
        "shapes": "the only chain that fits",
        "file": "in the order of the file",
        "numbers": "in the order of their numbers",
        "flag": "in the order given",
        "open": "in an order that is OPEN",
    }
    chain = ", ".join(f"{prefix}{name} to {width}" for name, width in zip(head.modules, head.sizes, strict=True))
    print(f"head        {chain} ({orders[head.order]})")


def _print_choices(choices: "Choices") -> None:
    from .conversion.choices import SOURCES, settled_by_preset

    for name, choice in choices.settled.items():
        wrong = "; change it by a flag if it is wrong" if choice.source in ("layout", "default") else ""
        print(f"setting     {name.replace('_', '-')} = {choice.value} ({SOURCES[choice.source]}{wrong})")
    for flag in choices.ignored:
        print(f"ignored     {flag} has no meaning for this layout")
    for flag in choices.missing:
        print(f"missing     {flag}")
    if choices.preset:
        print(f"preset      --preset {choices.preset} settles {settled_by_preset(choices.preset)}")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the converter.

    Args:
        argv: Arguments without the program's name; those of the process if not given.

    Returns:
        The exit code.
    """
    from .common.console import use_replacements
    from .common.exit_codes import run_command

    use_replacements()
    parser = argparse.ArgumentParser(prog="convert_weights")
    add_arguments(parser)
    return run_command(lambda: run(parser.parse_args(argv)))


def entry() -> int:
    """[`main`] as the command of this process."""
    from .common.interrupts import run_interruptible

    return run_interruptible(main)


def _main_of_the_installed_package() -> int:
    """A file run by its path has no package around it, so the installed one takes over."""
    try:
        from deepfake_video.convert_weights import entry as installed_entry
    except ModuleNotFoundError as error:
        if error.name not in ("deepfake_video", "deepfake_video.convert_weights"):
            raise
        print(
            "error: install the package first: pip install deepfake-video (or `pip install .` here)", file=sys.stderr
        )
        return 2
    return int(installed_entry())


if __name__ == "__main__":
    sys.exit(entry() if __package__ else _main_of_the_installed_package())
