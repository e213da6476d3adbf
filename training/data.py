# SPDX-License-Identifier: Apache-2.0
"""From data sets to what is trained on and what validates, with nobody in both."""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..evaluation.datasets import open_benchmark
from ..evaluation.samples import Benchmark, Sample, identity_groups, people_in_common
from .crops import CachedCrops, CropSettings, cache_crops
from .recipe import TrainingError


MAX_LISTED = 10


@dataclass(frozen=True)
class Video:
    """A sample and its crops on disk."""

    sample: Sample
    crops: CachedCrops


def open_data(
    roots: Sequence[Path],
    validation_roots: Sequence[Path],
    *,
    share: float,
    seed: int,
    on_note: Callable[[str], None] = lambda note: None,
) -> tuple[list[Sample], list[Sample]]:
    """
    The samples to train on and those to validate on.

    A data set with a "val" split keeps its splits. Of another that holds real and fake videos, a share of the identity
    groups validates; one of real faces alone is for training only. Test splits are not touched. A data set that does
    not say who is seen in its videos is not divided.

    Args:
        roots: Data sets to train on.
        validation_roots: Data sets that validate as a whole; with any, all of `roots` is for training.
        share: Of the identity groups.
        seed: Chooses the groups.
        on_note: Called with each line about files that a data set skips or lacks.

    Raises:
        EvaluationError: If a data set cannot be read.
        TrainingError: If an identity would or might stand on both sides, or one side lacks a label.
    """

    def open_root(root: Path) -> Benchmark:
        benchmark = open_benchmark(root)
        for note in [*benchmark.notes, *_missing_note(benchmark)]:
            on_note(f"{root}: {note}")
        return benchmark

    train: list[Sample] = []
    validation = [sample for root in validation_roots for sample in open_root(root).present]
    for root in roots:
        benchmark = open_root(root)
        first, second = _divide(benchmark, 0.0 if validation_roots else share, seed)
        train += first
        validation += second
    if shared := people_in_common(train, validation):
        listed = ", ".join(shared[:MAX_LISTED])
        raise TrainingError(
            f"{len(shared)} identities stand in training and validation ({listed}): what is measured would be how "
            "well faces are remembered. Give data sets, splits or a validation set that keep them apart."
        )
    if {sample.is_fake for sample in validation} != {False, True}:
        raise TrainingError("validation needs real and fake videos; give some with --validation-data.")
    if not any(not sample.is_fake for sample in train):
        raise TrainingError("training needs real videos or faces; fakes can be made of them, not the other way round.")
    return train, validation


def _missing_note(benchmark: Benchmark) -> list[str]:
    if not benchmark.missing:
        return []
    return [f"{len(benchmark.missing)} of the listed videos are missing, the first: {benchmark.missing[0]}"]


def _divide(benchmark: Benchmark, share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    samples = benchmark.present
    if any(sample.split == "val" for sample in samples):
        train = [sample for sample in samples if sample.split == "train"]
        return train, [sample for sample in samples if sample.split == "val"] if share else []
    samples = [sample for sample in samples if sample.split != "test"]
    if not share or len({sample.is_fake for sample in samples}) < 2:
        return samples, []
    if unknown := [sample for sample in samples if not sample.identities]:
        raise TrainingError(
            f"{benchmark.root}: does not say who is seen in {len(unknown)} of its {len(samples)} videos, so nobody "
            "can be held out. Name other data with --validation-data, or list the videos in a CSV path,label,group "
            "whose group names the person."
        )
    groups = identity_groups(samples)
    if len(groups) < 2:
        raise TrainingError(f"{benchmark.root}: all its videos share identities, so none can be held out.")
    random.Random(f"{seed} {benchmark.root.name}").shuffle(groups)
    held_out = max(1, round(len(groups) * share))
    return [s for group in groups[held_out:] for s in group], [s for group in groups[:held_out] for s in group]


def load_videos(samples: Sequence[Sample], settings: CropSettings, folder: Path, *, workers: int) -> list[Video]:
    """
    Cache the crops of the samples; those that have none are named on the standard error.

    Raises:
        TrainingError: If more than a tenth of them have none.
    """
    videos: list[Video] = []
    failures: list[str] = []
    for sample, crops in cache_crops(samples, settings, folder, workers=workers):
        if isinstance(crops, CachedCrops):
            videos.append(Video(sample, crops))
        else:
            failures.append(crops)
    for failure in failures[:MAX_LISTED]:
        print(f"left out: {failure}", file=sys.stderr)
    if len(failures) > MAX_LISTED:
        print(f"left out: {len(failures) - MAX_LISTED} more", file=sys.stderr)
    if len(failures) > len(samples) / 10:
        raise TrainingError(f"{len(failures)} of {len(samples)} videos have no face crops; the first: {failures[0]}")
    if {video.sample.is_fake for video in videos} != {sample.is_fake for sample in samples}:
        raise TrainingError(f"no video of one label has face crops; the first that has none: {failures[0]}")
    return videos
