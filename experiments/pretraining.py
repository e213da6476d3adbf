# SPDX-License-Identifier: Apache-2.0
"""A backbone that has learned faces before it learns fakes.

`python -m deepfake_video.training.pretraining attributes FACES --initial WEIGHTS --cache CROPS --output FILE` learns
age, gender and group from the file names of UTKFace (`age_gender_group_time.jpg`). "contrastive" in place of
"attributes" needs no labels: it learns which two crops, each moved and degraded in its own way, show the same picture
(SimCLR, Chen et al. 2020, https://arxiv.org/abs/2002.05709). FILE is what `deepfake-video train --set initial=` takes.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from ..common.files import write_atomically
from ..evaluation.datasets import open_benchmark
from .augmentation import degrade_clip, draw_degradation, draw_framing, frame_clip
from .batches import to_pixel_values
from .command import exit_code
from .crops import CachedCrops
from .data import Video, load_videos
from .networks import make_network
from .recipe import Recipe, TrainingError


ATTRIBUTES, CONTRASTIVE = "attributes", "contrastive"
GENDERS, GROUPS = 2, 5
# An age is learned as its distance from this in units of this: most lie between -1 and 2.
YEARS = 30.0
TEMPERATURE = 0.2
LOG_EVERY = 50


def read_attributes(name: str) -> tuple[float, int, int] | None:
    """Age in years, gender and group of a file of UTKFace; `None` where its name does not say all three."""
    words = name.split("_")
    if len(words) != 4 or not all(word.isdecimal() for word in words[:3]):
        return None
    age, gender, group = (int(word) for word in words[:3])
    return (float(age), gender, group) if gender < GENDERS and group < GROUPS else None


def attributes_loss(outputs: torch.Tensor, attributes: Sequence[tuple[float, int, int]]) -> torch.Tensor:
    """Of outputs `(N, 1 + GENDERS + GROUPS)`: smooth L1 of the ages and cross entropy of the rest, summed."""
    ages, genders, groups = (torch.tensor([row[i] for row in attributes]) for i in range(3))
    age = F.smooth_l1_loss(outputs[:, 0], ages / YEARS - 1)
    gender = F.cross_entropy(outputs[:, 1 : 1 + GENDERS], genders)
    return age + gender + F.cross_entropy(outputs[:, 1 + GENDERS :], groups)


def contrastive_loss(outputs: torch.Tensor) -> torch.Tensor:
    """Of outputs `(2 N, D)`, the two of a picture one after the other: cross entropy of finding the other one."""
    unit = F.normalize(outputs, dim=1)
    likeness = (unit @ unit.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(likeness, torch.arange(len(outputs)) ^ 1)


def pretrain(videos: Sequence[Video], recipe: Recipe, task: str) -> tuple[nn.Module, list[float]]:
    """
    Train, on a CPU, with as many crops a step as `deepfake-video train` with the same recipe.

    Args:
        videos: Pictures of real faces, or videos, of which the first frame counts.
        recipe: The network, its initial weights, `batch_pairs`, `steps`, `learning_rate`, `weight_decay` and `seed`.
        task: "attributes" or "contrastive".

    Returns:
        The backbone and the loss of each step.

    Raises:
        TrainingError: If no picture tells its attributes, or the loss is not a number.
        ValueError: If the initial weights do not fit.
    """
    by_attributes = task == ATTRIBUTES
    attributes: list[tuple[float, int, int]] = []
    if by_attributes:
        labelled = [(video, row) for video in videos if (row := read_attributes(video.sample.path.name))]
        if not labelled:
            raise TrainingError('"attributes" needs files named as those of UTKFace are: age_gender_group_time.jpg.')
        videos, attributes = [video for video, _ in labelled], [row for _, row in labelled]
    network, processor = make_network(recipe), recipe.make_processor()
    encoder = network.base_model.frame_encoder.to(memory_format=torch.channels_last).train()
    width, views = network.config.num_features, 1 if by_attributes else 2
    head: nn.Module = nn.Linear(width, 1 + GENDERS + GROUPS)
    if not by_attributes:
        head = nn.Sequential(nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, 128))
    trained = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1)
    losses: list[float] = []
    for step in range(recipe.steps):
        random = np.random.default_rng([recipe.seed, step])
        chosen = random.integers(len(videos), size=2 * recipe.batch_pairs // views)
        crops = np.stack([_draw_crop(videos[i].crops, recipe, random) for i in chosen for _ in range(views)])
        outputs = head(encoder(to_pixel_values(torch.from_numpy(crops)[:, None], processor)[:, 0]))
        if by_attributes:
            loss = attributes_loss(outputs, [attributes[i] for i in chosen])
        else:
            loss = contrastive_loss(outputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise TrainingError(f"the loss of step {len(losses)} is {losses[-1]}: try a lower learning_rate.")
        if len(losses) % LOG_EVERY == 0:
            print(f"step {len(losses)}: loss {np.mean(losses[-LOG_EVERY:]):.3f}", file=sys.stderr, flush=True)
    return encoder.backbone, losses


def _draw_crop(crops: CachedCrops, recipe: Recipe, random: np.random.Generator) -> np.ndarray:
    """One crop `(S, S, 3)` uint8, moved and degraded as in a training."""
    frames, landmarks = crops.read(0, 1)
    share, image_size = recipe.view
    framing = draw_framing(random, frames.shape[1], share, jitter=True)
    seen, _ = frame_clip(frames, landmarks, framing, image_size)
    return degrade_clip(seen, draw_degradation(random), random)[0]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deepfake_video.training.pretraining", description=__doc__.split("\n")[0]
    )
    parser.add_argument("task", choices=(ATTRIBUTES, CONTRASTIVE))
    parser.add_argument("faces", type=Path, help="a folder whose real/ holds pictures of faces")
    parser.add_argument("--recipe", default="default", help="whose network is pretrained")
    parser.add_argument("--initial", help="weights to begin with, as the field of a recipe; else the recipe's")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--cache", type=Path, required=True, help="folder of face crops, as that of the training")
    parser.add_argument("--output", type=Path, required=True, help="the file that gets the backbone")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: _pretrain_and_save(arguments))


def _pretrain_and_save(arguments: argparse.Namespace) -> None:
    recipe = Recipe.read(arguments.recipe)
    recipe = replace(recipe, steps=arguments.steps, initial=arguments.initial or recipe.initial)
    samples = open_benchmark(arguments.faces).present
    videos = load_videos(samples, recipe.crop_settings(), arguments.cache, workers=1)
    backbone, _ = pretrain(videos, recipe, arguments.task)
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    write_atomically(arguments.output, save(tensors))


if __name__ == "__main__":
    sys.exit(main())
