# SPDX-License-Identifier: Apache-2.0
"""From data sets to training and validation videos, with no person in both."""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..evaluation.datasets import open_benchmark
from ..evaluation.samples import Benchmark, Sample, identity_groups, person_name
from ..evaluation.warnings import num_videos
from .crops import CachedCrops, CropSettings, cache_crops
from .errors import TrainingError, TrainingFailedError


MAX_LISTED = 10


@dataclass(frozen=True)
class Video:
    """A sample of a data set and its cached face crops."""

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
    Divide data sets into training and validation samples.

    A data set with a "val" split keeps its splits. Of any other data set with real and fake videos, a share of the
    identity groups is held out; a data set of real faces only is used for training only. A data set for validation
    gives its "val" split, or everything if it has none. Test splits are not used. A data set that does not name its
    people is used for training only.

    Data sets that take their name from their file or folder are taken to name the same people: `train.csv` and
    `val.csv` may be two lists of one collection. If a data set names people who are held out of another one, they are
    held out of it too.

    Args:
        roots: Data sets for training.
        validation_roots: Data sets for validation. If there are any, nothing is held out of `roots`.
        share: Approximate share of the identity groups that is held out.
        seed: Seed of the choice of the held-out groups.
        on_note: Called with a sentence for each kind of file that is skipped or missing.

    Returns:
        Training samples and validation samples.

    Raises:
        EvaluationError: If a data set cannot be read.
        TrainingError: If an identity is, or may be, in both, or a label is missing.
    """

    derived: set[str | None] = set()

    def open_root(root: Path) -> Benchmark:
        benchmark = open_benchmark(root)
        derived.add(benchmark.derived_name)
        for note in [*benchmark.notes, *_missing_note(benchmark)]:
            on_note(f"{root}: {note}")
        return benchmark

    train: list[Sample] = []
    divisible: list[Sample] = []
    validation = [sample for root in validation_roots for sample in _validation_part(open_root(root))]
    unnamed: list[str] = []
    for root in roots:
        benchmark = open_root(root)
        problem = None if validation_roots else _who_is_unknown(benchmark)
        if problem is not None:
            unnamed.append(problem)
            on_note(f"{problem}, so all of them are used for training only")
        first, second = _divide(benchmark, 0.0 if validation_roots or problem else share, seed)
        # Official splits and data that were given for validation are followed as they are.
        (train if validation_roots or _is_split(benchmark) else divisible).extend(first)
        validation += second
    before = len(validation)
    while people := _people(divisible, derived) & _people(validation, derived):
        validation += [sample for sample in divisible if people & _people([sample], derived)]
        divisible = [sample for sample in divisible if not people & _people([sample], derived)]
    if more := len(validation) - before:
        on_note(f"{more} more videos are held out, because people in them are held out of another data set")
    train += divisible
    _refuse_shared_people(train, validation, derived)
    if {sample.is_fake for sample in validation} != {False, True}:
        hint = (
            f" {unnamed[0]}; list them in a CSV file with the columns path,label,group, where group identifies the "
            "person, to hold people out."
            if unnamed
            else ""
        )
        raise TrainingError(f"the validation needs both real and fake videos; add some with --validation-data.{hint}")
    if not any(not sample.is_fake for sample in train):
        raise TrainingError("the training needs real videos or faces; fakes are made from them.")
    return train, validation


def without_unused_fakes(
    samples: Sequence[Sample], *, uses_fakes: bool, on_note: Callable[[str], None]
) -> list[Sample]:
    """
    Leave out the fakes that no pair is made of, so that they are neither cropped nor recorded as trained on.

    Args:
        samples: Training samples.
        uses_fakes: Whether the recipe uses fakes of the data. Each of them is paired with a real video of its data
            set.
        on_note: Called with a sentence if fakes are left out.
    """
    with_reals = {sample.dataset for sample in samples if not sample.is_fake}
    kept: list[Sample] = []
    unused: list[Sample] = []
    for sample in samples:
        is_used = not sample.is_fake or (uses_fakes and sample.dataset in with_reals)
        (kept if is_used else unused).append(sample)
    if unused:
        datasets = ", ".join(sorted({sample.dataset for sample in unused}))
        why = f"there are no real videos of {datasets} to pair them with" if uses_fakes else "the recipe makes its own"
        on_note(f"{num_videos(len(unused))} with fakes left out of the training, because {why}")
    return kept


def _missing_note(benchmark: Benchmark) -> list[str]:
    if not benchmark.missing:
        return []
    return [f"missing files: {len(benchmark.missing)} of the listed videos, for example {benchmark.missing[0]}"]


def _validation_part(benchmark: Benchmark) -> list[Sample]:
    """The "val" split of a data set, or all of it except the test split."""
    samples = [sample for sample in benchmark.present if sample.split == "val"]
    samples = samples or [sample for sample in benchmark.present if sample.split != "test"]
    if not samples:
        raise TrainingError(
            f"{benchmark.root}: all of its videos are in the test split, which is not used; give other data with "
            "--validation-data."
        )
    return samples


def _people(samples: Iterable[Sample], derived: Collection[str | None]) -> set[str]:
    """Names of the people in samples; those of data sets with derived names are one collection."""
    return {
        identity if sample.dataset in derived else person_name(sample.dataset, identity)
        for sample in samples
        for identity in sample.identities
    }


def _refuse_shared_people(
    train: Sequence[Sample], validation: Sequence[Sample], derived: Collection[str | None]
) -> None:
    """
    Raises:
        TrainingError: If a person is in both parts.
    """
    shared = sorted(_people(train, derived) & _people(validation, derived))
    if not shared:
        return
    hint = ""
    if _people([sample for sample in train if sample.dataset in derived], derived).intersection(shared):
        hint = (
            " In lists without a column `dataset`, equal names are one person: if they are different people, add the "
            "column with a different name in each list."
        )
    raise TrainingError(
        f"{len(shared)} identities are in both training and validation ({', '.join(shared[:MAX_LISTED])}), so "
        "validation would measure how well the model memorises faces. Use data sets, splits or validation data that "
        f"separate them.{hint}"
    )


def _is_split(benchmark: Benchmark) -> bool:
    """Whether a data set says which of its videos are for validation."""
    return any(sample.split == "val" for sample in benchmark.present)


def _who_is_unknown(benchmark: Benchmark) -> str | None:
    """Say of how many videos the people are not known, if people would have to be held out of the data set."""
    samples = [sample for sample in benchmark.present if sample.split != "test"]
    if _is_split(benchmark) or len({sample.is_fake for sample in samples}) < 2:
        return None
    unknown = sum(not sample.identities or not benchmark.names_people for sample in samples)
    return f"{benchmark.root}: it is not known who is in {unknown} of the {len(samples)} videos" if unknown else None


def _divide(benchmark: Benchmark, share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    samples = benchmark.present
    if _is_split(benchmark):
        train = [sample for sample in samples if sample.split == "train"]
        return train, [sample for sample in samples if sample.split == "val"] if share else []
    samples = [sample for sample in samples if sample.split != "test"]
    if not share or len({sample.is_fake for sample in samples}) < 2:
        return samples, []
    groups = identity_groups(samples)
    if len(groups) < 2:
        raise TrainingError(f"{benchmark.root}: all of its videos share identities, so none can be held out.")
    groups.sort(key=partial(_place, seed=seed))
    held_out = _count_held_out([_place(group, seed=seed) for group in groups], share)
    return [s for group in groups[held_out:] for s in group], [s for group in groups[:held_out] for s in group]


def _count_held_out(places: Sequence[float], share: float) -> int:
    """
    Number of groups to hold out: that of the places below the share.

    So who is held out does not depend on who else is in the data. In small data sets, this number may by chance be far
    from the share of the groups; it is kept between half of it and one and a half, with at least one group on each
    side.
    """
    wanted = len(places) * share
    below = sum(place < share for place in places)
    nearest = min(max(below, math.ceil(0.5 * wanted)), math.floor(1.5 * wanted))
    return min(max(1, nearest), len(places) - 1)


def _place(group: Sequence[Sample], *, seed: int) -> float:
    """A random number between 0 and 1 that follows from the names of the people in a group and the seed alone."""
    people = sorted({identity for sample in group for identity in sample.identities})
    digest = hashlib.sha256(json.dumps([seed, people]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def refuse_shared(training: Sequence[Video], validation: Sequence[Video]) -> None:
    """
    Check that no file is in both training and validation, not even under another name.

    Args:
        training: Training videos with the hashes of their content.
        validation: Validation videos.

    Raises:
        TrainingError: If a file is in both.
    """
    trained = {video.crops.sha256: video.sample.path for video in training}
    shared = [video for video in validation if video.crops.sha256 in trained and video.crops.sha256]
    if shared:
        listed = ", ".join(f"{video.sample.path} = {trained[video.crops.sha256]}" for video in shared[:MAX_LISTED])
        raise TrainingError(
            f"{len(shared)} validation videos have the same content as training videos ({listed}), so validation "
            "would measure how well the model memorises them. Remove them from one side, or give other data with "
            "--validation-data."
        )


def load_videos(
    samples: Sequence[Sample],
    settings: CropSettings,
    folder: Path,
    *,
    workers: int,
    on_skip: Callable[[str], None] = lambda reason: None,
) -> list[Video]:
    """
    Cache the face crops of the samples, and leave out those that have none.

    Args:
        samples: Videos or images.
        settings: Settings of the crops.
        folder: Folder of the cache.
        workers: Worker processes.
        on_skip: Called with the reason for each sample that is left out; after the first ten, with their number.

    Raises:
        TrainingFailedError: If more than a tenth of the samples have no crops, or all of one label.
    """
    videos: list[Video] = []
    failures: list[str] = []
    for sample, crops in cache_crops(samples, settings, folder, workers=workers):
        if isinstance(crops, CachedCrops):
            videos.append(Video(sample, crops))
        else:
            failures.append(crops)
    for failure in failures[:MAX_LISTED]:
        on_skip(failure)
    if len(failures) > MAX_LISTED:
        on_skip(f"{len(failures) - MAX_LISTED} more")
    if len(failures) > len(samples) / 10:
        raise TrainingFailedError(
            f"no face crops of {len(failures)} of {len(samples)} videos; the first: {failures[0]}"
        )
    if {video.sample.is_fake for video in videos} != {sample.is_fake for sample in samples}:
        raise TrainingFailedError(f"all videos of one label lack face crops; the first one: {failures[0]}")
    return videos
