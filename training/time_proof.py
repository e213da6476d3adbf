# SPDX-License-Identifier: Apache-2.0
"""The proof that time is used: real clips against the very same frames in another order.

`python -m deepfake_video.training.time_proof DATA ... --output FOLDER` trains two small networks, alike but for the
recurrent part, on clips of real videos and the same clips with their frames permuted, and tests them on other people.
A frame mean cannot tell the two apart; what the recurrent network reaches above that, it reaches by time alone.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ..evaluation.datasets import open_benchmark
from ..evaluation.metrics import measure
from ..evaluation.samples import Sample, identity_groups
from .crops import CachedCrops
from .data import Video, load_videos
from .faults import permute, stall
from .loop import judge, train
from .networks import make_network
from .recipe import PERMUTED, Recipe


RECURRENT, FRAMES = "recurrent", "frame mean"
# Frames of a test clip; each video gives one.
NUM_FRAMES = 16
_BASE = Recipe(
    preset="tiny",
    config={"image_size": 64, "num_frames": NUM_FRAMES, "hidden_size": 64, "bidirectional": True},
    processor={"face_margin": 1.3},
    fakes={PERMUTED: 1.0},
    clip_frames=NUM_FRAMES,
    cached_frames=40,
    burst_length=40,
    crop_size=96,
    crop_margin=1.3,
    augment=False,
    batch_pairs=4,
    steps=400,
    learning_rate=2e-3,
    warmup_steps=20,
    average_decay=0.95,
)
_FRAME_MEAN = {
    **{"image_size": 64, "num_frames": NUM_FRAMES, "rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 1024},
    "frame_aggregation": "mean-probability",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deepfake_video.training.time_proof", description=__doc__)
    parser.add_argument("data", nargs="+", type=Path, help="data sets; of those with identities, half of them test")
    parser.add_argument("--output", required=True, type=Path, help="logs and test clips")
    parser.add_argument("--cache", type=Path, help="of face crops (default: OUTPUT/crops)")
    parser.add_argument("--steps", type=int, default=_BASE.steps, help=f"of training (default: {_BASE.steps})")
    arguments = parser.parse_args(argv)
    recipe = replace(_BASE, steps=arguments.steps, validate_every=arguments.steps)
    known, test = split_reals(arguments.data)
    cache = arguments.cache or arguments.output / "crops"
    sides = [load_videos(side, recipe.crop_settings(), cache, workers=1) for side in (known, test)]
    print(f"{len(sides[0])} videos to train on, {len(sides[1])} of other people to test", file=sys.stderr)
    tests = {name: make_tests(sides[1], name, arguments.output / name) for name in ("permuted", "frozen", "gap")}
    for name, config in ((FRAMES, _FRAME_MEAN), (RECURRENT, _BASE.config)):
        areas = prove(replace(recipe, config=config), sides[0], tests, arguments.output / name.replace(" ", "-"))
        print(f"{name}: video AUC " + ", ".join(f"{test} {area:.3f}" for test, area in areas.items()), flush=True)
    return 0


def split_reals(roots: Sequence[Path]) -> tuple[list[Sample], list[Sample]]:
    """Real videos to train on, and those of other people to test on; whose people are not named, that trains."""
    known: list[Sample] = []
    test: list[Sample] = []
    for root in roots:
        reals = [sample for sample in open_benchmark(root).samples if not sample.is_fake]
        known += [sample for sample in reals if not sample.identities]
        for number, group in enumerate(identity_groups([sample for sample in reals if sample.identities])):
            (test if number % 2 else known).extend(group)
    return known, test


def make_tests(videos: Sequence[Video], fault: str, folder: Path) -> list[Video]:
    """
    Each video, and its first frames with a fault of time in them.

    Args:
        videos: Real ones.
        fault: "permuted", "frozen" (one frame stands still) or "gap" (frames go missing).
        folder: Gets the faulty clips.
    """
    folder.mkdir(parents=True, exist_ok=True)
    videos_and_faulty = []
    for number, video in enumerate(videos):
        random = np.random.default_rng(number)
        frames, landmarks = video.crops.read(0, NUM_FRAMES)
        faulty = permute(frames, random) if fault == "permuted" else stall(frames, random, skips=fault == "gap")
        path = folder / f"{number}.safetensors"
        save_file({"frames": torch.from_numpy(faulty), "landmarks": torch.from_numpy(landmarks)}, path)
        sample = replace(video.sample, key=f"{video.sample.key} {fault}", is_fake=True)
        videos_and_faulty += [video, Video(sample, CachedCrops(path, tuple(range(len(faulty)))))]
    return videos_and_faulty


def prove(
    recipe: Recipe, known: Sequence[Video], tests: Mapping[str, Sequence[Video]], folder: Path
) -> dict[str, float]:
    """Train one network, without any choice by the tests, and return its AUC on each of them."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome = train(
        make_network(recipe), known, tests["permuted"], recipe, folder, device="cpu", workers=0, quiet=True
    )
    assert outcome is not None
    areas = {}
    for name, videos in tests.items():
        scores = judge(outcome.network, videos, recipe, recipe.make_processor(), torch.device("cpu"))
        areas[name] = measure(*scores, 0.5)["auc"] or 0.0
    return areas


if __name__ == "__main__":
    sys.exit(main())
