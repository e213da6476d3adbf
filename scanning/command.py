# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video predict`: parse the arguments, call [`scan`], print the results."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..common.console import print_json
from ..common.errors import UsageError
from ..common.exit_codes import FAILED, OK
from ..common.interrupts import unfinished
from ..common.text import printable
from ..common.threads import THREADS_VARIABLE, limit_threads
from ..video_errors import VideoLimits
from .inputs import Inputs
from .plan import ScanListener, ScanPlan, ScanResult
from .results import VideoResult
from .settings import Dtype, Engine, FaceAggregation, Faces, ScanSettings


if TYPE_CHECKING:
    from .display import ScanProgress

EXAMPLES = """\
examples:
  deepfake-video predict clip.mp4                       a table with one row per video
  deepfake-video predict videos/ '*.mov' --list more.txt --jsonl
  deepfake-video predict clip.mp4 --report report.html  a page that shows when, which face, and why
  deepfake-video predict photo.jpg 'album/*.heic'       photos: face crops and a score, without a timeline
  deepfake-video predict videos/ --output run1          can be interrupted; run it again to resume
  deepfake-video predict clip.mp4 --model FOLDER --model USER/REPO    an ensemble
  deepfake-video predict                                scores a generated sample video
  deepfake-video predict s3://bucket/videos/ --output s3://bucket/run1    a bucket; needs the extra s3
  deepfake-video predict s3://bucket/videos/ --output s3://bucket/run1 --ray auto     on a Ray cluster
  accelerate launch -m deepfake_video.cli predict videos/ --output run1      several GPUs

The verdict is likely fake, undecided or likely real. Independently of it, a video is labelled fake if its fake
probability is 0.5 or above. The fake probability of a video is the highest among the faces that were detected in at
least a quarter of the sampled frames. The timeline does not change the score.
A file is recognised by its content: a still picture is scored as a photo, an animated one (GIF, PNG, WebP) as a video.
Photos are JPEG, PNG, WebP, AVIF, GIF, or HEIC (pip install 'deepfake-video[heic]'). No accuracy was measured on them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video predict` to a parser."""
    parser.description = (
        "Score videos and photos for face manipulation: a fake probability, and a verdict with measured error rates."
    )
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="files, folders, patterns, http(s) URLs, or addresses such as s3://bucket/folder/",
    )
    parser.add_argument(
        "--list",
        action="append",
        default=[],
        metavar="FILE",
        help="text file with one path per line, relative to the working directory, or CSV file with a column of "
        "paths, relative to its folder",
    )
    parser.add_argument(
        "--photos",
        action="store_true",
        help="score the photos in folders too; photos that are named or match a pattern are always scored",
    )
    _add_scoring(parser.add_argument_group("scoring"))
    _add_output(parser.add_argument_group("output"))


def _add_scoring(group: "argparse._ArgumentGroup") -> None:
    add_model_arguments(group)
    group.add_argument(
        "--num-frames",
        type=int,
        metavar="N",
        help="number of frames to score per video (default: the number the model was trained with)",
    )
    add_face_arguments(group)
    group.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="label a video fake at this probability or above in CSV and JSON (default: 0.5)",
    )
    group.add_argument(
        "--timeline",
        action=argparse.BooleanOptionalAction,
        help="also score short windows of each video "
        "(default: only with --report, --heatmaps, --annotate or --output)",
    )
    group.add_argument(
        "--batch-size", type=int, metavar="N", help="frames per batch for the timeline (default: 8 on a CPU, else 32)"
    )
    add_speed_arguments(group)
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="number of worker processes (default: 1 on a CPU; on a GPU, they read the videos: one per core, at most "
        "16, and 1 with a timeline; with --ray: as many as the cluster has cores)",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="score on the Ray cluster at this address, such as auto or HOST:6379, or on one that is started on this "
        "machine (local); needs --output (and pip install 'deepfake-video[cluster]')",
    )
    group.add_argument(
        "--gpus-per-worker",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="with --ray: GPUs that each worker reserves, such as 0.25 (default: 0)",
    )


def add_model_arguments(group: "argparse._ActionsContainer") -> None:
    """Add the arguments that select the models and the device; all commands that score videos share them."""
    group.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="ID",
        help="model folder, Hub id, or default for the packaged checkpoint, which is used if none is given; repeat it "
        "for an ensemble",
    )
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")


def add_face_arguments(group: "argparse._ActionsContainer") -> None:
    """Add the arguments for face handling; all commands that score videos share them."""
    group.add_argument(
        "--faces",
        choices=get_args(Faces),
        default="auto",
        help="auto: face crops, if the model was made for them; none: whole frames (default: auto)",
    )
    group.add_argument(
        "--face-aggregation",
        choices=get_args(FaceAggregation),
        default="max",
        help="how the scores of several faces are combined (default: max)",
    )


def add_speed_arguments(group: "argparse._ActionsContainer") -> None:
    """Add the arguments for precision, engine and threads; all commands that run models share them."""
    group.add_argument(
        "--dtype",
        choices=get_args(Dtype),
        default="float32",
        help="precision of the frame encoder; bfloat16 is faster on processors that support it and changes scores "
        "slightly",
    )
    group.add_argument(
        "--engine",
        choices=get_args(Engine),
        default="auto",
        help="inference engine; onnx: onnxruntime on the CPU, with ONNX graphs, which the packaged model includes and "
        "which are exported once for any other model (requires pip install 'deepfake-video[export]'); auto: onnx on a "
        "CPU if all models have graphs, otherwise torch (default: auto)",
    )
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads per process for inference and for decoding (default for decoding: one per core, at most 8; for "
        f"inference: {THREADS_VARIABLE} if it is set, else 1 with torch or several workers, else one per core, at "
        "most 4; several processes share the cores)",
    )
    group.add_argument(
        "--decode-device",
        metavar="NAME",
        help="cpu, or cuda to decode H.264, HEVC, VP8 and VP9 on an NVIDIA GPU (default: "
        "DEEPFAKE_VIDEO_DECODE_DEVICE, or else cpu)",
    )


def settings_from(arguments: argparse.Namespace, limits: VideoLimits | None, **own: Any) -> ScanSettings:
    """
    Collect the settings that [`add_face_arguments`] and [`add_speed_arguments`] parse.

    Args:
        arguments: The parsed arguments.
        limits: What [`use_threads`] returned.
        own: Settings that only the calling command has.

    Raises:
        UsageError: If a setting is invalid.
    """
    return ScanSettings(
        faces=arguments.faces,
        face_aggregation=arguments.face_aggregation,
        dtype=arguments.dtype,
        engine=arguments.engine,
        limits=limits,
        **own,
    )


def use_threads(count: int | None, *, decode_device: str | None = None) -> VideoLimits | None:
    """
    Limit the threads of this process and its children; to be called before numpy or torch is imported.

    Args:
        count: Value of `--threads`; `None` if it was not given.
        decode_device: Value of `--decode-device`; `None` if it was not given.

    Returns:
        Limits with the threads and the device of the decoder; `None` if neither was given.

    Raises:
        UsageError: If a value is invalid, or an environment variable with a limit is.
    """
    try:
        limit_threads(count)
        given = {"decode_threads": count, "decode_device": decode_device}
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(VideoLimits.from_environment(), **chosen) if chosen else None
    except ValueError as error:
        raise UsageError(str(error)) from error


def _add_output(group: "argparse._ArgumentGroup") -> None:
    printed = group.add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="print one JSON array")
    printed.add_argument(
        "--jsonl", action="store_true", help="print one JSON object per line, as soon as each video is done"
    )
    group.add_argument(
        "--output",
        metavar="DIR",
        help="folder, or address such as s3://bucket/run1: store every result in DIR/results.jsonl as soon as it is "
        "available; run again to resume",
    )
    group.add_argument("--report", metavar="FILE.html", help="write a self-contained HTML report")
    group.add_argument("--csv", metavar="FILE.csv", help="write a table with one row per video")
    group.add_argument(
        "--heatmaps", metavar="DIR", help="write Grad-CAM pictures (PNG) of the frames with the highest scores"
    )
    group.add_argument(
        "--annotate", metavar="FILE.mp4", help="write a copy of a single video with face boxes and scores"
    )
    group.add_argument("--quiet", action="store_true", help="do not show progress on standard error")


def run(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video predict` and return its exit code."""
    limits = use_threads(arguments.threads, decode_device=arguments.decode_device)
    from .scanner import scan

    with contextlib.ExitStack() as stack:
        paths: list[str] = arguments.paths
        if not paths and not arguments.list:
            paths = [stack.enter_context(_sample_video())]
        printer = stack.enter_context(contextlib.closing(_Printer(arguments)))
        try:
            result = scan(_plan(arguments, paths, limits), listener=printer)
        except KeyboardInterrupt:
            if printer.result is None:
                raise
            done = f"{len(printer.result)} of {printer.result.num_videos} videos done"
            hint = "; run the same command to resume" if arguments.output else ""
            raise KeyboardInterrupt(f"{done}{hint}.") from None
        return FAILED if result.failed else OK


def _plan(arguments: argparse.Namespace, paths: Sequence[str], limits: VideoLimits | None) -> ScanPlan:
    shows_time = any((arguments.report, arguments.heatmaps, arguments.annotate, arguments.output))
    for option in ("heatmaps", "annotate"):
        if arguments.timeline is False and getattr(arguments, option) is not None:
            raise UsageError(f"--{option} shows parts of the timeline and cannot be combined with --no-timeline.")
    return ScanPlan(
        sources=paths,
        lists=arguments.list,
        photos=arguments.photos,
        models=arguments.model,
        device=arguments.device,
        settings=settings_from(
            arguments,
            limits,
            num_frames=arguments.num_frames,
            threshold=arguments.threshold,
            timeline=shows_time if arguments.timeline is None else arguments.timeline,
            batch_size=arguments.batch_size,
        ),
        workers=arguments.workers,
        ray=arguments.ray,
        gpus_per_worker=arguments.gpus_per_worker,
        output=arguments.output,
        report=arguments.report,
        csv=arguments.csv,
        heatmaps=arguments.heatmaps,
        annotate=arguments.annotate,
    )


class _Printer(ScanListener):
    """Prints results on standard output, and notes and progress on standard error."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.result: ScanResult | None = None
        self._arguments = arguments
        self._printed: set[str] = set()
        self._progress: ScanProgress | None = None

    def started(self, inputs: Inputs, num_videos: int) -> None:
        from .display import ScanProgress

        for note in [*inputs.warnings, *_skipped_notes(inputs)]:
            print(printable(note), file=sys.stderr)
        self._progress = ScanProgress(num_videos, is_quiet=self._arguments.quiet)

    def timeline_at(self, second: float) -> None:
        if self._progress is not None:
            self._progress.timeline_at(second)

    def video_done(self, result: VideoResult) -> None:
        if self._progress is not None:
            self._progress.video_done()
        if self._arguments.jsonl:
            self._print_line(result)

    def video_kept(self, result: VideoResult) -> None:
        if self._progress is not None:
            self._progress.video_kept()
        if self._arguments.jsonl:
            self._print_line(result)

    def finished(self, result: ScanResult) -> None:
        self.close()
        self.result = result
        is_table = not (self._arguments.json or self._arguments.jsonl)
        if result.kept and not is_table and not self._arguments.quiet:
            from .display import kept_note

            print(kept_note(len(result.kept), len(result) - len(result.kept)), file=sys.stderr)
        if self._arguments.json:
            print_json("[" + ",\n".join(video.to_json() for video in result) + "]")
        elif self._arguments.jsonl:
            # Those of the other processes.
            for video in result:
                if video.path not in self._printed:
                    self._print_line(video)
        else:
            from .display import print_table

            print_table(result, kept=result.kept)
        self._say_partial(result)

    def _say_partial(self, result: ScanResult) -> None:
        targets = [target for target in (self._arguments.csv, self._arguments.report) if target]
        if targets and len(result) < result.num_videos:
            from .outputs import name_partial

            names = " and ".join(printable(str(name_partial(target))) for target in targets)
            print(f"the scan ended early; what was done until then is in {names}", file=sys.stderr)

    def close(self) -> None:
        """Remove the progress bars."""
        if self._progress is not None:
            self._progress.close()

    def _print_line(self, result: VideoResult) -> None:
        self._printed.add(result.path)
        print_json(result.to_json())


def _skipped_notes(inputs: Inputs) -> list[str]:
    """What was skipped in the sources, one line for each reason."""
    notes = []
    system_files = inputs.system_files
    if number := inputs.num_others - len(system_files):
        of_them = "a photo" if inputs.num_photos == 1 else "photos"
        photos = f", {inputs.num_photos} of them {of_them} (--photos scores them)" if inputs.num_photos else ""
        notes.append(f"skipped {number} file{'s' if number > 1 else ''} without a video extension{photos}")
    if number := len(system_files):
        named = f"such as {os.path.basename(system_files[0])}" if number > 1 else os.path.basename(system_files[0])
        notes.append(f"skipped {number} file{'s' if number > 1 else ''} that an operating system made, {named}")
    return notes


@contextlib.contextmanager
def _sample_video() -> Iterator[str]:
    from .sample import write_sample_video

    with unfinished(), tempfile.TemporaryDirectory(prefix="deepfake-video-") as folder:
        print("no video given: scoring a generated sample video", file=sys.stderr)
        yield str(write_sample_video(Path(folder) / "sample.mp4"))
