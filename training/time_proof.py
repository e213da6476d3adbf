# SPDX-License-Identifier: Apache-2.0
"""The proof that time is used: real clips against their own frames in another order, standing still or missing.

`python -m deepfake_video.training.time_proof DATA ... --output FOLDER` trains two networks over the same frame
classifier, one with a recurrent part over its scores and one without, on clips of real videos and the same clips with
their frames permuted, repeated or left out, and tests them on other people. A frame mean can hardly tell them apart;
what the recurrent network reaches above that, it reaches by time alone.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from ..evaluation.datasets import open_benchmark
from ..evaluation.metrics import measure
from ..evaluation.samples import Sample, identity_groups
from ..hub.packaged import DEFAULT_CHECKPOINT
from .command import exit_code
from .crops import CachedCrops
from .data import Video, load_videos
from .faults import LONG, permute, stall
from .judging import judge
from .loop import train
from .networks import make_network
from .recipe import PERMUTED, STALLED, Recipe


RECURRENT, FRAMES = "recurrent", "frame mean"
# In each test clip: another order; half of it or more standing still or missing, as trained on; or less, which is not.
FAULTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "permuted": permute,
    "frozen": partial(stall, skips=False, shares=LONG),
    "gap": partial(stall, skips=True, shares=LONG),
    "frozen shortly": partial(stall, skips=False),
    "gap shortly": partial(stall, skips=True),
}
# Frames of a clip, and how far apart the clips of a test video begin; its score is their mean.
NUM_FRAMES, TEST_STEP = 16, 4
CACHED_FRAMES = 40
_VIEW = {"image_size": 96, "num_frames": NUM_FRAMES}
_BASE = Recipe(
    preset="efficientnet-b0-frames",
    processor={"face_margin": 1.15},
    trains="head",
    feature_pairs=600,
    feature_jitter=2.0,
    fakes={PERMUTED: 0.5, STALLED: 0.5},
    clip_frames=NUM_FRAMES,
    cached_frames=CACHED_FRAMES,
    burst_length=CACHED_FRAMES,
    crop_size=160,
    crop_margin=1.5,
    batch_pairs=32,
    steps=3200,
    learning_rate=1e-2,
    warmup_steps=20,
    average_decay=0.95,
)
CONFIGS: dict[str, dict[str, Any]] = {
    FRAMES: {**_VIEW, "frame_aggregation": "mean-probability"},
    RECURRENT: {
        **_VIEW,
        "rnn_type": "lstm",
        "rnn_input": "logits",
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "bidirectional": True,
        "frame_aggregation": "features",
        "pooling": "mean",
        "classifier_dropout": 0.0,
    },
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deepfake_video.training.time_proof", description=__doc__)
    parser.add_argument("data", nargs="+", type=Path, help="data sets; of those with identities, half of them test")
    parser.add_argument("--output", required=True, type=Path, help="logs and test clips")
    parser.add_argument("--cache", type=Path, help="of face crops (default: OUTPUT/crops)")
    parser.add_argument("--steps", type=int, default=_BASE.steps, help=f"of training (default: {_BASE.steps})")
    parser.add_argument(
        "--initial", default=str(DEFAULT_CHECKPOINT), help="folder of a frame classifier (default: our own)"
    )
    parser.add_argument("--swap", action="store_true", help="test those that were trained on, and the other way round")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: _prove_and_print(arguments))


def _prove_and_print(arguments: argparse.Namespace) -> None:
    recipe = replace(
        _BASE, steps=arguments.steps, validate_every=arguments.steps, initial=arguments.initial, config=_VIEW
    )
    known, test = split_reals(arguments.data, swap=arguments.swap)
    cache = arguments.cache or arguments.output / "crops"
    sides = [load_videos(side, recipe.crop_settings(), cache, workers=1) for side in (known, test)]
    print(f"{len(sides[0])} videos to train on, {len(sides[1])} of other people to test", file=sys.stderr)
    tests = {name: make_tests(sides[1], name, arguments.output / "tests") for name in FAULTS}
    for name, config in CONFIGS.items():
        areas = prove(replace(recipe, config=config), sides[0], tests, arguments.output / name.replace(" ", "-"))
        print(f"{name}: video AUC " + ", ".join(f"{test} {area:.3f}" for test, area in areas.items()), flush=True)


def split_reals(roots: Sequence[Path], *, swap: bool = False) -> tuple[list[Sample], list[Sample]]:
    """Real videos to train on, and those of other people to test on; whose people are not named, that trains."""
    known: list[Sample] = []
    test: list[Sample] = []
    for root in roots:
        reals = [sample for sample in open_benchmark(root).present if not sample.is_fake]
        known += [sample for sample in reals if not sample.identities]
        for number, group in enumerate(identity_groups([sample for sample in reals if sample.identities])):
            (known if number % 2 == swap else test).extend(group)
    return known, test


def make_tests(videos: Sequence[Video], fault: str, folder: Path) -> list[Video]:
    """
    Clips of each video, as they are and with a fault of time in them; all of a video have its key.

    Args:
        videos: Real ones.
        fault: One of `FAULTS`.
        folder: Gets the clips; those of several faults share the files of the real ones there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for number, video in enumerate(videos):
        random = np.random.default_rng(number)
        for start in range(0, max(1, len(video.crops.frame_indices) - NUM_FRAMES + 1), TEST_STEP):
            frames, landmarks = video.crops.read(start, NUM_FRAMES)
            for is_fake, pictures in ((False, frames), (True, FAULTS[fault](frames, random))):
                path = folder / f"{number}-{start}-{fault if is_fake else 'real'}.safetensors"
                tensors = {"frames": torch.from_numpy(pictures), "landmarks": torch.from_numpy(landmarks)}
                save_file(tensors, path)
                sample = replace(video.sample, is_fake=is_fake)
                clips.append(Video(sample, CachedCrops(path, tuple(range(len(pictures))))))
    return clips


def prove(
    recipe: Recipe, known: Sequence[Video], tests: Mapping[str, Sequence[Video]], folder: Path
) -> dict[str, float]:
    """Train one network, without any choice by the tests, and return its AUC over the videos of each of them."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome = train(
        make_network(recipe), known, tests["permuted"], recipe, folder, device="cpu", workers=0, quiet=True
    )
    assert outcome is not None
    areas = {}
    processor, device = recipe.make_processor(), torch.device("cpu")
    # The real clips are the same in every test: they go through the frame encoder once.
    features: dict[Path, torch.Tensor] = {}
    for name, clips in tests.items():
        probabilities, _ = judge(outcome.network, clips, recipe, processor, device, known=features)
        scores: dict[tuple[str, bool], list[float]] = defaultdict(list)
        for clip, probability in zip(clips, probabilities, strict=True):
            scores[clip.sample.key, clip.sample.is_fake].append(probability)
        means = np.array([np.mean(values) for values in scores.values()])
        areas[name] = measure(means, np.array([is_fake for _, is_fake in scores]), 0.5)["auc"] or 0.0
    return areas


if __name__ == "__main__":
    sys.exit(main())
