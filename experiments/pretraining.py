# SPDX-License-Identifier: Apache-2.0
"""
Pretrain a backbone on faces before it is trained on fakes.

`python experiments/pretraining.py attributes FACES --initial WEIGHTS --cache CROPS --output FILE` learns age, gender
and group from file names as in UTKFace (`age_gender_group_time.jpg`). The task "contrastive" needs no labels: it
learns which two crops, each augmented in its own way, show the same image (SimCLR, Chen et al. 2020,
https://arxiv.org/abs/2002.05709). FILE is a value of `deepfake-video train --set initial=`.
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

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.common.files import write_atomically
from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.training.augmentation import (
    degrade_clip,
    draw_degradation,
    draw_framing,
    draw_noise_seed,
    frame_clip,
)
from deepfake_video.training.crops import CachedCrops
from deepfake_video.training.data import Video, load_videos
from deepfake_video.training.errors import TrainingError, TrainingFailedError
from deepfake_video.training.networks import make_network
from deepfake_video.training.pixels import to_pixel_values
from deepfake_video.training.recipe import Recipe


ATTRIBUTES, CONTRASTIVE = "attributes", "contrastive"
GENDERS, GROUPS = 2, 5
# Ages are learned as (age - 30) / 30, which lies between -1 and 2 for most faces.
YEARS = 30.0
TEMPERATURE = 0.2
LOG_EVERY = 50


def read_attributes(name: str) -> tuple[float, int, int] | None:
    """Age in years, gender and group from a file name of UTKFace; `None` if the name does not contain all three."""
    words = name.split("_")
    if len(words) != 4 or not all(word.isdecimal() for word in words[:3]):
        return None
    age, gender, group = (int(word) for word in words[:3])
    return (float(age), gender, group) if gender < GENDERS and group < GROUPS else None


def attributes_loss(outputs: torch.Tensor, attributes: Sequence[tuple[float, int, int]]) -> torch.Tensor:
    """Sum of the smooth L1 loss of the ages and the cross entropies of the rest, for outputs `(N, 1 + 2 + 5)`."""
    ages, genders, groups = (torch.tensor([row[i] for row in attributes]) for i in range(3))
    age = F.smooth_l1_loss(outputs[:, 0], ages / YEARS - 1)
    gender = F.cross_entropy(outputs[:, 1 : 1 + GENDERS], genders)
    return age + gender + F.cross_entropy(outputs[:, 1 + GENDERS :], groups)


def contrastive_loss(outputs: torch.Tensor) -> torch.Tensor:
    """Cross entropy of finding the other view of an image, for outputs `(2 N, D)` with its views side by side."""
    unit = F.normalize(outputs, dim=1)
    likeness = (unit @ unit.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(likeness, torch.arange(len(outputs)) ^ 1)


def pretrain(videos: Sequence[Video], recipe: Recipe, task: str) -> tuple[nn.Module, list[float]]:
    """
    Train a backbone on a CPU, with as many crops per step as `deepfake-video train` with the same recipe.

    Args:
        videos: Images of real faces, or videos, of which the first frame is used.
        recipe: Recipe, of which the network, its initial weights, `batch_pairs`, `steps`, `learning_rate`,
            `weight_decay` and `seed` are used.
        task: "attributes" or "contrastive".

    Returns:
        The backbone and the loss of each step.

    Raises:
        TrainingError: If no file name contains the attributes, or the initial weights do not fit.
        TrainingFailedError: If the loss is not finite.
    """
    by_attributes = task == ATTRIBUTES
    attributes: list[tuple[float, int, int]] = []
    if by_attributes:
        videos, attributes = _label(videos)
    network, processor = make_network(recipe), recipe.make_processor()
    encoder = network.base_model.frame_encoder.to(memory_format=torch.channels_last).train()
    head, views = _make_head(network.config.num_features, by_attributes=by_attributes), 1 if by_attributes else 2
    trained = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1)
    losses: list[float] = []
    for step in range(recipe.steps):
        random = np.random.default_rng([recipe.seed, step])
        chosen = random.integers(len(videos), size=2 * recipe.batch_pairs // views)
        crops = np.stack([_draw_crop(videos[i].crops, recipe, random) for i in chosen for _ in range(views)])
        outputs = head(encoder(to_pixel_values(torch.from_numpy(crops)[:, None], processor)[:, 0]))
        loss = (
            attributes_loss(outputs, [attributes[i] for i in chosen]) if by_attributes else contrastive_loss(outputs)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise TrainingFailedError(f"the loss of step {len(losses)} is {losses[-1]}; try a lower learning_rate.")
        if len(losses) % LOG_EVERY == 0:
            print(f"step {len(losses)}: loss {np.mean(losses[-LOG_EVERY:]):.3f}", file=sys.stderr, flush=True)
    return encoder.backbone, losses


def _label(videos: Sequence[Video]) -> tuple[list[Video], list[tuple[float, int, int]]]:
    labelled = [(video, row) for video in videos if (row := read_attributes(video.sample.path.name))]
    if not labelled:
        raise TrainingError('"attributes" requires file names as in UTKFace: age_gender_group_time.jpg.')
    return [video for video, _ in labelled], [row for _, row in labelled]


def _make_head(width: int, *, by_attributes: bool) -> nn.Module:
    if by_attributes:
        return nn.Linear(width, 1 + GENDERS + GROUPS)
    return nn.Sequential(nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, 128))


def _draw_crop(crops: CachedCrops, recipe: Recipe, random: np.random.Generator) -> np.ndarray:
    """One augmented crop `(S, S, 3)` uint8."""
    frames, landmarks = crops.read(0, 1)
    share, image_size = recipe.view
    framing = draw_framing(random, frames.shape[1], 1.0 if crops.whole else share, jitter=True)
    seen, _ = frame_clip(frames, landmarks, framing, image_size)
    degradation = draw_degradation(random)
    return degrade_clip(seen, degradation, draw_noise_seed(degradation, random))[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=(ATTRIBUTES, CONTRASTIVE))
    parser.add_argument("faces", type=Path, help="folder whose real/ contains images of faces")
    parser.add_argument("--recipe", default="default", help="recipe whose network is pretrained")
    parser.add_argument("--initial", help="initial weights, as the field of a recipe (default: those of the recipe)")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--cache", type=Path, required=True, help="folder of the face crops, shared with a training")
    parser.add_argument("--output", type=Path, required=True, help="file of the weights to write")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _pretrain_and_save(arguments))


def _pretrain_and_save(arguments: argparse.Namespace) -> int:
    recipe = Recipe.read(arguments.recipe)
    recipe = replace(recipe, steps=arguments.steps, initial=arguments.initial or recipe.initial)
    recipe.check_model()
    samples = open_benchmark(arguments.faces).present
    videos = load_videos(samples, recipe.crop_settings(), arguments.cache, workers=1)
    backbone, _ = pretrain(videos, recipe, arguments.task)
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    write_atomically(arguments.output, save(tensors))
    return OK


if __name__ == "__main__":
    sys.exit(main())
