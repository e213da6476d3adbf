# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.decode_profile`: what the CPU time of reading 20 frames is spent on, compared to the floor."""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from deepfake_video.video_color import to_rgb
from deepfake_video.video_decoding import VideoLimits, VideoReader
from deepfake_video.video_pictures import PictureConverter

from . import clips
from .bench import Bench, even_indices
from .peers import read_floor, read_ours


ROUNDS = 15
PARTS = ("open and index", "seek and decode", "convert to RGB", "check and orient", "copy into one array")


def main() -> int:
    """Print one line for each clip: our CPU time relative to the floor, and the parts of it in milliseconds."""
    print("| clip | ÷ floor | " + " | ".join(PARTS) + " | floor, ms |\n|" + "---|" * (len(PARTS) + 3))
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        bench = Bench(Path(name), ROUNDS, quick=False)
        makers: dict[str, Callable[[Path], Any]] = {
            "720p-10s-30.mp4": partial(clips.write_clip, keyframe_every=30),
            "720p-60s-30.mp4": lambda path: clips.repeat_clip(path, bench.plain_clip(), 6),
            "720p-10s-hevc.mp4": partial(clips.write_clip, codec="libx265", keyframe_every=60),
            "720p-10s-vp9.webm": partial(clips.write_clip, codec="libvpx-vp9", keyframe_every=60),
        }
        for clip, make in makers.items():
            path = bench.clip(clip, make)
            print(f"| {clip} | {_profile(path, even_indices(path))} |", flush=True)
    return 0


def _profile(path: Path, indices: np.ndarray) -> str:
    ours, floor = [], []
    parts: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        ours.append(_cpu(partial(read_ours, path, indices, threads=1)))
        floor.append(_cpu(partial(read_floor, path, indices)))
        for part, seconds in _measure_parts(path, indices).items():
            parts[part].append(seconds)
    ratio = statistics.median(ours) / statistics.median(floor)
    cells = [f"{1e3 * statistics.median(parts[part]):.1f}" for part in PARTS]
    return " | ".join([f"{ratio:.2f}", *cells, f"{1e3 * statistics.median(floor):.1f}"])


def _measure_parts(path: Path, indices: np.ndarray) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    convert = PictureConverter.convert
    timed_to_rgb = _timed(to_rgb, spent, "convert to RGB")
    with (
        mock.patch.object(PictureConverter, "convert", _timed(convert, spent, "convert")),
        mock.patch("deepfake_video.video_pictures.to_rgb", timed_to_rgb),
    ):
        with _clock(spent, "open and index"):
            reader = VideoReader(path, limits=VideoLimits(decode_threads=1))
        with _clock(spent, "frames"):
            frames = [frame for _, frame in reader.frames(indices)]
        with _clock(spent, "copy into one array"):
            np.stack(frames)
        with _clock(spent, "open and index"):
            reader.close()
    spent["check and orient"] = spent["convert"] - spent["convert to RGB"]
    spent["seek and decode"] = spent["frames"] - spent["convert"]
    return spent


def _timed(function: Callable[..., Any], spent: dict[str, float], part: str) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        with _clock(spent, part):
            return function(*arguments)

    return wrapped


@contextmanager
def _clock(spent: dict[str, float], part: str) -> Iterator[None]:
    start = time.process_time()
    yield
    spent[part] += time.process_time() - start


def _cpu(read: Callable[[], Any]) -> float:
    start = time.process_time()
    read()
    return time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
