# SPDX-License-Identifier: Apache-2.0
"""One training from the typed choices to the model folder."""

import argparse
import hashlib
import json
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from ..common.exit_codes import OK
from ..common.files import check_folder_target, lock_folder, new_folder
from ..common.processes import ProcessGroup
from ..common.text import printable
from ..evaluation.calibration import apply_calibration, fit_calibration
from ..evaluation.known_videos import TRAINING_NAME, list_videos, merge_lists, read_lists
from ..evaluation.metrics import estimate
from ..evaluation.samples import Sample
from ..hub.folder import save_hub_folder
from ..hub.push import PushPlan, check_repo_id, push
from ..hub.terms import copy_terms, licence_of, model_folder_of
from ..scanning.detector import DECISION_THRESHOLD
from ..version import __version__
from .command import parse_changes
from .data import Video, load_videos, open_data
from .loop import Outcome, train
from .model_card import write_model_card
from .networks import make_network
from .recipe import Recipe, TrainingError


MODEL_NAME = "model"


def train_and_save(arguments: argparse.Namespace) -> int:
    """
    Train as the command says, and save the calibrated model; returns the exit code.

    Raises:
        ValueError: If something was asked for that cannot be done.
        OSError: If data cannot be read or results written.
    """
    if arguments.push:
        check_repo_id(arguments.push)
    recipe = Recipe.read(arguments.recipe)
    recipe = replace(recipe, **Recipe.check_names(parse_changes(arguments.changes)))
    recipe.check_model()
    if recipe.trains == "head" and recipe.initial is None:
        raise TrainingError('recipe: trains "head" goes with initial, which names what is kept: --set initial=FOLDER.')
    for folder in (arguments.output, arguments.cache or arguments.output):
        check_folder_target(folder)
    # Initial weights that do not fit are found here, not after hours of cropping; the training makes its own.
    make_network(recipe)
    samples = open_data(
        arguments.data,
        arguments.validation_data,
        share=recipe.validation_share,
        seed=recipe.split_seed,
        on_note=lambda note: None if arguments.quiet else print(printable(note), file=sys.stderr),
    )
    group = ProcessGroup(arguments.device)
    try:
        with lock_folder(arguments.output, group.rank, work="training"):
            return _train_in(group, recipe, samples, arguments)
    finally:
        group.close()


def _train_in(
    group: ProcessGroup,
    recipe: Recipe,
    samples: tuple[list[Sample], list[Sample]],
    arguments: argparse.Namespace,
) -> int:
    output: Path = arguments.output
    settings, cache = recipe.crop_settings(), arguments.cache or output / "crops"
    # One process fills the cache; the others find it full.
    with group.first_alone():
        sides = [load_videos(side, settings, cache, workers=arguments.workers) for side in samples]
    if group.is_first and not arguments.quiet:
        for name, videos in zip(("training", "validation"), sides, strict=True):
            print(f"{name}: {_count(videos)}", file=sys.stderr)
    network = make_network(recipe)
    outcome = train(
        network,
        sides[0],
        sides[1],
        recipe,
        output,
        device="cpu" if "cpu" in (arguments.device, group.device) else "auto",
        precision=arguments.precision,
        workers=arguments.workers,
        stop_after=arguments.stop_after,
        quiet=arguments.quiet,
    )
    if not group.is_first:
        return OK
    if outcome is None:
        print(f"stopped; the same command goes on. State: {output / 'state'}", file=sys.stderr)
        return OK
    record = save(outcome, recipe, sides, output / MODEL_NAME)
    area = record["validation"]["auc"]
    print(f"{output / MODEL_NAME}: AUC {area[0]:.3f} ({area[1]:.3f} to {area[2]:.3f}) on the validation videos")
    if arguments.push:
        plan = PushPlan(
            folder=output / MODEL_NAME,
            repo_id=arguments.push,
            private=arguments.private,
            revision=arguments.revision,
        )
        print(push(plan).summary())
    return OK


def save(outcome: Outcome, recipe: Recipe, sides: Sequence[Sequence[Video]], folder: Path) -> dict[str, Any]:
    """
    Write the model folder: calibrated on the validation videos, with the record of its training and a card.

    Args:
        outcome: Of the training.
        recipe: How it was trained.
        sides: The videos it was trained and validated on.
        folder: Replaced as a whole, where there is one.

    Returns:
        The record.
    """
    factor, bias = fit_calibration(outcome.probabilities, outcome.is_fake)
    probabilities = apply_calibration(outcome.probabilities, factor, bias)
    config = outcome.network.config
    config.is_trained, config.temperature, config.fake_bias = True, factor, bias
    estimates = estimate(probabilities, outcome.is_fake, DECISION_THRESHOLD, seed=recipe.seed)
    initial = None if recipe.initial is None else model_folder_of(Path(recipe.initial))
    record = {
        "recipe": {**recipe.to_dict(), "initial": _initial_name(recipe)},
        "steps": outcome.progress.step,
        "best_step": outcome.progress.best_step,
        "seconds": round(outcome.progress.seconds),
        "training_data": dict(_groups(sides[0])),
        "validation_data": dict(_groups(sides[1])),
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
    with new_folder(folder) as unfinished:
        save_hub_folder(outcome.network, recipe.make_processor(), unfinished)
        (unfinished / TRAINING_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        # What binds the initial weights binds those that are made of them.
        licence = {} if initial is None else licence_of(initial)
        terms = [] if initial is None else copy_terms(initial, unfinished)
        write_model_card(unfinished, record, config, licence=licence, terms=terms)
    return record


def _list_videos(sides: Sequence[Sequence[Video]], initial: Path | None) -> dict[str, Any]:
    """What was trained and validated on, here and before the initial weights were stored."""
    earlier = read_lists(initial)
    videos: dict[str, Any] = {}
    for part, side in zip(("training", "validation"), sides, strict=True):
        own = list_videos((video.sample, video.crops.sha256) for video in side)
        videos[part] = merge_lists([earlier[part], own]) if part in earlier else own
    return videos


def _initial_name(recipe: Recipe) -> str | None:
    """Where the weights came from, without the folders of this machine; a file with its hash."""
    if recipe.initial is None or not (path := Path(recipe.initial)).is_file():
        return recipe.initial and Path(recipe.initial).name
    return f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _groups(videos: Sequence[Video]) -> Counter[str]:
    """How many videos of each data set and method."""
    return Counter(f"{v.sample.dataset}, {v.sample.method or v.sample.label}" for v in videos)


def _count(videos: Sequence[Video]) -> str:
    return "; ".join(f"{name} {count}" for name, count in sorted(_groups(videos).items()))
