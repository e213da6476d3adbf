# SPDX-License-Identifier: Apache-2.0
"""
Train a pruned CenterFace on the outputs of the original, without labels:
`python distil.py GRAPH PRUNED PORTRAIT [PORTRAIT ...] --output TRAINED`.
"""

import argparse
import copy
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from composites import Composites
from graph_network import OUTPUTS, GraphNetwork, Values, as_batch
from torch import nn
from torch.nn import functional as F


# Pixels of a batch.
BATCH_PIXELS = 8 * 128 * 224
STEPS, LEARNING_RATE, WARMUP_STEPS, AVERAGE_DECAY, LARGEST_GRADIENT, SEED = 2200, 3e-5, 50, 0.995, 5.0, 1
# Weights of the maps in the loss. The heat matters more near faces.
WEIGHTS = {"log_sides": 3.0, "offsets": 1.5, "landmarks": 2.0}
NEAR_WEIGHT, LOGIT_WEIGHT, LEAST_HEAT, EPSILON = 20.0, 0.02, 0.003, 1e-6
HEAT_BIAS = "head.pos_conv.bias"


def compute_loss(student: Values, teacher: Values) -> torch.Tensor:
    """
    Compare the maps of two networks.

    Args:
        student: Maps `OUTPUTS` (B, C, h, w) of the trained network.
        teacher: Those of the original.

    Returns:
        The relative entropy of the heat, the squared difference of its logits where the original is above
        `LEAST_HEAT`, and the absolute differences of the other maps, weighted by the heat of the original.
    """
    heat, wanted = (maps["heat"].clamp(EPSILON, 1 - EPSILON) for maps in (student, teacher))
    near = F.max_pool2d(wanted, 3, 1, 1)
    entropy = F.binary_cross_entropy(heat, wanted, reduction="none")
    entropy = entropy - F.binary_cross_entropy(wanted, wanted, reduction="none")
    loss = (entropy * (1 + NEAR_WEIGHT * near)).sum() / (near.sum() + 1)
    visible = (wanted > LEAST_HEAT).float()
    gap = (torch.logit(heat) - torch.logit(wanted)).clamp(-5, 5)
    loss = loss + LOGIT_WEIGHT * (gap**2 * visible).sum() / (visible.sum() + 1)
    for name, weight in WEIGHTS.items():
        difference = (student[name] - teacher[name]).abs() * wanted
        loss = loss + weight * difference.sum() / (wanted.sum() + 1)
    return loss


def draw_batch(composites: Composites) -> torch.Tensor:
    """Draw a batch (B, 3, H, W) float32 from 0 to 255."""
    height, width = composites.size()
    count = max(2, round(BATCH_PIXELS / (height * width)))
    return torch.cat([as_batch(composites.draw(height, width)) for _ in range(count)])


def distil(teacher: GraphNetwork, student: GraphNetwork, composites: Composites, steps: int) -> GraphNetwork:
    """
    Train a network on the outputs of another one.

    Args:
        teacher: The original.
        student: The network that is trained in place.
        composites: Source of the images.
        steps: Number of optimiser steps.

    Returns:
        The network with the exponential moving average of the weights.
    """
    torch.manual_seed(SEED)
    average = copy.deepcopy(student)
    trained = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            warmup = min(1.0, (step + 1) / WARMUP_STEPS)
            group["lr"] = LEARNING_RATE * warmup * (1 + math.cos(math.pi * step / steps)) / 2
        batch = draw_batch(composites)
        with torch.no_grad():
            wanted = teacher(batch)
        loss = compute_loss(student(batch), {name: wanted[name] for name in OUTPUTS})
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, LARGEST_GRADIENT)
        optimizer.step()
        decay = min(AVERAGE_DECAY, (step + 2) / (step + 11))
        with torch.no_grad():
            for kept, weight in zip(average.parameters(), student.parameters(), strict=True):
                kept.lerp_(weight, 1 - decay)
        losses.append(float(loss.detach()))
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {np.mean(losses[-100:]):.3f}", flush=True)
    return average


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="graph of make_graph.py")
    parser.add_argument("pruned", type=Path, help="graph of prune.py")
    parser.add_argument("portraits", nargs="+", type=Path, help="pictures of people")
    parser.add_argument("--output", type=Path, required=True, help="the trained graph")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps (default: %(default)s)")
    parser.add_argument(
        "--heat-offset",
        type=float,
        default=0.0,
        help="constant added to the logits of the heat after the training (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    composites = Composites(arguments.portraits, SEED)
    trained = distil(GraphNetwork(arguments.graph), GraphNetwork(arguments.pruned), composites, arguments.steps)
    trained.replace(HEAT_BIAS, trained.weight(HEAT_BIAS).detach() + arguments.heat_offset)
    trained.save(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
