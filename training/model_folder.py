# SPDX-License-Identifier: Apache-2.0
"""The folder of a trained model: calibrated weights, the record of the training, the terms and a card."""

import hashlib
import json
import math
import os
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from ..common.files import replace_folder, temporary_folder
from ..common.json_files import read_json
from ..evaluation.calibration import apply_calibration, fit_calibration
from ..evaluation.known_videos import (
    TRAINING_NAME,
    KnownVideos,
    VideoList,
    divide_by_people,
    list_videos,
    merge_lists,
    read_lists,
    write_lists,
)
from ..evaluation.metric_rows import cluster_numbers, interval_unit
from ..evaluation.metrics import Estimate, estimate
from ..evaluation.samples import Sample
from ..hub.folder import save_hub_folder
from ..hub.model_files import CONFIG_NAME, VERDICT_NAME, WEIGHTS_NAME, ModelFolderError, model_files
from ..hub.terms import copy_terms, find_card, find_terms, licence_of, model_folder_of
from ..scanning.detector import DECISION_THRESHOLD
from ..scanning.file_stamps import hash_files
from ..version import __version__
from .data import Video
from .loop import TrainingOutcome
from .recipe import PairsOn, Recipe
from .trained_card import write_model_card
from .validation import videos_with_copies


# The same weights are calibrated on the same videos; another device changes temperature and bias by rounding only.
_CALIBRATION_TOLERANCE = 1e-3


def check_initial(recipe: Recipe) -> None:
    """
    Check before a training that licence, terms and known videos of the initial model can be taken over after it.

    Args:
        recipe: Recipe of the training.

    Raises:
        TermsError: If a licence file is not a regular text file in the folder of the model.
        KnownVideosError: If the list of the videos that the model knows is damaged.
    """
    folder = _initial_folder(recipe)
    if folder is not None:
        find_terms(folder)
        find_card(folder)
        read_lists(folder)


def _seen_by_initial(recipe: Recipe, videos: Sequence[Video]) -> list[Sample]:
    """The validation videos that the initial weights were trained on, and others of the people in them."""
    known = KnownVideos([_initial_folder(recipe)])
    seen = [video.sample for video in videos if known.seen(video.sample, video.crops.sha256) == "training"]
    return divide_by_people([video.sample for video in videos], seen)[0]


def note_on_initial(recipe: Recipe, videos: Sequence[Video]) -> str | None:
    """
    Return a note if the initial weights were trained on people in the validation videos.

    Args:
        recipe: Recipe of the training.
        videos: Validation videos.

    Raises:
        KnownVideosError: If the list of the videos that the initial model knows is damaged.
    """
    seen = _seen_by_initial(recipe, videos)
    if not seen:
        return None
    return (
        f"WARNING: {len(seen)} of the {len(videos)} validation videos, such as {seen[0].path}, show people whom the "
        f"initial weights ({recipe.initial}) were trained on, so the best step, the calibration and the metrics are "
        "too optimistic. Hold out the same people as in the training of the initial weights, or give other data with "
        "--validation-data."
    )


def save_model(
    outcome: TrainingOutcome,
    recipe: Recipe,
    sides: Sequence[Sequence[Video]],
    folder: Path,
    *,
    pairs_on: PairsOn = "cpu",
    on_note: Callable[[str], None] = lambda text: None,
) -> dict[str, Estimate]:
    """
    Calibrate a network on the validation videos and write its model folder.

    A complete folder that already contains these weights with this calibration is kept as it is, with the verdict
    bands that were measured for them and the changes to its card. Any other folder is replaced as a whole.

    Args:
        outcome: Result of the training.
        recipe: Recipe of the training.
        sides: Training videos and validation videos, in this order.
        folder: Model folder.
        pairs_on: Where the pixels of the training pairs were computed, for the record.
        on_note: Called with a sentence if an existing folder is kept, or if its verdict bands are dropped.

    Returns:
        Metrics on the validation videos by name.
    """
    factor, bias = fit_calibration(outcome.probabilities, outcome.is_fake)
    probabilities = apply_calibration(outcome.probabilities, factor, bias)
    config = outcome.network.config
    config.is_trained, config.temperature, config.fake_bias = True, factor, bias
    # A video and its copy, and all videos of a person, count together.
    scored = [video.sample for video in [*sides[1], *videos_with_copies(sides[1])]]
    clusters = cluster_numbers(scored, "identity")
    estimates = estimate(probabilities, outcome.is_fake, DECISION_THRESHOLD, clusters=clusters, seed=recipe.seed)
    initial = _initial_folder(recipe)
    record = _make_record(outcome, recipe, sides, estimates, pairs_on)
    with temporary_folder(folder) as unfinished:
        save_hub_folder(outcome.network, recipe.make_processor(), unfinished)
        (unfinished / TRAINING_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        write_lists(unfinished, _list_videos(sides, initial))
        # The terms of the initial weights also apply to the weights that are trained from them.
        licence = {} if initial is None else licence_of(initial)
        terms = [] if initial is None else copy_terms(initial, unfinished)
        write_model_card(unfinished, record, config, licence=licence, terms=terms)
        if _is_same_model(folder, unfinished):
            on_note(f"{folder}: kept as it is, because it contains these weights already.")
            return estimates
        has_bands = (folder / VERDICT_NAME).exists()
        replace_folder(unfinished, folder)
    if has_bands:
        on_note(
            f"{folder}: replaced; the verdict bands of the former model were dropped with it. Measure those of "
            "this one with evaluate --verdict."
        )
    return estimates


def _initial_folder(recipe: Recipe) -> Path | None:
    return None if recipe.initial_path is None else model_folder_of(recipe.initial_path)


def _is_same_model(folder: Path, other: Path) -> bool:
    """Whether a folder is a complete model folder with the weights and the calibration of another one."""
    try:
        model_files(folder)
        first, second = (
            [float(read_json(place / CONFIG_NAME)[name]) for name in ("temperature", "fake_bias")]
            for place in (folder, other)
        )
    except (ModelFolderError, OSError, ValueError, LookupError, TypeError):
        return False
    tolerance = _CALIBRATION_TOLERANCE
    if not all(math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) for a, b in zip(first, second, strict=True)):
        return False
    weights = hash_files([folder / WEIGHTS_NAME])
    return weights is not None and weights == hash_files([other / WEIGHTS_NAME])


def count_groups(videos: Sequence[Video]) -> Counter[str]:
    """Count the videos of each data set and method."""
    return Counter(f"{v.sample.dataset}, {v.sample.method or v.sample.label}" for v in videos)


def _make_record(
    outcome: TrainingOutcome,
    recipe: Recipe,
    sides: Sequence[Sequence[Video]],
    estimates: dict[str, Estimate],
    pairs_on: PairsOn,
) -> dict[str, Any]:
    """The content of `training.json`."""
    config = outcome.network.config
    return {
        "recipe": {**recipe.to_dict(), "initial": _initial_name(recipe)},
        "pairs_on": pairs_on,
        "steps": outcome.progress.step,
        "best_step": outcome.progress.best_step,
        "seconds": round(outcome.progress.seconds),
        "training_data": dict(count_groups(sides[0])),
        "validation_data": dict(count_groups(sides[1])),
        "validation_videos_seen_by_initial": len(_seen_by_initial(recipe, sides[1])),
        "validation_videos": sorted(f"{video.sample.dataset}: {video.sample.key}" for video in sides[1]),
        "interval_unit": interval_unit([video.sample for video in sides[1]], "identity"),
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


def _list_videos(sides: Sequence[Sequence[Video]], initial: Path | None) -> dict[str, VideoList]:
    """The training and validation videos, including those of the initial weights."""
    earlier = read_lists(initial)
    videos = {}
    for part, side in zip(("training", "validation"), sides, strict=True):
        own = list_videos((video.sample, video.crops.sha256) for video in side)
        videos[part] = merge_lists([earlier[part], own]) if part in earlier else own
    return videos


def _initial_name(recipe: Recipe) -> str | None:
    """The source of the initial weights without the folders of this machine; for a file, with its hash."""
    if recipe.initial_path is None:
        return recipe.initial
    # "." has a name, too.
    path = Path(os.path.abspath(recipe.initial_path))
    if not path.is_file():
        return path.name
    return f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
