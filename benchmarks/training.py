# SPDX-License-Identifier: Apache-2.0
"""A training step beside plain torchvision's, and what the pairs for it cost, on the CPU and on a device."""

import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from deepfake_video.training.device_pairs import pack_pairs
from deepfake_video.training.fakes import SELF_BLENDED
from deepfake_video.training.loop import TrainingLoop
from deepfake_video.training.modes import make_mode
from deepfake_video.training.networks import make_network
from deepfake_video.training.recipe import PairsOn, Recipe
from deepfake_video.training.training_log import TrainingLog

from .bench import Bench, run_child
from .measuring import Row, compare, interleave


# Batches of the GPU rows: pairs of each, those before the measurement, and those that are measured.
PAIRS, WARM_UP, MEASURED = 64, 40, 80


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
    yield _loader_row(bench)
    yield _gpu_row(bench)


def _loader_row(bench: Bench) -> Row:
    """What a loader process spends on pairs whose pixels are computed on the device, and on whole pairs."""
    recipe = _self_blending(steps=1)
    pairs = TrainingPairs([_noise(bench.folder, recipe)], recipe)
    ways = {
        "ours": lambda: pack_pairs([pairs.plan(i) for i in range(PAIRS)], pairs.image_size),
        "peer": lambda: [pairs[i] for i in range(PAIRS)],
    }
    times, _ = interleave(ways, bench.rounds)
    what = f"loader of {PAIRS} self-blended pairs, {recipe.view[1]} px: --pairs-on device ÷ cpu"
    exactness = "without H.264 of a fifth of the clips, which threads of the training process compute"
    return compare("training", what, times["ours"], times["peer"], exactness=exactness, clock="cpu")


def _gpu_row(bench: Bench) -> Row:
    """Training on a GPU with all cores, with pairs on the device and on the CPU, in turns."""
    what = "training of the recipe lite2 on a GPU, images/s: --pairs-on device ÷ cpu"
    if not torch.cuda.is_available():
        return Row("training", what, exactness="not measured: no CUDA device")
    rates: dict[str, list[float]] = {"device": [], "cpu": []}
    for _, (way, found) in itertools.product(range(bench.rounds), rates.items()):
        found.append(run_child("training_rate", str(bench.folder), way)["images_per_s"])
    ours, peer = statistics.median(rates["device"]), statistics.median(rates["cpu"])
    shown = (f"{ours:.0f} images/s", f"{peer:.0f} images/s")
    return Row("training", what, ours / peer, ours=shown[0], peer=shown[1], samples=rates)


def train_rate(folder: Path, pairs_on: PairsOn, *, device: str = "auto", pairs: int = PAIRS) -> float:
    """Images per second of a training run in bfloat16, after some batches; accelerate wants a process for each."""
    recipe = _self_blending(steps=WARM_UP + MEASURED, batch_pairs=pairs)
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="bf16")
    checkpoints = Checkpoints(accelerator, folder, recipe, data="", initial="", pairs_on=pairs_on)
    log = TrainingLog(folder, lambda record: None, is_writer=False)
    network, mode = make_network(recipe), make_mode(recipe, pairs_on)
    loop = TrainingLoop(accelerator, network, mode, recipe, checkpoints, log)
    batches = mode.make_source([_noise(folder, recipe)], network, folder, accelerator, workers=None).batches(0)
    for batch in itertools.islice(batches, WARM_UP):
        loop.optimize(batch)
    start = time.perf_counter()
    for batch in batches:
        loop.optimize(batch)
    return 2 * pairs * MEASURED / (time.perf_counter() - start)


def _self_blending(**changes: Any) -> Recipe:
    """The recipe `lite2` with self-blended faces only."""
    return Recipe.read("lite2", fakes={SELF_BLENDED: 1.0}, copies=0, copy_share=0.0, **changes)


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
