# SPDX-License-Identifier: Apache-2.0
"""Rows of a CUDA device: forward passes, and how busy a folder of videos keeps it."""

import copy
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from deepfake_video.common.processes import spawned_pool
from deepfake_video.hub.packaged import default_checkpoint
from deepfake_video.scanning.detector import CLIPS_PER_PASS, Detector
from deepfake_video.scanning.device_batch import begin_reading, examine_on_device
from deepfake_video.scanning.inference import prepare_for_inference
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.video_decoding import VideoLimits

from .bench import NUM_FRAMES, Bench, even_indices
from .decoding import decode_in_worker
from .measuring import Row, Times, compare, interleave
from .networks import random_pixels, relative_difference
from .peers import read_ours
from .scripts import plain_forward


PRESETS = ("resnext50-lstm", "efficientnet-b0-bilstm")
# So many that starting the processes is a small part of the time.
NUM_VIDEOS, MOST_WORKERS = 200, 16


def gpu(bench: Bench) -> Iterator[Row]:
    """A folder of videos against decoding alone, and forward passes against this CPU; needs a CUDA device."""
    is_here = torch.cuda.is_available()
    for faces, device, goal in (("none", "cpu", "≥.9"), ("auto", "cpu", ""), ("auto", "cuda", "")):
        what = f"packaged checkpoint, {NUM_VIDEOS} videos of 720p, faces {faces}: throughput ÷ that of decoding alone"
        what += ", both by NVDEC" * (device == "cuda")
        yield _folder(what, bench, faces=faces, device=device, goal=goal) if is_here else _no_gpu(what, goal)
    for preset in PRESETS:
        network = bench.model(preset)[1] if is_here else None
        for dtype in ("float32", "bfloat16"):
            for num_clips in (1, CLIPS_PER_PASS):
                what = f"{preset}, {dtype}, {num_clips} clips ÷ eager on the CPU"
                yield _forward(what, network, dtype, num_clips, bench.rounds) if is_here else _no_gpu(what)
        what = f"{preset}, bfloat16, {CLIPS_PER_PASS} clips, torch.compile ÷ without"
        yield _compiled(what, network, bench.rounds) if is_here else _no_gpu(what)
    what = "20 frames of 720p decoded by NVDEC ÷ by the CPU"
    yield _nvdec(what, bench) if is_here else _no_gpu(what)


def _no_gpu(what: str, goal: str = "") -> Row:
    return Row("gpu", what, goal=goal, exactness="not measured: no CUDA device")


def _forward(what: str, network: Any, dtype: Any, num_clips: int, rounds: int) -> Row:
    fast = _on_gpu(network, dtype)
    plain = random_pixels(network, num_clips)

    def by_cpu() -> torch.Tensor:
        return torch.cat([plain_forward(network, clip[None]) for clip in plain])

    times, answers = interleave({"ours": partial(_run, fast, plain.pin_memory()), "peer": by_cpu}, rounds)
    return compare("gpu", what, times["ours"], times["peer"],
                   exactness=relative_difference(answers["ours"], answers["peer"]))  # fmt: skip


def _compiled(what: str, network: Any, rounds: int) -> Row:
    plain, compiled = _on_gpu(network, "bfloat16"), _on_gpu(network, "bfloat16")
    compiled.compile()
    pinned = random_pixels(network, CLIPS_PER_PASS).pin_memory()
    ways: dict[str, Callable[[], Any]] = {
        "ours": partial(_run, compiled, pinned),
        "peer": partial(_run, plain, pinned),
    }
    times, answers = interleave(ways, max(rounds, 5))
    return compare("gpu", what, times["ours"], times["peer"],
                   exactness=relative_difference(answers["ours"], answers["peer"]))  # fmt: skip


def _on_gpu(network: Any, dtype: Any) -> Any:
    fast = copy.deepcopy(network)
    prepare_for_inference(fast, dtype=dtype)
    return fast.to("cuda")


@torch.inference_mode()
def _run(network: Any, pinned: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = network(pinned.to("cuda", non_blocking=True)).logits.cpu()
    return logits


def _folder(what: str, bench: Bench, *, faces: Any, device: str, goal: str) -> Row:
    """Videos a second of a scan with worker processes, against the same processes that only decode."""
    paths = [str(bench.face_clip())] * NUM_VIDEOS
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    limits = VideoLimits(decode_device=device)
    settings = ScanSettings(faces=faces, num_frames=NUM_FRAMES, dtype="bfloat16", engine="torch", limits=limits)
    detector = Detector([str(default_checkpoint())], device="cuda", settings=settings)
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: list(examine_on_device(detector, paths, workers)),
        "peer": partial(_decode_all, paths, workers, settings.for_processes(workers)),
    }
    times = {name: Times() for name in ways}
    detector.score(paths[0])
    for _ in range(bench.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].wall.append(time.perf_counter() - start)
    rates = {name: NUM_VIDEOS / statistics.median(taken.wall) for name, taken in times.items()}
    return Row("gpu", what, rates["ours"] / rates["peer"], goal, f"{rates['ours']:.1f} videos/s",
               f"{rates['peer']:.1f} videos/s", f"{workers} processes that read, of one clip of 10 s",
               {name: taken.wall for name, taken in times.items()})  # fmt: skip


def _decode_all(paths: list[str], workers: int, settings: ScanSettings) -> None:
    with spawned_pool(workers, begin_reading, ([], settings, False)) as pool:
        list(pool.map(partial(decode_in_worker, limits=settings.limits), paths))


def _nvdec(what: str, bench: Bench) -> Row:
    path = bench.plain_clip()
    indices = even_indices(path)
    ways: dict[str, Callable[[], Any]] = {
        "ours": partial(read_ours, path, indices, device="cuda"),
        "peer": partial(read_ours, path, indices),
    }
    times, frames = interleave(ways, bench.rounds)
    num_equal = sum(np.array_equal(*pair) for pair in zip(frames["ours"], frames["peer"], strict=True))
    return compare("gpu", what, times["ours"], times["peer"], exactness=f"{num_equal} of {len(indices)} frames equal")
