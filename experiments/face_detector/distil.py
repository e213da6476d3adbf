# SPDX-License-Identifier: Apache-2.0
"""
Train a pruned CenterFace on the outputs of the original: `python distil.py GRAPH PRUNED IMAGES --output TRAINED`.

No labels are needed. The images are augmented so that faces of all sizes, angles and qualities occur.
"""

import argparse
import copy
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from graph_network import OUTPUTS, GraphNetwork
from PIL import Image
from search_images import read_images
from torch import nn
from torch.nn import functional as F


# Sizes of the images (height, width) and pixels of a batch.
SIZES = ((128, 224), (192, 192), (96, 96), (224, 128), (128, 160), (256, 352))
BATCH_PIXELS = 8 * 128 * 224
STEPS, LEARNING_RATE, WARMUP_STEPS, AVERAGE_DECAY, LARGEST_GRADIENT, SEED = 4500, 2e-4, 50, 0.995, 5.0, 0
# Weights of the maps in the loss. The heat matters more near faces.
WEIGHTS = {"log_sides": 3.0, "offsets": 1.5, "landmarks": 2.0}
NEAR_WEIGHT, LOGIT_WEIGHT, LEAST_HEAT, EPSILON = 20.0, 0.02, 0.003, 1e-6


class Augmentation:
    """
    Draws training images.

    Args:
        images: Images (H, W, 3) uint8.
        seed: Seed of the draws.
    """

    def __init__(self, images: Sequence[np.ndarray], seed: int) -> None:
        self._images, self._random = images, np.random.default_rng(seed)

    def batch(self) -> torch.Tensor:
        """Draw a batch (B, 3, H, W) float32 from 0 to 255."""
        height, width = SIZES[self._random.integers(len(SIZES))]
        count = max(2, round(BATCH_PIXELS / (height * width)))
        canvases = np.stack([self._compose(height, width) for _ in range(count)])
        return torch.from_numpy(np.rint(canvases).transpose(0, 3, 1, 2).copy())

    def _compose(self, height: int, width: int) -> np.ndarray:
        """One view, or four that overlap, on black."""
        random, canvas = self._random, np.zeros((height, width, 3), np.float32)
        for _ in range(1 if random.random() < 0.7 else 4):
            view = self._view()
            top, left = (
                int(random.integers(-side // 3, max(1, room - 2 * side // 3)))
                for side, room in zip(view.shape[:2], (height, width), strict=True)
            )
            if random.random() < 0.4:
                top = left = 0
            y, x = max(0, top), max(0, left)
            part = view[max(0, -top) :, max(0, -left) :][: height - y, : width - x]
            canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
        return canvas

    def _view(self) -> np.ndarray:
        """An image, turned, scaled, mirrored and degraded at random: (H, W, 3) float32 from 0 to 255."""
        random = self._random
        image = Image.fromarray(self._images[random.integers(len(self._images))])
        if random.random() < 0.25:
            angle = random.uniform(-40, 40) if random.random() < 0.8 else random.choice([90, 180, 270])
            image = image.rotate(float(angle), Image.Resampling.BILINEAR)
        scale = math.exp(random.uniform(math.log(0.5), math.log(1.4))) if random.random() < 0.7 else 1.0
        size = (image.width * scale * random.uniform(0.9, 1.1), image.height * scale)
        image = image.resize((max(16, round(size[0])), max(16, round(size[1]))), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < 0.2:
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=int(random.integers(15, 80)))
            image = Image.open(stream).convert("RGB")
        pixels = np.asarray(image).astype(np.float32)
        if random.random() < 0.5:
            pixels = 255 * (pixels / 255) ** math.exp(random.uniform(-0.9, 0.9))
        if random.random() < 0.4:
            pixels = pixels * random.uniform(0.3, 1.2)
        if random.random() < 0.3:
            pixels = pixels * random.uniform(0.8, 1.2, 3)
        if random.random() < 0.08:
            pixels = np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
        if random.random() < 0.15:
            pixels = pixels + random.normal(0, random.uniform(2, 15), pixels.shape)
        return np.clip(pixels, 0, 255).astype(np.float32)


def compute_loss(student: dict[str, torch.Tensor], teacher: dict[str, torch.Tensor]) -> torch.Tensor:
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


def distil(teacher: GraphNetwork, student: GraphNetwork, images: Sequence[np.ndarray], steps: int) -> GraphNetwork:
    """
    Train a network on the outputs of another one.

    Args:
        teacher: The original.
        student: The network that is trained in place.
        images: Images (H, W, 3) uint8.
        steps: Number of optimiser steps.

    Returns:
        The network with the exponential moving average of the weights.
    """
    torch.manual_seed(SEED)
    average = copy.deepcopy(student)
    trained = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE)
    augmentation = Augmentation(images, SEED)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            warmup = min(1.0, (step + 1) / WARMUP_STEPS)
            group["lr"] = LEARNING_RATE * warmup * (1 + math.cos(math.pi * step / steps)) / 2
        batch = augmentation.batch()
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
    parser.add_argument("images", type=Path, help="file that search_images.py has written")
    parser.add_argument("--output", type=Path, required=True, help="the trained graph")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps (default: %(default)s)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    images, _ = read_images(arguments.images)
    trained = distil(GraphNetwork(arguments.graph), GraphNetwork(arguments.pruned), images, arguments.steps)
    trained.save(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
