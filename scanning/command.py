# SPDX-License-Identifier: Apache-2.0
"""The command `predict`: from what is typed to what is printed and written."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.console import print_json
from ..common.exit_codes import FAILED, INTERRUPTED, OK, USAGE, report
from ..common.interrupts import unfinished
from ..common.text import printable
from .inputs import collect_inputs
from .listing import InputError


if TYPE_CHECKING:
    from ..common.processes import ProcessGroup
    from .batch import ScanPlan
    from .evidence import Examination
    from .results import VideoResult

EXAMPLES = """\
examples:
  deepfake-video predict clip.mp4                       a table, one row a video
  deepfake-video predict videos/ '*.mov' --list more.txt --jsonl
  deepfake-video predict clip.mp4 --report report.html  the page: when, who, and what it rests on
  deepfake-video predict videos/ --output run1          resumable: run again and it goes on
  deepfake-video predict clip.mp4 --model FOLDER --model USER/REPO    an ensemble
  deepfake-video predict                                a sample, made on the spot
  accelerate launch -m deepfake_video.cli predict videos/ --output run1      several GPUs
  torchrun --nproc-per-node 2 -m deepfake_video.cli predict videos/ --output run1    several processes on the CPU

A video is called fake at a probability of 0.5 or above; its probability is the highest of the faces that are seen
in a quarter of the sampled frames or more. A timeline is a second, denser pass; it never changes the score.
Exit status 0: every video was scored, 1: some could not be scored, 2: wrong usage, 130: interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deepfake-video predict`."""
    parser.description = "Score videos: real or fake, with a probability."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files, folders, patterns or http(s) addresses")
    parser.add_argument(
        "--list",
        action="append",
        default=[],
        metavar="FILE",
        help="text file with one path per line, or CSV; the paths in a CSV are relative to its folder",
    )
    _add_judging(parser.add_argument_group("how to judge"))
    _add_writing(parser.add_argument_group("what to print and write"))


def _add_judging(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--model", action="append", default=[], metavar="ID", help="folder or Hub id; repeat it for an ensemble"
    )
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")
    group.add_argument("--num-frames", type=int, metavar="N", help="frames of each video (default: the model's)")
    group.add_argument("--faces", choices=["auto", "none"], default="auto", help="none judges whole frames")
    group.add_argument(
        "--face-aggregation",
        choices=["max", "mean", "main"],
        default="max",
        help="score of a video from those of its faces (default: max)",
    )
    group.add_argument("--threshold", type=float, metavar="P", help="fake from this probability on")
    group.add_argument(
        "--timeline",
        action=argparse.BooleanOptionalAction,
        help="a second, closer look tells when (default: with --report, --heatmaps, --annotate, --output)",
    )
    group.add_argument("--batch-size", type=int, metavar="N", help="frames a network takes at once there")
    add_speed_arguments(group)
    group.add_argument("--workers", type=int, default=1, metavar="N", help="processes that scan (default: 1)")


def add_speed_arguments(group: "argparse._ActionsContainer") -> None:
    """How the networks compute, for every command that loads them."""
    group.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the frame encoder; bfloat16 is faster where the processor has it, and moves scores a little",
    )
    group.add_argument(
        "--engine",
        choices=["torch", "onnx"],
        default="torch",
        help="onnx: the frame encoder by onnxruntime, on the CPU; pip install 'deepfake-video[export]'",
    )


def _add_writing(group: "argparse._ArgumentGroup") -> None:
    printed = group.add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="one JSON array")
    printed.add_argument("--jsonl", action="store_true", help="one JSON object a line, as each video is done")
    group.add_argument(
        "--output", metavar="DIR", help="keep one JSON line a video in DIR/results.jsonl; run again and it goes on"
    )
    group.add_argument("--report", metavar="FILE.html", help="write the page: one self-contained file")
    group.add_argument("--csv", metavar="FILE.csv", help="write one row a video")
    group.add_argument("--heatmaps", metavar="DIR", help="write Grad-CAM pictures of the worst frames as PNG")
    group.add_argument("--annotate", metavar="FILE.mp4", help="write a copy of the one video with boxes and scores")
    group.add_argument("--quiet", action="store_true", help="no progress on standard error")


def run(arguments: argparse.Namespace) -> int:
    """Score what was named, print it, and write what was asked for."""
    from ..common.files import OutputError
    from ..common.processes import ProcessGroup
    from .batch import WorkerError

    with contextlib.ExitStack() as stack:
        try:
            paths = _named_paths(arguments) or [stack.enter_context(_sample_video())]
            plan = _plan(arguments, paths)
            group = ProcessGroup(arguments.device)
            stack.callback(group.close)
            return _scan_and_show(arguments, plan, group)
        except (OutputError, WorkerError) as error:
            return report(error, FAILED)
        except ValueError as error:
            return report(error, USAGE)


def _plan(arguments: argparse.Namespace, paths: Sequence[str]) -> "ScanPlan":
    from .batch import ScanPlan
    from .settings import ScanSettings

    if arguments.annotate and (len(paths) != 1 or arguments.output):
        raise InputError("--annotate is for a single video and goes without --output.")
    _check_targets(arguments, paths)
    illustrated = bool(arguments.report or arguments.heatmaps)
    wants_timeline = bool(illustrated or arguments.annotate or arguments.output)
    return ScanPlan(
        paths=paths,
        models=arguments.model,
        device=arguments.device,
        settings=ScanSettings(
            num_frames=arguments.num_frames,
            faces=arguments.faces,
            face_aggregation=arguments.face_aggregation,
            threshold=arguments.threshold,
            timeline=wants_timeline if arguments.timeline is None else arguments.timeline,
            batch_size=arguments.batch_size,
            dtype=arguments.dtype,
            engine=arguments.engine,
        ),
        with_evidence=illustrated,
        workers=arguments.workers,
        output=arguments.output,
    )


def _check_targets(arguments: argparse.Namespace, paths: Sequence[str]) -> None:
    """
    Find out before the scan whether its files could be written, and whether one would overwrite another.

    Raises:
        OutputError: If one could not be written.
        InputError: If one is an input, or two are the same file.
    """
    from ..common.files import check_file_target, check_folder_target

    sources = {os.path.realpath(path) for path in (*paths, *arguments.list)}
    for option in ("report", "csv", "annotate"):
        if (target := getattr(arguments, option)) is None:
            continue
        check_file_target(target)
        if os.path.realpath(target) in sources:
            raise InputError(f"--{option} {target}: is also an input or another output; choose another name.")
        sources.add(os.path.realpath(target))
    for folder in (arguments.output, arguments.heatmaps):
        if folder is not None:
            check_folder_target(folder)


def _scan_and_show(arguments: argparse.Namespace, plan: "ScanPlan", group: "ProcessGroup") -> int:
    examinations: list[Examination] = []
    failure: BaseException | None = None
    try:
        for examination in _scan(arguments, plan, group):
            examinations.append(examination)
    except (KeyboardInterrupt, ValueError, BrokenPipeError) as error:
        # What is done is written and shown nevertheless; without anything done, the error is all there is to say.
        if not examinations:
            raise
        failure = error
    if failure is None:
        examinations = group.gather(examinations)
        if not group.is_first:
            return OK
    position = {path: number for number, path in enumerate(plan.paths)}
    examinations.sort(key=lambda examination: position[examination.result.path])
    try:
        _write(arguments, examinations)
    finally:
        # A file that cannot be written is no reason to keep the results back.
        _print(arguments, [examination.result for examination in examinations])
    if isinstance(failure, KeyboardInterrupt):
        return report(f"interrupted, {len(examinations)} of {len(plan.paths)} are done", INTERRUPTED)
    if failure is not None:
        raise failure
    return OK if all(examination.result.status == "ok" for examination in examinations) else FAILED


def _scan(arguments: argparse.Namespace, plan: "ScanPlan", group: "ProcessGroup") -> "Iterator[Examination]":
    """The scan with its progress on standard error, and each JSON line as soon as it is known."""
    from .batch import scan_many
    from .display import scan_progress

    total = len(group.share(plan.paths))
    with scan_progress(total, is_quiet=arguments.quiet or not group.is_first) as progress:
        for examination in scan_many(plan, group=group, on_progress=progress.at_second):
            progress.video_done()
            if arguments.jsonl and group.size == 1:
                print_json(examination.result.to_json())
            yield examination


def _print(arguments: argparse.Namespace, results: "Sequence[VideoResult]") -> None:
    if arguments.json:
        print_json("[" + ",\n".join(result.to_json() for result in results) + "]")
    elif not arguments.jsonl:
        from rich.console import Console

        from .display import print_table

        print_table(results, Console())


def _write(arguments: argparse.Namespace, examinations: "Sequence[Examination]") -> None:
    results = [examination.result for examination in examinations]
    evidence = [examination.evidence for examination in examinations]
    if arguments.csv:
        from .tables import write_csv

        write_csv(arguments.csv, results)
    if arguments.report:
        from .report import write_report

        write_report(arguments.report, results, evidence)
    if arguments.heatmaps:
        from .heatmaps import write_heatmaps

        write_heatmaps(arguments.heatmaps, results, evidence)
    if arguments.annotate and results[0].status == "ok":
        from .annotate import annotate_video

        annotate_video(arguments.annotate, results[0], examinations[0].windows)


def _named_paths(arguments: argparse.Namespace) -> list[str]:
    if not arguments.paths and not arguments.list:
        return []
    inputs = collect_inputs(arguments.paths, arguments.list)
    notes = list(inputs.warnings)
    if inputs.num_others:
        plural = "s" if inputs.num_others > 1 else ""
        notes.append(f"skipped {inputs.num_others} file{plural} without a video extension, or left by the system")
    for note in notes if not arguments.quiet else inputs.warnings:
        print(printable(note), file=sys.stderr)
    return inputs.paths


@contextlib.contextmanager
def _sample_video() -> Iterator[str]:
    from .sample import write_sample_video

    with unfinished(), tempfile.TemporaryDirectory(prefix="deepfake-video-") as folder:
        print("no video named: scoring a sample that is drawn on the spot", file=sys.stderr)
        yield str(write_sample_video(Path(folder) / "sample.mp4"))
