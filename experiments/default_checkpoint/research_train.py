# SPDX-License-Identifier: Apache-2.0
"""
Train the research weights on one GPU for a given time, from which run b starts.

`python research_train.py DATA WORK --initial lite2.pt --seconds 500 --output research.safetensors`, where `lite2.pt`
contains ImageNet weights of EfficientNet-Lite2 with the names of timm.
"""

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from chain_data import add_folders, training_samples, validation_videos
from mixed_pairs import make_recipe
from networks import compare, group_parameters, make_lite2, normalise, save_weights, update_average
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.data import load_videos
from deepfake_video.training.fakes import MANIPULATED, SELF_BLENDED


PAIRS, LEARNING_RATE, WEIGHT_DECAY, LABEL_SMOOTHING = 32, 5e-4, 0.02, 0.02
WARMUP_STEPS, AVERAGE_DECAY, LARGEST_GRADIENT, LOG_EVERY = 200, 0.998, 5.0, 100
FAKES = {SELF_BLENDED: 0.6, MANIPULATED: 0.4}


def make_initial(weights: Path, device: str) -> nn.Module:
    """EfficientNet-Lite2 with the ImageNet weights of a file and a new classifier."""
    network = make_lite2()
    head = network.get_classifier()
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    own, loaded = network.state_dict(), torch.load(weights, map_location="cpu", weights_only=True)
    fitting = {name: value.float() for name, value in loaded.items() if own[name].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return network.to(device, memory_format=torch.channels_last)


def train(
    data: Path, work: Path, initial: Path, output: Path, *, seconds: float, max_steps: int | None, workers: int
) -> None:
    """
    Train for a given time, which the learning rate follows, and save the averaged weights.

    Args:
        data: Folder of the data.
        work: Folder of the crops.
        initial: Initial weights.
        output: File of the averaged weights.
        seconds: Time of the training.
        max_steps: Step after which the training stops, or `None`.
        workers: Worker processes that draw pairs.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = make_recipe(pairs=PAIRS, steps=10**6, fakes=FAKES, search_images=True)
    videos = load_videos(training_samples(data), recipe.crop_settings(), work / "crops", workers=1)
    validated = validation_videos(data, work, frames=20)
    torch.manual_seed(recipe.seed)
    torch.backends.cudnn.benchmark = True
    network = make_initial(initial, device)
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(group_parameters(network, WEIGHT_DECAY), lr=LEARNING_RATE)
    loader = DataLoader(
        TrainingPairs(videos, recipe),
        PAIRS,
        num_workers=workers,
        prefetch_factor=4,
        pin_memory=device == "cuda",
        worker_init_fn=_limit_threads,
    )
    begun, network = time.monotonic(), network.train()
    for step, batch in enumerate(loader):
        share = (time.monotonic() - begun) / seconds
        if share >= 1 or step == max_steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * share)) / 2
        labels = torch.tensor([0, 1], device=device).repeat(len(batch))
        pixels = normalise(batch.flatten(0, 2).to(device, non_blocking=True))
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = network(pixels)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        update_average(average, network, step + 1, AVERAGE_DECAY)
        if step % LOG_EVERY == 0:
            print(f"step {step}, {share:.0%} of the time: loss {float(loss.detach()):.3f}", flush=True)
    save_weights(average.state_dict(), output)
    print(json.dumps(compare(average.cpu(), validated)), flush=True)


def _limit_threads(_: int) -> None:
    torch.set_num_threads(1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folders(parser)
    parser.add_argument("--initial", type=Path, required=True, help="ImageNet weights with timm's names")
    parser.add_argument("--output", type=Path, required=True, help="safetensors file of the weights to write")
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--workers", type=int, default=6)
    arguments = parser.parse_args(argv)

    def command() -> int:
        train(
            arguments.data,
            arguments.work,
            arguments.initial,
            arguments.output,
            seconds=arguments.seconds,
            max_steps=arguments.max_steps,
            workers=arguments.workers,
        )
        return OK

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
