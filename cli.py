# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video`: parses, calls, prints. Nothing here imports torch before it is needed."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .scanning.inputs import InputError, collect_inputs


if TYPE_CHECKING:
    from .scanning.results import VideoResult

OK, SOME_FAILED, USAGE = 0, 1, 2

PREDICT_EXAMPLES = """\
examples:
  deepfake-video predict clip.mp4                       a table, one row a video
  deepfake-video predict videos/ '*.mov' --list more.txt --jsonl
  deepfake-video predict clip.mp4 --model FOLDER --model USER/REPO    an ensemble
  deepfake-video predict                                a sample, made on the spot

A video is called fake from the checkpoint's threshold on; its probability is the highest of the faces that are seen
in a quarter of the sampled frames or more. Exit status 0: every video was scored, 1: some could not be scored,
2: wrong usage.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="deepfake-video",
        description="Score videos for face manipulation: a triage tool, not a verdict.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"deepfake-video {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_predict(commands)
    return parser


def _add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    predict = commands.add_parser(
        "predict",
        help="score videos",
        description="Score videos: real or fake, with a probability.",
        epilog=PREDICT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    predict.add_argument("paths", nargs="*", metavar="PATH", help="files, folders, patterns or http(s) addresses")
    predict.add_argument("--list", action="append", default=[], metavar="FILE", help="text file, one path a line")
    predict.add_argument(
        "--model", action="append", default=[], metavar="ID", help="folder or Hub id; repeat it for an ensemble"
    )
    predict.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")
    predict.add_argument("--num-frames", type=int, metavar="N", help="frames of each video (default: the model's)")
    predict.add_argument("--faces", choices=["auto", "none"], default="auto", help="none judges whole frames")
    predict.add_argument(
        "--face-aggregation",
        choices=["max", "mean", "main"],
        default="max",
        help="score of a video from those of its faces (default: max)",
    )
    predict.add_argument("--threshold", type=float, metavar="P", help="fake from this probability on")
    output = predict.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON array")
    output.add_argument("--jsonl", action="store_true", help="one JSON object a line, as each video is done")
    predict.add_argument("--quiet", action="store_true", help="no progress on standard error")
    predict.set_defaults(run=run_predict)


def run_predict(arguments: argparse.Namespace) -> int:
    """Score what was named and print it."""
    from .scanning.batch import score_many
    from .scanning.settings import ScanSettings

    with contextlib.ExitStack() as stack:
        try:
            settings = ScanSettings(
                num_frames=arguments.num_frames,
                faces=arguments.faces,
                face_aggregation=arguments.face_aggregation,
                threshold=arguments.threshold,
            )
            paths = _named_paths(arguments) or [stack.enter_context(_sample_video())]
            scores = score_many(paths, models=arguments.model, device=arguments.device, settings=settings)
            results = list(_shown(scores, len(paths), arguments))
        except ValueError as error:
            print(f"deepfake-video: {error}", file=sys.stderr)
            return USAGE
    if arguments.json:
        print("[" + ",\n".join(result.to_json() for result in results) + "]")
    elif not arguments.jsonl:
        from rich.console import Console

        from .scanning.display import print_table

        print_table(results, Console())
    return OK if all(result.status == "ok" for result in results) else SOME_FAILED


def _named_paths(arguments: argparse.Namespace) -> list[str]:
    if not arguments.paths and not arguments.list:
        return []
    inputs = collect_inputs(arguments.paths, arguments.list)
    if inputs.num_others and not arguments.quiet:
        print(f"{inputs.num_others} other files are no videos by their extension", file=sys.stderr)
    if not inputs.paths:
        raise InputError("the list names no video.")
    return inputs.paths


@contextlib.contextmanager
def _sample_video() -> Iterator[str]:
    from .scanning.sample import write_sample_video

    with tempfile.TemporaryDirectory(prefix="deepfake-video-") as folder:
        print("no video named: scoring a sample that is drawn on the spot", file=sys.stderr)
        yield str(write_sample_video(Path(folder) / "sample.mp4"))


def _shown(results: "Iterable[VideoResult]", total: int, arguments: argparse.Namespace) -> "Iterator[VideoResult]":
    """Show how far the scan is on standard error, and each JSON line as soon as it is known."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = arguments.quiet or not console.is_terminal or total == 1
    for result in track(results, "scoring", total, console=console, disable=hidden, transient=True):
        if arguments.jsonl:
            print(result.to_json(), flush=True)
        yield result


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
