# SPDX-License-Identifier: Apache-2.0
"""Rows of reading: from a file to frames, and from frames to the input of a network."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from deepfake_video import DeepfakeVideoProcessor

from . import clips, scripts
from .bench import Bench, even_indices, run_child
from .measuring import Row, compare, interleave
from .peers import READERS, Read, is_installed, read_floor, read_ours


def decode_clips(bench: Bench) -> dict[str, Callable[[Path], Any]]:
    """What writes each clip of the rows, by its name."""
    return {
        "720p-10s-30.mp4": lambda path: clips.write_clip(path, keyframe_every=30),
        "720p-10s-250.mp4": lambda path: clips.write_clip(path, keyframe_every=250),
        "720p-60s-30.mp4": lambda path: clips.repeat_clip(path, bench.plain_clip(), 6),
        "720p-10s-hevc.mp4": lambda path: clips.write_clip(path, codec="libx265", keyframe_every=60),
        "720p-10s-vp9.webm": lambda path: clips.write_clip(path, codec="libvpx-vp9", keyframe_every=60),
    }


def decode(bench: Bench) -> Iterator[Row]:
    """
    20 evenly spaced frames, against other readers and the floor.

    CPU time is compared in one thread each: two threads on two hyperthreads of one core count the same work twice.
    """
    makers = decode_clips(bench)
    for name in list(makers)[:1] if bench.quick else makers:
        path = bench.clip(name, makers[name])
        indices = even_indices(path)
        readers: dict[str, Read] = {"ours": partial(read_ours, threads=1), "floor": read_floor, "threaded": read_ours}
        for peer, (package, reader) in READERS.items():
            try:
                reader(path, indices[:1])
                readers[peer] = reader
            except Exception as error:  # whatever a peer misses, the others are measured
                why = " ".join(str(error).split())[:60] if is_installed(package) else "not installed"
                yield Row("decode", f"{name} ÷ {peer}", exactness=f"not measured: {package}: {why}")
        ways: dict[str, Callable[[], Any]] = {key: partial(read, path, indices) for key, read in readers.items()}
        times, answers = interleave(ways, bench.rounds)
        truth = _decode_everything(path, set(indices.tolist()))
        ours = f"ours {_agreement(answers['ours'], truth)}"
        yield compare("decode", f"{name} ÷ floor", times["ours"], times["floor"], clock="cpu", goal="≤1.10",
                      exactness=ours)  # fmt: skip
        goals = {"torchcodec exact": "≤1.05" if "vp9" in name else "≤.75"}
        for peer in (peer for peer in READERS if peer in readers):
            said = f"{ours}; peer {_agreement(answers[peer], truth)}"
            yield compare("decode", f"{name} ÷ {peer}", times["ours"], times[peer], clock="cpu",
                          goal=goals.get(peer, ""), exactness=said)  # fmt: skip
            if peer == "Transformers pyav":
                goal = "≤.2" if "60s" in name else "≤.55" if name.endswith("mp4") and "hevc" not in name else ""
                yield compare("decode", f"{name} ÷ {peer}", times["threaded"], times[peer], goal=goal, exactness=said)


def _decode_everything(path: Path, wanted: set[int]) -> np.ndarray:
    with av.open(str(path)) as container:
        every = enumerate(container.decode(video=0))
        return np.stack([frame.to_ndarray(format="rgb24") for i, frame in every if i in wanted])


def _agreement(frames: Any, truth: np.ndarray) -> str:
    if np.shape(frames) != truth.shape:
        return "other shape"
    difference = np.abs(np.asarray(frames).astype(np.int16) - truth)
    return "bit-equal" if not difference.any() else f"mean {difference.mean():.1f}, max {difference.max()} levels"


def memory(bench: Bench) -> Iterator[Row]:
    """Growth of the resident memory at 1080p."""
    path = bench.clip(
        "1080p.mp4", lambda path: clips.write_clip(path, size=(1920, 1080), seconds=4, keyframe_every=30)
    )
    small = bench.clip("small.mp4", lambda path: clips.write_clip(path, size=(80, 80), seconds=1, keyframe_every=5))
    growth = run_child("reading", str(path), str(small))["bytes"] / 1e6
    yield Row("memory", "growth of the peak while reading 20 frames at 1080p, MB", growth, "≤65", f"{growth:.0f} MB")


def preprocess(bench: Bench) -> Iterator[Row]:
    """20 frames of 720p to the network's input, against PIL."""
    indices = even_indices(path := bench.plain_clip())
    frames = read_ours(path, indices)
    processor = DeepfakeVideoProcessor(size={"height": 112, "width": 112})

    def ours() -> torch.Tensor:
        small = np.stack([processor.resize_frame(frame) for frame in frames])
        options: dict[str, Any] = {"do_sample_frames": False, "input_data_format": "channels_last"}
        pixels: torch.Tensor = processor(small, return_tensors="pt", **options)["pixel_values_videos"]
        return pixels[0]

    def by_pil() -> torch.Tensor:
        pictures = [Image.fromarray(frame).resize((112, 112), Image.Resampling.BILINEAR) for frame in frames]
        return torch.stack([scripts.normalize(np.asarray(picture)) for picture in pictures])

    times, answers = interleave({"ours": ours, "peer": by_pil}, max(bench.rounds, 15))
    levels = ((answers["ours"] - answers["peer"]).abs() * scripts.STD * 255).max().item()
    yield compare("preprocess", "20 frames of 720p to 112 px ÷ PIL", times["ours"], times["peer"], goal="≤.15",
                  clock="cpu", exactness=f"at most {levels:.2f} levels apart")  # fmt: skip
