# SPDX-License-Identifier: Apache-2.0
"""A training step beside plain torchvision's, and what drawing the pairs for it costs."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torchvision
from accelerate import Accelerator
from safetensors.torch import save_file

from deepfake_video.evaluation.samples import Sample
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.checkpointing import Checkpoints
from deepfake_video.training.crops import CachedCrops
from deepfake_video.training.data import Video
from deepfake_video.training.fakes import SELF_BLENDED
from deepfake_video.training.loop import TrainingLoop
from deepfake_video.training.modes import make_mode
from deepfake_video.training.networks import make_network
from deepfake_video.training.recipe import Recipe
from deepfake_video.training.training_log import TrainingLog

from .bench import Bench
from .measuring import Row, interleave


def training(bench: Bench) -> Iterator[Row]:
    """
    One step of the default recipe and of torchvision's EfficientNet-B0, on the same batch, in turns.

    Ours normalises, clips gradients and averages the weights besides forward, backward and AdamW.
    """
    recipe = Recipe.read("default")
    video = _noise(bench.folder, recipe)
    settings = {**recipe.to_dict(), "fakes": {SELF_BLENDED: 1.0}}
    pairs = TrainingPairs([video], Recipe(**settings))
    batch = torch.stack([pairs[i] for i in range(recipe.batch_pairs)])
    accelerator, folder = Accelerator(cpu=True), bench.folder / "training"
    checkpoints = Checkpoints(accelerator, folder, recipe, data="", initial="")
    log = TrainingLog(folder, lambda record: None, is_writer=False)
    loop = TrainingLoop(accelerator, make_network(recipe), make_mode(recipe), recipe, checkpoints, log)
    plain = torchvision.models.efficientnet_b0(num_classes=2).train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4)
    pixels = batch.flatten(0, 2).permute(0, 3, 1, 2).contiguous() / 255
    labels = torch.tensor([0, 1]).repeat(len(batch))

    def step() -> None:
        torch.nn.functional.cross_entropy(plain(pixels), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    ways = {
        "ours": lambda: loop.optimize(batch),
        "torchvision": step,
        "drawing": lambda: [pairs[i] for i in range(recipe.batch_pairs)],
    }
    times, _ = interleave(ways, bench.rounds)
    rates = {way: len(pixels) / statistics.median(times[way].wall) for way in ways}
    what = f"training step of the default recipe, {recipe.view[1]} px, images/s ÷ plain torchvision's"
    ours, peer = (f"{rates[way]:.1f} images/s" for way in ("ours", "torchvision"))
    yield Row("training", what, rates["ours"] / rates["torchvision"], ours=ours, peer=peer)
    yield Row("training", "drawing self-blended pairs, in one process", ours=f"{rates['drawing']:.1f} images/s")


def _noise(folder: Path, recipe: Recipe) -> Video:
    """Smooth noise in place of a face: what is drawn costs the same."""
    side = recipe.crop_size
    coarse = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 3, 16, 16)).astype(np.float32))
    frame = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear").byte()
    landmarks = torch.full((recipe.cached_frames, 5, 2), torch.nan)
    path = folder / "noise.safetensors"
    frames = frame.permute(0, 2, 3, 1).repeat(recipe.cached_frames, 1, 1, 1)
    save_file({"frames": frames, "landmarks": landmarks}, path)
    sample = Sample(key="noise", path=path, is_fake=False, dataset="noise")
    return Video(sample, CachedCrops(path, tuple(range(recipe.cached_frames))))
