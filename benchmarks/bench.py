# SPDX-License-Identifier: Apache-2.0
"""What all rows share: clips and models that are created once, and jobs that run in separate processes."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.video_decoding import VideoReader

from . import clips


NUM_FRAMES = 20


@dataclass(frozen=True)
class Bench:
    """
    Settings of a benchmark run: its folder, the number of rounds, and whether one case per group is sufficient.

    `labelled` is a folder with videos in `real` and `fake`, for the rows that need them.
    """

    folder: Path
    rounds: int
    quick: bool
    labelled: Path | None = None

    def clip(self, name: str, make: Callable[[Path], Any]) -> Path:
        path = self.folder / name
        if not path.exists():
            make(path)
        return path

    def plain_clip(self) -> Path:
        """720p, 10 s, a keyframe every 30 frames."""
        return self.clip("720p-10s-30.mp4", lambda path: clips.write_clip(path, keyframe_every=30))

    def face_clip(self) -> Path:
        return self.clip("face.mp4", clips.write_face)

    def model(self, preset: str, **changes: Any) -> tuple[str, DeepfakeForVideoClassification]:
        """A folder with random weights, and the network in it."""
        folder = self.folder / "-".join([preset, *map(str, changes.values())])
        torch.manual_seed(0)
        config = DeepfakeConfig.from_preset(preset, **changes)
        network = DeepfakeForVideoClassification(config).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # not near the identity, as trained ones are not
                nn.init.normal_(module.get_buffer("running_mean"), std=0.2)
                nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2.0)
        # OpenCV's resize does not average; in the row of that script ours does not either.
        antialias = preset != "efficientnet-b0-bilstm"
        save_hub_folder(network, DeepfakeVideoProcessor.from_config(config, antialias=antialias), folder)
        return str(folder), network


def even_indices(path: Path) -> np.ndarray:
    """20 frames from the first to the last."""
    with VideoReader(path) as reader:
        return np.linspace(0, reader.num_frames - 1, NUM_FRAMES).astype(int)


def run_child(*arguments: str) -> dict[str, float]:
    """The answer of one job of `child.py`."""
    done = subprocess.run([*_CHILD, *arguments], check=True, capture_output=True, text=True)
    return _last_line(done.stdout)


def run_together(jobs: Sequence[Sequence[str]]) -> float:
    """Seconds until all of some jobs of `child.py` are done that start at the same moment."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([*_CHILD, *job], text=True, **pipes) for job in jobs]
    for process in processes:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("a process did not start")
    for process in processes:
        if process.stdin is not None:
            process.stdin.write("\n")
            process.stdin.flush()
    return max(_last_line(process.communicate()[0])["seconds"] for process in processes)


_CHILD = [sys.executable, "-m", "benchmarks.child"]


def _last_line(text: str) -> dict[str, float]:
    answer: dict[str, float] = json.loads(text.splitlines()[-1])
    return answer
