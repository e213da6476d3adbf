# SPDX-License-Identifier: Apache-2.0
"""
Train the default checkpoint: `python train.py DATA WORK --initial IMAGENET --teacher FOLDER --output RUN`.

One training from ImageNet weights, first on small views, then on those of the network. The network learns the labels
and, with half the weight, the frame scores of a teacher. `RUN/average-STEP.safetensors` holds the averaged weights; a
training that is stopped is resumed by the same command.
"""

import argparse
import copy
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chain_data import add_folders, read_crops, training_samples, validation_videos
from depthwise import replace_depthwise
from mixed_pairs import MANIPULATED_COPY, SELF_BLENDED_COPY, MixedPairs, make_recipe
from networks import (
    FolderNetwork,
    compare,
    group_parameters,
    make_lite2,
    normalise,
    save_weights,
    sharpen_gradient,
    update_average,
)
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.training.fakes import MANIPULATED, SELF_BLENDED


# Sides of the views in pixels. Small ones take half of the time; most is learned on them.
SMALL_SIZE, SIZE = 160, 224
# Steps on small views, and in all. The learning rate falls by a cosine; the small views make up 40 % of it.
SMALL_STEPS, STEPS, SMALL_PART = 565, 978, 0.4
# Part of the schedule after which the batch statistics are frozen.
STATISTICS_PART = 0.65
PAIRS, LEARNING_RATE, WARMUP_STEPS = 24, 5e-4, 40
WEIGHT_DECAY, LABEL_SMOOTHING, LARGEST_GRADIENT, AVERAGE_DECAY = 0.02, 0.02, 5.0, 0.99
# Teacher and network are compared at this temperature, with this weight beside the cross entropy with the labels.
TEMPERATURE, TEACHER_WEIGHT = 2.0, 0.5
MIX = {SELF_BLENDED: 0.35, MANIPULATED: 0.2, SELF_BLENDED_COPY: 0.25, MANIPULATED_COPY: 0.2}
VALIDATE_EVERY, LOG_EVERY = 300, 25
STATE_NAME = "state.pt"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """
    The length of a training.

    Attributes:
        small_steps: Steps on small views.
        steps: Steps in all.
        small_part: Part of the learning rate schedule that the steps on small views make up.
        small_size: Side of the small views in pixels.
    """

    small_steps: int = SMALL_STEPS
    steps: int = STEPS
    small_part: float = SMALL_PART
    small_size: int = SMALL_SIZE

    def part(self, step: int) -> float:
        """The part of the schedule in [0, 1] that lies before a step; steps on small views are shorter."""
        if step < self.small_steps:
            return self.small_part * step / self.small_steps
        return self.small_part + (1 - self.small_part) * (step - self.small_steps) / (self.steps - self.small_steps)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine over the schedule."""
        return LEARNING_RATE * min(1, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * self.part(step))) / 2

    def size(self, step: int) -> int:
        """Side of the views in pixels."""
        return self.small_size if step < self.small_steps else SIZE


@dataclass(frozen=True, kw_only=True)
class Variant:
    """
    What an ablation changes.

    Attributes:
        mix: Relative frequency of each kind of pair.
        teacher_weight: Weight of the teacher's scores beside that of the labels.
        sharpness_radius: Radius of sharpness-aware minimisation, see [`~networks.sharpen_gradient`]; 0 for none.
        seed: Seed of the head, of dropout and of the pairs.
    """

    mix: Mapping[str, float] = field(default_factory=lambda: dict(MIX))
    teacher_weight: float = TEACHER_WEIGHT
    sharpness_radius: float = 0.0
    seed: int = 0


class Training:
    """
    The state of a training.

    Args:
        initial: Safetensors file of the backbone's ImageNet weights.
        teacher: Model folder of the teacher.
        schedule: Length of the training.
        variant: Weight of the teacher, and the seed.
    """

    def __init__(self, initial: Path, teacher: Path, schedule: Schedule, variant: Variant) -> None:
        torch.manual_seed(variant.seed)
        self.schedule, self.step, self._variant = schedule, 0, variant
        self.network = make_lite2(initial)
        self.average = copy.deepcopy(self.network).eval()
        replace_depthwise(self.network)
        self.teacher = FolderNetwork(teacher)
        self.optimizer = torch.optim.AdamW(group_parameters(self.network, WEIGHT_DECAY), lr=1.0)

    def optimize(self, batch: torch.Tensor) -> float:
        """
        Train on a batch of pairs.

        Args:
            batch: Pairs (P, 2, S, S, 3) uint8, the real view first.

        Returns:
            The loss.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(self.step)
        self.network.train()
        if self.schedule.part(self.step) > STATISTICS_PART:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        pixels = normalise(batch.flatten(0, 1))
        targets = self._ask_teacher(pixels)
        loss = self._loss(pixels, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._variant.sharpness_radius:
            sharpen_gradient(self.network, lambda: self._loss(pixels, targets), self._variant.sharpness_radius)
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        update_average(self.average, self.network, self.step, AVERAGE_DECAY)
        return float(loss.detach())

    @torch.no_grad()
    def _ask_teacher(self, pixels: torch.Tensor) -> torch.Tensor:
        """Softened probability of fake (N,) of each view."""
        side = self.teacher.image_size
        with torch.autocast("cpu", torch.bfloat16):
            small = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
            return torch.sigmoid(difference(self.teacher(small)) / TEMPERATURE)

    def _loss(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        labels = torch.tensor([0, 1]).repeat(len(pixels) // 2)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(pixels)
        soft = F.binary_cross_entropy_with_logits(difference(logits) / TEMPERATURE, targets) * TEMPERATURE
        hard = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        return hard + self._variant.teacher_weight * soft

    def save(self, folder: Path) -> None:
        """Save the averaged weights, and the state from which the training is resumed."""
        save_weights(self.average.state_dict(), folder / f"average-{self.step}.safetensors")
        state: dict[str, Any] = {
            name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer")
        }
        unfinished = folder / f"{STATE_NAME}.part"
        torch.save({**state, "step": self.step}, unfinished)
        os.replace(unfinished, folder / STATE_NAME)

    def resume(self, folder: Path) -> None:
        """Continue from the last saved state, if there is one."""
        if not (folder / STATE_NAME).exists():
            return
        state = torch.load(folder / STATE_NAME, weights_only=True)
        for name in ("network", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]


def difference(logits: torch.Tensor) -> torch.Tensor:
    """Logit of fake against real (N,) float32 of logits (N, 2)."""
    return (logits[:, 1] - logits[:, 0]).float()


def draw_batches(
    small: Dataset[torch.Tensor], large: Dataset[torch.Tensor], schedule: Schedule, step: int
) -> Iterator[torch.Tensor]:
    """
    Draw the batches from a step on.

    Args:
        small: Pairs of small views.
        large: Pairs of large views.
        schedule: Length of the training.
        step: First step.
    """
    for pairs, first, last in (
        (small, step, schedule.small_steps),
        (large, max(step, schedule.small_steps), schedule.steps),
    ):
        yield from DataLoader(
            Subset(pairs, range(first * PAIRS, max(first, last) * PAIRS)),
            PAIRS,
            num_workers=1,
            prefetch_factor=6,
            worker_init_fn=_limit_threads,
        )


def train(
    data: Path,
    work: Path,
    folder: Path,
    *,
    initial: Path,
    teacher: Path,
    schedule: Schedule,
    variant: Variant = Variant(),
) -> Training:
    """
    Train the network on a CPU and save its averaged weights at each validation.

    Args:
        data: Folder of the data.
        work: Folder of crops and copies.
        folder: Folder of the weights.
        initial: ImageNet weights of the backbone.
        teacher: Model folder of the teacher.
        schedule: Length of the training.
        variant: Mix of the pairs, weight of the teacher, and seed.

    Returns:
        The finished training, with the network and its averaged weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    small, large = (
        make_recipe(size=size, pairs=PAIRS, steps=schedule.steps, seed=variant.seed)
        for size in (schedule.small_size, SIZE)
    )
    videos = list(read_crops(training_samples(data), work))
    small_pairs, large_pairs = (MixedPairs(videos, work, recipe, variant.mix) for recipe in (small, large))
    print(large_pairs.describe(), flush=True)
    training = Training(initial, teacher, schedule, variant)
    training.resume(folder)
    validation, losses = validation_videos(data, work, frames=6), []
    for batch in draw_batches(small_pairs, large_pairs, schedule, training.step):
        losses.append(training.optimize(batch))
        step = training.step
        if step % LOG_EVERY == 0:
            print(f"step {step}: loss {np.mean(losses[-LOG_EVERY:]):.3f}", flush=True)
        if step % VALIDATE_EVERY == 0 or step == schedule.steps:
            size = schedule.size(step - 1)
            print(json.dumps({"step": step, **compare(training.average, validation, size)}), flush=True)
            training.save(folder)
    return training


def _limit_threads(_: int) -> None:
    torch.set_num_threads(1)


def add_inputs(parser: argparse.ArgumentParser, *, output: str) -> None:
    """
    Add the arguments that every training needs.

    Args:
        parser: The parser.
        output: What the folder `--output` receives.
    """
    add_folders(parser)
    parser.add_argument("--initial", type=Path, required=True, help="safetensors file of ImageNet weights")
    parser.add_argument("--teacher", type=Path, required=True, help="model folder of the teacher")
    parser.add_argument("--output", type=Path, required=True, help=output)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_inputs(parser, output="folder of the weights")
    parser.add_argument(
        "--small-steps", type=int, default=SMALL_STEPS, help="steps on small views (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="steps in all (default: %(default)s)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)

    def command() -> int:
        train(
            arguments.data,
            arguments.work,
            arguments.output,
            initial=arguments.initial,
            teacher=arguments.teacher,
            schedule=Schedule(small_steps=arguments.small_steps, steps=arguments.steps),
        )
        return OK

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
