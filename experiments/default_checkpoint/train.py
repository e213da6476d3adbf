# SPDX-License-Identifier: Apache-2.0
"""
Train one of the runs b, c and d: `python train.py RUN DATA WORK --initial WEIGHTS`.

The averaged weights go to `WORK/RUN/average-STEP.safetensors`. Run d distils two teachers into the network: its
initial weights, and a model folder.
"""

import argparse
import copy
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chain_data import add_folders, read_crops, training_samples, validation_videos
from mixed_pairs import MANIPULATED_COPY, SELF_BLENDED_COPY, MixedPairs, make_recipe
from networks import FolderNetwork, compare, group_parameters, make_lite2, normalise, save_weights, update_average
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.training.fakes import MANIPULATED, SELF_BLENDED


LABEL_SMOOTHING, WEIGHT_DECAY, LARGEST_GRADIENT = 0.02, 0.02, 5.0
AVERAGE_DECAY, WARMUP_STEPS, LOG_EVERY = 0.99, 50, 50
# Teacher and student are compared at this temperature. The second teacher counts 1.5 times as much as the first; the
# cross entropy with the labels counts half.
TEMPERATURE, SECOND_TEACHER_WEIGHT, LABEL_WEIGHT = 2.0, 1.5, 0.5


def _mix(blended: float, manipulated: float, blended_copy: float, manipulated_copy: float) -> dict[str, float]:
    return {
        SELF_BLENDED: blended,
        MANIPULATED: manipulated,
        SELF_BLENDED_COPY: blended_copy,
        MANIPULATED_COPY: manipulated_copy,
    }


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    Choices of a run.

    Attributes:
        steps: Steps of the schedule.
        learning_rate: Peak learning rate.
        frozen_stages: Leading stages that are not trained: the stem, then the stages of blocks.
        validate_every: Steps between two validations.
        pairs: Pairs of a batch.
        mix: Relative frequency of each kind of pair.
    """

    steps: int
    learning_rate: float
    frozen_stages: int
    validate_every: int
    pairs: int = 12
    mix: Mapping[str, float] = field(default_factory=lambda: _mix(0.35, 0.2, 0.25, 0.2))


RUNS = {
    "b": Run(steps=900, learning_rate=1e-4, frozen_stages=3, validate_every=300),
    "c": Run(steps=1600, learning_rate=2e-4, frozen_stages=0, validate_every=200, mix=_mix(0.25, 0.15, 0.35, 0.25)),
    "d": Run(steps=1500, learning_rate=2e-4, frozen_stages=4, validate_every=200, mix=_mix(0.25, 0.2, 0.3, 0.25)),
}
DISTILLED = "d"


class Student(nn.Module):
    """
    EfficientNet-Lite2 in two parts: frozen leading stages, and the trained rest.

    The running statistics of all batch norms are frozen too, since still images and video frames differ in them.

    Args:
        network: Network of timm, which is trained in place.
        frozen_stages: Leading stages that are not trained.
    """

    def __init__(self, network: Any, frozen_stages: int) -> None:
        super().__init__()
        # The parts of a network are untyped, because timm does not say of which class they are.
        self.network: Any = network
        self._blocks = max(0, frozen_stages - 1)
        self._frozen = [network.conv_stem, network.bn1, *network.blocks[: self._blocks]] if frozen_stages else []
        for module in self._frozen:
            module.requires_grad_(False)

    def begin_training(self) -> None:
        """Enter training mode, except for frozen stages and batch norms."""
        self.network.train()
        for module in (*self._frozen, *(m for m in self.network.modules() if isinstance(m, nn.BatchNorm2d))):
            module.eval()

    def first_maps(self, pixels: torch.Tensor) -> torch.Tensor:
        """Feature maps after the frozen stages; the pixels if none is frozen."""
        if not self._frozen:
            return pixels
        with torch.no_grad():
            for module in self._frozen:
                pixels = module(pixels)
        return pixels

    def logits(self, maps: torch.Tensor, network: Any) -> torch.Tensor:
        """Logits (N, 2) of these feature maps, of the student or of a network with the same frozen stages."""
        if not self._frozen:
            logits: torch.Tensor = network(maps)
            return logits
        for block in network.blocks[self._blocks :]:
            maps = block(maps)
        logits = network.forward_head(network.bn2(network.conv_head(maps)))
        return logits


def difference(logits: torch.Tensor) -> torch.Tensor:
    """Logit of fake against real (N,) float32 of logits (N, 2)."""
    return (logits[:, 1] - logits[:, 0]).float()


def make_loss(student: Student, second_teacher: FolderNetwork | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """
    Make the loss of a batch of pairs (pairs, 2, S, S, 3) uint8: cross entropy, and distillation if there are teachers.

    Args:
        student: Network that is trained; in its present state it is the first teacher.
        second_teacher: Second teacher, or `None` to train without teachers.
    """
    first_teacher = copy.deepcopy(student.network).eval() if second_teacher else None

    def loss(batch: torch.Tensor) -> torch.Tensor:
        pixels, labels = normalise(batch.flatten(0, 1)), torch.tensor([0, 1]).repeat(len(batch))
        with torch.autocast("cpu", torch.bfloat16):
            maps = student.first_maps(pixels)
            logits = student.logits(maps, student.network)
        hard = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        if first_teacher is None or second_teacher is None:
            return hard
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            side = second_teacher.image_size
            small = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
            first, second = difference(student.logits(maps, first_teacher)), difference(second_teacher(small))
        targets = torch.sigmoid((first + SECOND_TEACHER_WEIGHT * second) / TEMPERATURE)
        soft = F.binary_cross_entropy_with_logits(difference(logits) / TEMPERATURE, targets) * TEMPERATURE
        return LABEL_WEIGHT * hard + soft

    return loss


def train(
    run: Run, data: Path, work: Path, folder: Path, *, initial: Path, teacher: Path | None, stop: int | None
) -> None:
    """
    Train a network on a CPU and save its averaged weights at each validation.

    Args:
        run: Choices of the run.
        data: Folder of the data.
        work: Folder of crops and copies.
        folder: Folder of the weights.
        initial: Initial weights.
        teacher: Model folder of the second teacher, or `None` to train without teachers.
        stop: Step after which the training stops although its schedule is longer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = make_recipe(pairs=run.pairs, steps=10**6)
    torch.manual_seed(recipe.seed)
    student = Student(make_lite2(initial), run.frozen_stages)
    average = copy.deepcopy(student.network).eval()
    optimizer = torch.optim.AdamW(group_parameters(student.network, WEIGHT_DECAY), lr=1.0)
    loss_of = make_loss(student, FolderNetwork(teacher) if teacher else None)
    pairs = MixedPairs(list(read_crops(training_samples(data), work)), work, recipe, run.mix)
    print(pairs.describe(), flush=True)
    last = min(run.steps, stop or run.steps)
    loader = DataLoader(
        Subset(pairs, range(last * run.pairs)),
        run.pairs,
        num_workers=1,
        prefetch_factor=4,
        worker_init_fn=_limit_threads,
    )
    videos, losses = validation_videos(data, work), []
    for step, batch in enumerate(loader):
        rate = run.learning_rate * min(1, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * step / run.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        student.begin_training()
        loss = loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        update_average(average, student.network, step + 1, AVERAGE_DECAY)
        losses.append(float(loss.detach()))
        done = step + 1
        if done % LOG_EVERY == 0 or done == last:
            print(f"step {done}: loss {np.mean(losses[-LOG_EVERY:]):.3f}", flush=True)
        if done % run.validate_every == 0 or done == last:
            print(json.dumps({"step": done, **compare(average, videos)}), flush=True)
            save_weights(average.state_dict(), folder / f"average-{done}.safetensors")


def _limit_threads(_: int) -> None:
    torch.set_num_threads(1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=RUNS)
    add_folders(parser)
    parser.add_argument("--initial", type=Path, required=True, help="safetensors file of the initial weights")
    parser.add_argument("--teacher", type=Path, help="model folder of the second teacher (run d)")
    parser.add_argument("--stop", type=int, help="step after which the training stops before its schedule ends")
    arguments = parser.parse_args(argv)
    if (arguments.run == DISTILLED) != (arguments.teacher is not None):
        parser.error("run d requires --teacher; the other runs have no teacher.")
    torch.set_num_threads(1)

    def command() -> int:
        train(
            RUNS[arguments.run],
            arguments.data,
            arguments.work,
            arguments.work / arguments.run,
            initial=arguments.initial,
            teacher=arguments.teacher,
            stop=arguments.stop,
        )
        return OK

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
