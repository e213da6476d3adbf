# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video evaluate`; nothing here imports torch before it is needed."""

import argparse
import importlib.util
from pathlib import Path

from ..common.exit_codes import FAILED, INTERRUPTED, OK, USAGE, report
from ..common.files import check_folder_target
from ..scanning.command import add_speed_arguments


LAYOUT_NAMES = ("faceforensics", "celeb-df", "dfdc", "dfdc-preview", "deepfakebench", "folder", "csv")
KIND_NAMES = ("saturation", "contrast", "blockwise", "noise", "blur", "resize", "compression")

DESCRIPTION = "Evaluate a model on a data set as it was downloaded: AUC and the like, with intervals, by video."
EXAMPLES = """\
examples:
  deepfake-video evaluate FaceForensics++ --model FOLDER --output run1
  deepfake-video evaluate Celeb-DF-v2 --model FOLDER --model USER/REPO --ensemble logits
  deepfake-video evaluate my_videos.csv --output run2 --robustness       path,label[,group]
  deepfake-video evaluate FaceForensics++ --model FOLDER --calibrate CALIBRATED
  deepfake-video evaluate --scores run1 --threshold 0.7                  no video is touched
  accelerate launch -m deepfake_video.cli evaluate Celeb-DF-v2 --output run3                  several GPUs
  torchrun --nproc-per-node 4 -m deepfake_video.cli evaluate Celeb-DF-v2 --output run3    several CPU processes
  torchrun --nproc_per_node 2 -m deepfake_video.cli evaluate Celeb-DF-v2 --device cpu --output run4

A run that was killed goes on when the same command is given again. Exit status 0: every video was scored, 1: some
could not be scored, 2: wrong usage, 130: interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deepfake-video evaluate`."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("root", nargs="?", type=Path, metavar="DATASET_ROOT", help="folder, CSV or DeepfakeBench JSON")
    parser.add_argument("--scores", type=Path, metavar="PATH", help="saved scores in place of videos: a folder or CSV")
    parser.add_argument("--dataset", choices=LAYOUT_NAMES, help="layout of the data set (default: recognised)")
    parser.add_argument(
        "--split", choices=["train", "val", "test", "all"], help="part to evaluate (default: test, or all if no split)"
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar="ID", help="folder or Hub id; repeat it for an ensemble"
    )
    parser.add_argument(
        "--ensemble",
        choices=["probabilities", "logits"],
        default="probabilities",
        help="what is averaged over several models (default: probabilities)",
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument(
        "--frames", "--num-frames", dest="num_frames", type=int, metavar="N", help="frames of each video"
    )
    parser.add_argument("--faces", choices=["auto", "none"], default="auto", help="none judges whole frames")
    parser.add_argument("--face-aggregation", choices=["max", "mean", "main"], default="max")
    parser.add_argument("--threshold", type=float, metavar="P", help="fake from this probability on")
    add_speed_arguments(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read videos (0: read in turns)")
    parser.add_argument("--robustness", action="store_true", help="also on degraded videos: seven kinds, five levels")
    parser.add_argument(
        "--kind", action="append", default=[], choices=KIND_NAMES, help="only this kind of degradation; repeat it"
    )
    parser.add_argument("--calibrate", type=Path, metavar="FOLDER", help="write a calibrated checkpoint")
    parser.add_argument(
        "--calibration-split", choices=["train", "val", "test"], help="what to calibrate on (default: val, or half)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="tables, scores and plots; makes a run resumable")
    parser.add_argument("--plots", choices=["png", "svg", "none"], help="figures in DIR (default: png if possible)")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="draws for intervals (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of intervals and degradations (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate what was named and print it; the exit status."""
    try:
        _check(arguments)
        if arguments.scores is not None:
            from .session import rescore

            return FAILED if rescore(arguments) else OK
        from .session import evaluate_dataset

        return FAILED if evaluate_dataset(arguments) else OK
    except (ValueError, OSError) as error:
        return report(error, USAGE)
    except KeyboardInterrupt:
        hint = "; the same command goes on from here" if arguments.output else ""
        return report(f"interrupted{hint}.", INTERRUPTED)


def _check(arguments: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: What can be said before anything is loaded.
    """
    if (arguments.root is None) == (arguments.scores is None):
        raise ValueError("give either DATASET_ROOT, or --scores with what an earlier run saved.")
    for name, lowest in (("workers", 0), ("bootstrap", 0), ("seed", 0)):
        value = getattr(arguments, name)
        if value is not None and value < lowest:
            raise ValueError(f"--{name} must be at least {lowest}, got {value}.")
    if arguments.scores is not None:
        given = [name for name in ("calibrate", "robustness", "model") if getattr(arguments, name)]
        if given:
            raise ValueError(f"--{given[0]} needs the videos: give DATASET_ROOT in place of --scores.")
    if arguments.calibrate is not None:
        if arguments.calibrate.exists():
            raise ValueError(f"{arguments.calibrate}: exists; --calibrate writes a new folder and changes none.")
        if len(arguments.model) > 1:
            raise ValueError("--calibrate takes one --model: an ensemble has no checkpoint of its own.")
        if arguments.face_aggregation == "mean":
            raise ValueError("--calibrate does not go with --face-aggregation mean: no model outputs that mean.")
    from ..scanning.settings import check_threshold

    check_threshold(arguments.threshold)
    for folder in (arguments.output, arguments.calibrate):
        if folder is not None:
            check_folder_target(folder)
    if arguments.plots in ("png", "svg"):
        if arguments.output is None:
            raise ValueError("--plots needs --output DIR to write to.")
        if importlib.util.find_spec("matplotlib") is None:
            raise ValueError("--plots needs matplotlib: pip install 'deepfake-video[plots]'.")
