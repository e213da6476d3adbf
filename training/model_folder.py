# SPDX-License-Identifier: Apache-2.0
"""The folder of a trained model: calibrated weights, the record of the training, the terms and a card."""

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from ..common.files import new_folder
from ..evaluation.calibration import apply_calibration, fit_calibration
from ..evaluation.known_videos import TRAINING_NAME, list_videos, merge_lists, read_lists
from ..evaluation.metrics import Estimate, estimate
from ..hub.folder import save_hub_folder
from ..hub.terms import copy_terms, licence_of, model_folder_of
from ..scanning.detector import DECISION_THRESHOLD
from ..version import __version__
from .data import Video
from .loop import TrainingOutcome
from .recipe import Recipe
from .trained_card import write_model_card


def save_model(
    outcome: TrainingOutcome, recipe: Recipe, sides: Sequence[Sequence[Video]], folder: Path
) -> dict[str, Estimate]:
    """
    Calibrate a network on the validation videos and write its model folder.

    Args:
        outcome: Result of the training.
        recipe: Recipe of the training.
        sides: Training videos and validation videos, in this order.
        folder: Model folder; an existing one is replaced as a whole.

    Returns:
        Metrics on the validation videos by name.
    """
    factor, bias = fit_calibration(outcome.probabilities, outcome.is_fake)
    probabilities = apply_calibration(outcome.probabilities, factor, bias)
    config = outcome.network.config
    config.is_trained, config.temperature, config.fake_bias = True, factor, bias
    estimates = estimate(probabilities, outcome.is_fake, DECISION_THRESHOLD, seed=recipe.seed)
    initial = None if recipe.initial is None else model_folder_of(Path(recipe.initial))
    record = _make_record(outcome, recipe, sides, estimates, initial)
    with new_folder(folder) as unfinished:
        save_hub_folder(outcome.network, recipe.make_processor(), unfinished)
        (unfinished / TRAINING_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        # The terms of the initial weights also apply to the weights that are trained from them.
        licence = {} if initial is None else licence_of(initial)
        terms = [] if initial is None else copy_terms(initial, unfinished)
        write_model_card(unfinished, record, config, licence=licence, terms=terms)
    return estimates


def count_groups(videos: Sequence[Video]) -> Counter[str]:
    """Count the videos of each data set and method."""
    return Counter(f"{v.sample.dataset}, {v.sample.method or v.sample.label}" for v in videos)


def _make_record(
    outcome: TrainingOutcome,
    recipe: Recipe,
    sides: Sequence[Sequence[Video]],
    estimates: dict[str, Estimate],
    initial: Path | None,
) -> dict[str, Any]:
    """The content of `training.json`."""
    config = outcome.network.config
    return {
        "recipe": {**recipe.to_dict(), "initial": _initial_name(recipe)},
        "steps": outcome.progress.step,
        "best_step": outcome.progress.best_step,
        "seconds": round(outcome.progress.seconds),
        "training_data": dict(count_groups(sides[0])),
        "validation_data": dict(count_groups(sides[1])),
        "validation_videos": sorted(f"{video.sample.dataset}: {video.sample.key}" for video in sides[1]),
        "videos": _list_videos(sides, initial),
        "validation": {name: [value.value, value.low, value.high] for name, value in estimates.items()},
        "temperature": config.temperature,
        "fake_bias": config.fake_bias,
        "versions": {
            "deepfake_video": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _list_videos(sides: Sequence[Sequence[Video]], initial: Path | None) -> dict[str, Any]:
    """The training and validation videos, including those of the initial weights."""
    earlier = read_lists(initial)
    videos: dict[str, Any] = {}
    for part, side in zip(("training", "validation"), sides, strict=True):
        own = list_videos((video.sample, video.crops.sha256) for video in side)
        videos[part] = merge_lists([earlier[part], own]) if part in earlier else own
    return videos


def _initial_name(recipe: Recipe) -> str | None:
    """The source of the initial weights without the folders of this machine; for a file, with its hash."""
    if recipe.initial is None or not (path := Path(recipe.initial)).is_file():
        return recipe.initial and Path(recipe.initial).name
    return f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
