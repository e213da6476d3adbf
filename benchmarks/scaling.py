# SPDX-License-Identifier: Apache-2.0
"""Time per scanned video by length, resolution, number of frames and number of processes."""

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.settings import ScanSettings

from . import clips
from .bench import Bench, run_together


LENGTHS_S = (10, 60, 600, 1800)
SIZES = ((640, 360), (1280, 720), (1920, 1080))
FRAMES = (10, 20, 50, 100)


def _seconds(detector: Detector, path: Path, rounds: int) -> float:
    detector.score(path)
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        detector.score(path)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def write_curves(bench: Bench, about: dict[str, str], command: str, output: Path) -> None:
    """SCALING.md in the folder."""
    model, _ = bench.model("efficientnet-b0-bilstm")
    lines = [
        "# Time per scanned video",
        "",
        f"The output of `{command}`, EfficientNet-B0 + Bi-LSTM with random weights; median seconds per video.",
        ", ".join(f"{name} {value}" for name, value in about.items()) + ".",
        "",
        "| what | seconds |",
        "|---|---|",
    ]

    def add(what: str, path: Path, **choices: Any) -> None:
        settings = ScanSettings(**{"faces": "none", **choices})
        seconds = _seconds(Detector([model], device="cpu", settings=settings), path, bench.rounds)
        lines.append(f"| {what} | {seconds:.2f} |")
        print(lines[-1], flush=True)

    short = bench.clip("360p.mp4", lambda path: clips.write_clip(path, size=(640, 360), keyframe_every=50))
    for length in LENGTHS_S[:2] if bench.quick else LENGTHS_S:
        path = bench.clip(f"360p-{length}.mp4", partial(clips.repeat_clip, source=short, times=length // 10))
        add(f"length {length} s, 640x360, 20 frames", path)
    for width, height in SIZES:
        make = partial(clips.write_clip, size=(width, height), keyframe_every=50)
        path = bench.clip(f"{height}p.mp4", make)
        add(f"{width}x{height}, 10 s, 20 frames", path)
    for num_frames in FRAMES:
        add(f"{num_frames} frames, 640x360, 10 s", short, num_frames=num_frames)
    add("with faces, 1280x720, 10 s, 20 frames", bench.face_clip(), faces="auto")
    for num_videos in (2, 8):
        for processes in (1, 2):
            job = ["scanning", model, *[str(short)] * (num_videos // processes)]
            seconds = run_together([job] * processes) / num_videos
            noun = "process" if processes == 1 else "processes"
            lines.append(f"| {num_videos} videos, {processes} {noun} of 1 thread | {seconds:.2f} |")
            print(lines[-1], flush=True)
    output.mkdir(parents=True, exist_ok=True)
    (output / "SCALING.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
