# SPDX-License-Identifier: Apache-2.0
"""Measurements that need a separate process: memory, loading, and several processes at once."""

import gc
import hashlib
import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch


class Growth(threading.Thread):
    """Growth of the resident memory while a block runs, sampled every millisecond; from /proc, so on Linux only."""

    def __enter__(self) -> "Growth":
        self.is_over, self.before = False, self.resident()
        self.highest = self.before
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.is_over = True
        self.join()

    def run(self) -> None:
        while not self.is_over:
            self.highest = max(self.highest, self.resident())
            time.sleep(1e-3)

    @property
    def bytes(self) -> int:
        return self.highest - self.before

    @staticmethod
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def reading(path: str, small: str) -> dict[str, float]:
    """Growth of the peak by reading 20 frames and making each small at once; a small clip brings in the libraries."""
    from deepfake_video import DeepfakeVideoProcessor
    from deepfake_video.video_decoding import VideoReader

    processor = DeepfakeVideoProcessor(size={"height": 224, "width": 224})

    def read(path: str) -> None:
        with VideoReader(path) as reader:
            processor.read_clips(reader, np.linspace(0, reader.num_frames - 1, 20).astype(int))

    read(small)
    with Growth() as growth:
        read(path)
    return {"bytes": growth.bytes}


def loading(folder: str) -> dict[str, float]:
    """Seconds and growth of the peak from a folder to a network that is ready."""
    from deepfake_video.scanning.models import load_model

    return _measure_load(folder, load_model)


def loading_plain(folder: str) -> dict[str, float]:
    """The same as [`loading`], with Transformers' `from_pretrained`."""
    from deepfake_video import DeepfakeForVideoClassification, DeepfakeVideoProcessor

    def load(folder: str) -> None:
        DeepfakeForVideoClassification.from_pretrained(folder).eval()
        DeepfakeVideoProcessor.from_pretrained(folder)

    return _measure_load(folder, load)


def _measure_load(folder: str, load: Callable[[str], Any]) -> dict[str, float]:
    gc.collect()  # what the imports left, a quarter of a second
    start, cpu = time.perf_counter(), time.process_time()
    with Growth() as growth:
        loaded = load(folder)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    del loaded
    weights = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    return {"seconds": seconds, "cpu": cpu, "peak": growth.bytes / weights}


def scanning(folder: str, *clips: str) -> dict[str, float]:
    """Seconds to scan some clips with one thread, counted from the moment when a line arrives on standard input."""
    from deepfake_video.scanning.detector import Detector
    from deepfake_video.scanning.settings import ScanSettings

    torch.set_num_threads(1)
    detector = Detector([folder], device="cpu", settings=ScanSettings(faces="none"))
    detector.score(clips[0])
    return _measure_when_told(lambda: [detector.score(clip) for clip in clips])


def hashing() -> dict[str, float]:
    """Seconds of a computation that fits into the first-level cache and uses no vector instructions."""
    content = bytes(16 << 10)
    return _measure_when_told(lambda: [hashlib.blake2b(content).digest() for _ in range(100_000)])


def multiplying() -> dict[str, float]:
    """Seconds of a computation that keeps the vector units busy, in one thread."""
    torch.set_num_threads(1)
    matrix = torch.randn(256, 256)
    return _measure_when_told(lambda: [matrix @ matrix for _ in range(5000)])


def training_rate(folder: str, pairs_on: Literal["cpu", "device"]) -> dict[str, float]:
    """Images per second of a training run on a GPU."""
    from .training import train_rate

    return {"images_per_s": train_rate(Path(folder), pairs_on)}


def _measure_when_told(work: Callable[[], Any]) -> dict[str, float]:
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    jobs: dict[str, Callable[..., dict[str, float]]] = {
        job.__name__: job for job in (reading, loading, loading_plain, scanning, hashing, multiplying, training_rate)
    }
    print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])))
