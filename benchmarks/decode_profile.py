# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.decode_profile`: what the CPU time of reading 20 frames is spent on, compared to the floor."""

import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from deepfake_video.video_color import to_rgb
from deepfake_video.video_decoding import VideoLimits, VideoReader
from deepfake_video.video_pictures import PictureConverter

from .bench import Bench, even_indices
from .measuring import clock, interleave, timed
from .peers import read_floor, read_ours
from .reading import decode_clips


ROUNDS = 15
PARTS = ("open and index", "seek and decode", "convert to RGB", "check and orient", "copy into one array")


def main() -> int:
    """Print one line for each clip: our CPU time relative to the floor, and the parts of it in milliseconds."""
    print("| clip | ÷ floor | " + " | ".join(PARTS) + " | floor, ms |\n|" + "---|" * (len(PARTS) + 3))
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        bench = Bench(Path(name), ROUNDS, quick=False)
        for clip, make in decode_clips(bench).items():
            path = bench.clip(clip, make)
            print(f"| {clip} | {_profile(path, even_indices(path))} |", flush=True)
    return 0


def _profile(path: Path, indices: np.ndarray) -> str:
    ways: dict[str, Callable[[], Any]] = {
        "ours": partial(read_ours, path, indices, threads=1),
        "floor": partial(read_floor, path, indices),
    }
    times, _ = interleave(ways, ROUNDS)
    parts = [_measure_parts(path, indices) for _ in range(ROUNDS)]
    ours, floor = (statistics.median(times[way].cpu) for way in ways)
    cells = [f"{1e3 * statistics.median(each[part] for each in parts):.1f}" for part in PARTS]
    return " | ".join([f"{ours / floor:.2f}", *cells, f"{1e3 * floor:.1f}"])


def _measure_parts(path: Path, indices: np.ndarray) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    convert = PictureConverter.convert
    timed_to_rgb = timed(to_rgb, spent, "convert to RGB")
    with (
        mock.patch.object(PictureConverter, "convert", timed(convert, spent, "convert")),
        mock.patch("deepfake_video.video_pictures.to_rgb", timed_to_rgb),
    ):
        with clock(spent, "open and index"):
            reader = VideoReader(path, limits=VideoLimits(decode_threads=1))
        with clock(spent, "frames"):
            frames = [frame for _, frame in reader.frames(indices)]
        with clock(spent, "copy into one array"):
            np.stack(frames)
        with clock(spent, "open and index"):
            reader.close()
    spent["check and orient"] = spent["convert"] - spent["convert to RGB"]
    spent["seek and decode"] = spent["frames"] - spent["convert"]
    return spent


if __name__ == "__main__":
    sys.exit(main())
