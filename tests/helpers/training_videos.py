# SPDX-License-Identifier: Apache-2.0
"""Videos that a training can be tried on: cached crops made on the spot, and the smallest recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_trees import put_images
from safetensors.torch import save_file

from clips import picture
from deepfake_video import TrainingPlan
from deepfake_video.common.files import read_complete_lines
from deepfake_video.evaluation.samples import Sample
from deepfake_video.training.crops import CachedCrops
from deepfake_video.training.data import Video
from deepfake_video.training.fakes import MANIPULATED, SELF_BLENDED
from deepfake_video.training.loop import TrainingOutcome, train_network
from deepfake_video.training.networks import make_network
from deepfake_video.training.recipe import Recipe
from deepfake_video.training.training_log import LOG_NAME


SIDE = 48
# Eyes, nose and corners of the mouth of somebody who looks into the camera.
LANDMARKS = np.array([[18, 20], [30, 20], [24, 26], [19, 32], [29, 32]], np.float32)


def tiny_recipe(**changes: object) -> Recipe:
    """A few steps of the tiny preset in float32."""
    recipe = Recipe(
        preset="tiny",
        fakes={SELF_BLENDED: 1.0, MANIPULATED: 1.0},
        clip_frames=3,
        cached_frames=6,
        burst_length=3,
        crop_size=SIDE,
        batch_pairs=2,
        steps=6,
        warmup_steps=2,
        validate_every=2,
        average_decay=0.5,
    )
    return replace(recipe, **changes)


def make_video(
    folder: Path, number: int, *, is_fake: bool = False, frames: int = 6, copies: int = 0, **changes: object
) -> Video:
    """A video of the moving texture of `clips.picture`; a fake is darker, and made from the real one of its number."""
    folder.mkdir(parents=True, exist_ok=True)
    key = f"{'fake' if is_fake else 'real'}-{number}"
    pictures = np.stack([picture((17 * number + i) % 256, SIDE, SIDE) for i in range(frames)])
    tensors = {
        "frames": torch.from_numpy(pictures // 2 if is_fake else pictures),
        "landmarks": torch.from_numpy(LANDMARKS).repeat(frames, 1, 1),
    }
    if copies:
        # A re-encoded copy is 8 levels brighter a number; its self-blended version has the red channel at 255.
        shifted = torch.stack([tensors["frames"] + 8 * (number + 1) for number in range(copies)])
        tensors |= {"copies": shifted, "copy_landmarks": tensors["landmarks"].repeat(copies, 1, 1, 1)}
        if not is_fake:
            tensors["blends"] = shifted.clone()
            tensors["blends"][..., 0] = 255
    path = folder / f"{key}.safetensors"
    save_file(tensors, path)
    facts = {
        "key": key,
        "path": Path(f"{key}.mp4"),
        "is_fake": is_fake,
        "dataset": "drawn",
        "method": "darker" if is_fake else None,
        "identities": (str(number),),
        "original": f"real-{number}" if is_fake else None,
    }
    return Video(Sample(**{**facts, **changes}), CachedCrops(path, tuple(range(frames)), num_copies=copies))


def make_videos(folder: Path, numbers: range) -> list[Video]:
    """A real and a fake video of each number."""
    return [make_video(folder, number, is_fake=is_fake) for number in numbers for is_fake in (False, True)]


def tiny_plan(folder: Path, **changes: Any) -> TrainingPlan:
    """A plan of the tiny recipe on images of a real and of a fake class, on the CPU."""
    for side, shade in (("training", 0), ("validation", 30)):
        put_images(folder / side / "real", 3, shade=shade)
        put_images(folder / side / "fake/swap", 3, shade=90 + shade)
    return TrainingPlan(
        data=[folder / "training"],
        validation_data=[folder / "validation"],
        recipe=tiny_recipe(cached_frames=3, steps=4),
        output=folder / "run",
        device="cpu",
        workers=0,
        **changes,
    )


def run_training(
    recipe: Recipe, sides: tuple[list[Video], list[Video]], folder: Path, **options: Any
) -> TrainingOutcome | None:
    """Train a new network on the CPU, in this process, with training and validation videos."""
    folder.mkdir(exist_ok=True)
    options = {"device": "cpu", "workers": 0, **options}
    return train_network(make_network(recipe), *sides, recipe, folder, **options)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of the log of a training run; an incomplete last line is left out."""
    return [json.loads(line) for line in read_complete_lines(folder / LOG_NAME).splitlines()]
