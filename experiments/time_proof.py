# SPDX-License-Identifier: Apache-2.0
"""
Test whether a recurrent head uses time: real clips against the same clips with reordered, frozen or dropped frames.

`python experiments/time_proof.py DATA ... --output FOLDER` trains two networks over the same frame classifier, one
with a recurrent head over its scores and one without, and tests both on people that neither has seen. The mean over
frames can hardly tell these clips apart; whatever the recurrent network achieves beyond it comes from time alone.
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

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.evaluation.metrics import measure
from deepfake_video.evaluation.samples import Sample, identity_groups
from deepfake_video.hub.packaged import DEFAULT_CHECKPOINT
from deepfake_video.training.crops import CachedCrops
from deepfake_video.training.data import Video, load_videos
from deepfake_video.training.fakes import FAKE_MAKERS
from deepfake_video.training.faults import LONG, stall
from deepfake_video.training.loop import train_network
from deepfake_video.training.networks import make_network
from deepfake_video.training.recipe import Recipe
from deepfake_video.training.validation import score_videos


def permute(frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Put the frames (T, S, S, 3) of a clip in another order."""
    order = random.permutation(len(frames))
    while len(frames) > 1 and (order == np.arange(len(frames))).all():
        order = random.permutation(len(frames))
    return np.asarray(frames[order])


# Two kinds of fakes that recipes can ask for within this script.
PERMUTED, STALLED = "permuted", "stalled"
FAKE_MAKERS[PERMUTED] = lambda frames, _, random: permute(frames, random)
FAKE_MAKERS[STALLED] = lambda frames, _, random: stall(frames, random, skips=bool(random.random() < 0.5), shares=LONG)
RECURRENT, FRAMES = "recurrent", "frame mean"
# The faults of the test clips. Those with long gaps occur in training, those with short ones do not.
FAULTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "permuted": permute,
    "frozen": partial(stall, skips=False, shares=LONG),
    "gap": partial(stall, skips=True, shares=LONG),
    "frozen shortly": partial(stall, skips=False),
    "gap shortly": partial(stall, skips=True),
}
# Frames of a clip, and distance between the clips of a test video in frames; its score is their mean.
NUM_FRAMES, TEST_STEP = 16, 4
CACHED_FRAMES = 40
_VIEW = {"image_size": 96, "num_frames": NUM_FRAMES}
_BASE = Recipe(
    preset="efficientnet-b0-frames",
    processor={"face_margin": 1.15, "burst_length": NUM_FRAMES},
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
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="data sets; half of the people are held out for the test")
    parser.add_argument("--output", required=True, type=Path, help="folder of the logs and test clips")
    parser.add_argument("--cache", type=Path, help="folder for cached face crops (default: OUTPUT/crops)")
    parser.add_argument("--steps", type=int, default=_BASE.steps, help=f"training steps (default: {_BASE.steps})")
    parser.add_argument(
        "--initial",
        default=str(DEFAULT_CHECKPOINT),
        help="folder of a frame classifier (default: the packaged checkpoint)",
    )
    parser.add_argument("--swap", action="store_true", help="swap the people of training and test")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _prove_and_print(arguments))


def _prove_and_print(arguments: argparse.Namespace) -> int:
    recipe = replace(
        _BASE, steps=arguments.steps, validate_every=arguments.steps, initial=arguments.initial, config=_VIEW
    )
    known, test = split_reals(arguments.data, swap=arguments.swap)
    cache = arguments.cache or arguments.output / "crops"
    sides = [load_videos(side, recipe.crop_settings(), cache, workers=1) for side in (known, test)]
    print(f"{len(sides[0])} training videos, {len(sides[1])} test videos of other people", file=sys.stderr)
    tests = {name: make_tests(sides[1], name, arguments.output / "tests") for name in FAULTS}
    for name, config in CONFIGS.items():
        areas = prove(replace(recipe, config=config), sides[0], tests, arguments.output / name.replace(" ", "-"))
        print(f"{name}: video AUC " + ", ".join(f"{test} {area:.3f}" for test, area in areas.items()), flush=True)
    return OK


def split_reals(roots: Sequence[Path], *, swap: bool = False) -> tuple[list[Sample], list[Sample]]:
    """Divide real videos into training videos, with all of unknown identity, and test videos of other people."""
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
    Cut clips out of each video, each once as it is and once with a fault; all clips of a video have its key.

    Args:
        videos: Real videos.
        fault: One of `FAULTS`.
        folder: Folder of the clips; the tests of several faults share the real ones.
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
    """Train one network, without any choice based on the tests, and return its video AUC on each of them."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome = train_network(make_network(recipe), known, tests["permuted"], recipe, folder, device="cpu", workers=0)
    assert outcome is not None
    areas = {}
    processor, device = recipe.make_processor(), torch.device("cpu")
    # The real clips are the same in every test, so their features are computed once.
    features: dict[Path, torch.Tensor] = {}
    for name, clips in tests.items():
        probabilities, _ = score_videos(outcome.network, clips, recipe, processor, device, known=features)
        scores: dict[tuple[str, bool], list[float]] = defaultdict(list)
        for clip, probability in zip(clips, probabilities, strict=True):
            scores[clip.sample.key, clip.sample.is_fake].append(probability)
        means = np.array([np.mean(values) for values in scores.values()])
        areas[name] = measure(means, np.array([is_fake for _, is_fake in scores]), 0.5)["auc"] or 0.0
    return areas


if __name__ == "__main__":
    sys.exit(main())
