# SPDX-License-Identifier: Apache-2.0
"""Compute the rows of a table from scores: all videos, each data set, method and compression, and the corruptions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from .corruptions import LEVELS, Corruption
from .known_videos import PARTS, NamedVideo
from .metrics import FRAME_METRICS, VIDEO_METRICS, Estimate, deepfakebench_eer, estimate, measure
from .plan import GroupBy
from .samples import person_name
from .scores import Score


EVERYTHING, MEAN = "all videos", "mean of the data sets"
# Names of the rows if a model has seen some of the videos before.
UNSEEN, POOLED = "not seen before", "all, with those seen before"
Level = Literal["video", "deepfakebench", "frame"]
# Metrics of the rows of each level.
_FEW_METRICS = (*FRAME_METRICS, "sensitivity", "specificity")
_METRICS: dict[Level, tuple[str, ...]] = {
    "video": VIDEO_METRICS,
    "deepfakebench": _FEW_METRICS,
    "frame": _FEW_METRICS,
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    One row of a table.

    Attributes:
        name: Name of the data set, method or compression.
        kind: Kind of group. "seen" and "pooled" contain videos that the model has seen before, the others do not.
        level: Unit of evaluation: "video" (video score of this package), "deepfakebench" (mean over the frames of a
            video) or "frame".
        num_real: Real videos, scored or not.
        num_fake: Fake videos, scored or not.
        num_scored: Videos of both classes with a score.
        num_judged: Number of values that the metrics are computed from: scored videos, or their frames.
        num_clusters: Number of clusters that are resampled (identities or videos).
        estimates: Metrics by name.
    """

    name: str
    kind: Literal["all", "dataset", "mean", "method", "compression", "seen", "pooled"]
    level: Level
    num_real: int
    num_fake: int
    num_scored: int
    num_judged: int
    num_clusters: int
    estimates: dict[str, Estimate]

    @property
    def coverage(self) -> float:
        """Share of the videos with a score; 0 without videos."""
        return self.num_scored / max(1, self.num_real + self.num_fake)

    @property
    def undefined(self) -> str | None:
        """Reason why the AUC is undefined; `None` if it is defined."""
        if self.estimates["auc"].value is not None:
            return None
        if not self.num_real + self.num_fake:
            return "AUC undefined: the model has seen every video before"
        if not self.num_scored:
            return "AUC undefined: no video could be scored"
        if self.kind == "mean":
            return "AUC undefined for at least one of the data sets"
        present = "fake" if self.estimates["sensitivity"].value is not None else "real"
        return f"AUC undefined: all scored videos are {present}"


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """
    How rows are computed.

    Attributes:
        threshold: Fake probability at or above which a video is called fake.
        group_by: Resampling unit of the bootstrap.
        deepfakebench: Whether to add rows by the rule of DeepfakeBench.
        resamples: Bootstrap draws.
        seed: Seed of the bootstrap.
    """

    threshold: float = 0.5
    group_by: GroupBy = "identity"
    deepfakebench: bool = False
    resamples: int = 1000
    seed: int = 0


def make_rows(scores: Sequence[Score], options: RowOptions) -> list[Row]:
    """
    Compute the rows: everything, then each data set, method and compression if there are several.

    If the model was trained, validated or calibrated on some of the videos, or has seen people in them, these rows are
    of the other videos only, and rows of those that it has seen and of all videos follow. The first row is the result.
    A method is compared with the real videos of its data set, in the compressions that the method has.

    Args:
        scores: Scores of uncorrupted videos, including those that could not be scored.
        options: Settings for computing the rows.
    """
    groups = list(group_scores(scores))
    levels: tuple[Level, ...] = ("video", "deepfakebench", "frame") if options.deepfakebench else ("video", "frame")
    rows = []
    for level in levels:
        of_level = [
            _row(kind, name, group, level, options)
            for kind, name, group in groups
            # A data set that the model has seen has an empty row at each level, and the mean is undefined.
            if level == "video" or any(score.frame_probabilities for score in scores)
        ]
        rows += _with_mean(of_level)
    return rows


def group_scores(scores: Sequence[Score]) -> Iterable[tuple[str, str, list[Score]]]:
    """Yield kind, name and scores of each row, see [`make_rows`]."""
    unseen = unseen_scores(scores)
    yield "all", EVERYTHING if len(unseen) == len(scores) else UNSEEN, unseen
    datasets = _distinct(score.dataset for score in scores)
    if len(datasets) > 1:
        for dataset in datasets:
            yield "dataset", dataset, [score for score in unseen if score.dataset == dataset]
    for dataset in datasets:
        all_fakes = [score for score in unseen if score.dataset == dataset and score.is_fake]
        all_reals = [score for score in unseen if score.dataset == dataset and not score.is_fake]
        # Tables of other tools fill the column of the method for real videos too.
        for method in _distinct(score.method for score in all_fakes):
            fakes = [score for score in all_fakes if score.method == method]
            compressions = {score.compression for score in fakes}
            reals = [score for score in all_reals if score.compression in compressions]
            yield "method", method if len(datasets) == 1 else f"{dataset}, {method}", fakes + reals
    for compression in _distinct(score.compression for score in unseen):
        yield "compression", compression, [score for score in unseen if score.compression == compression]
    if len(unseen) < len(scores):
        for part in PARTS:
            if seen := [score for score in scores if score.seen == part]:
                yield "seen", f"seen in {part}", seen
        yield "pooled", POOLED, list(scores)


def unseen_scores(scores: Iterable[Score]) -> list[Score]:
    """The scores of videos that the model has not seen before, themselves or people in them."""
    return [score for score in scores if score.seen is None]


def cluster_names(videos: Sequence[NamedVideo], group_by: GroupBy) -> list[str]:
    """
    Name the cluster of each score.

    Args:
        videos: Scores or samples of one or several data sets.
        group_by: "identity" takes the first identity, that of the target person or source video, within the data set
            that names it, and the video itself where none is known; "video" always takes the video.
    """
    return [
        f"identity {person_name(_people_of(video), video.identities[0])}"
        if group_by == "identity" and video.identities
        else f"video {video.dataset}: {video.key}"
        for video in videos
    ]


def _people_of(video: NamedVideo) -> str:
    """The data set that names the people of a video."""
    return (video.people_of if isinstance(video, Score) else None) or video.dataset


def cluster_numbers(videos: Sequence[NamedVideo], group_by: GroupBy) -> np.ndarray:
    """Number the clusters of [`cluster_names`] in the order of the videos, (N,) int."""
    numbers: dict[str, int] = {}
    names = cluster_names(videos, group_by)
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], int)


def interval_unit(videos: Sequence[NamedVideo], group_by: GroupBy) -> str:
    """Return the name of the resampling unit for these videos: "identities", "videos", or both."""
    known = {group_by == "identity" and bool(video.identities) for video in videos}
    if known == {True, False}:
        return "identities, and single videos without a known identity"
    return "identities" if known == {True} else "videos"


def robustness_table(scores: Sequence[Score]) -> dict[str, list[float | None]]:
    """
    Compute the AUC for each kind of corruption: without it, then at levels 1 to 5.

    Only videos that the model has not seen before and that have a score in every cell count, so that all cells are
    computed from the same videos. A cell without any score, as in an interrupted run, is `None`.

    Args:
        scores: Scores of uncorrupted and corrupted videos.
    """
    cells: dict[str | None, dict[str, Score]] = {}
    for score in unseen_scores(scores):
        cells.setdefault(score.corruption, {})[score.key] = score
    scored = [{key for key, score in cell.items() if score.fake_probability is not None} for cell in cells.values()]
    common = sorted(set.intersection(*scored)) if scored else []

    def auc(corruption: str | None) -> float | None:
        if corruption not in cells:
            return None
        cell = [cells[corruption][key] for key in common]
        probabilities = np.array([score.fake_probability for score in cell], np.float64)
        return measure(probabilities, np.array([score.is_fake for score in cell], bool), 0.5)["auc"]

    kinds = _distinct(str(name).rsplit("-", 1)[0] for name in cells if name is not None)
    return {
        kind: [auc(name) for name in (None, *(str(Corruption(kind, level)) for level in LEVELS))] for kind in kinds
    }


def _distinct(names: Iterable[str | None]) -> list[str]:
    return sorted({name for name in names if name is not None})


# The numbers that a level takes from the score of one video.
_NUMBERS: dict[Level, Callable[[Score], tuple[float, ...]]] = {
    "video": lambda score: () if score.fake_probability is None else (score.fake_probability,),
    "deepfakebench": lambda score: (float(np.mean(score.frame_probabilities)),) if score.frame_probabilities else (),
    "frame": lambda score: score.frame_probabilities,
}


def _row(kind: Any, name: str, group: list[Score], level: Level, options: RowOptions) -> Row:
    scored = [score for score in group if score.fake_probability is not None]
    numbers = [_NUMBERS[level](score) for score in scored]
    counts = [len(of_video) for of_video in numbers]
    clusters = np.repeat(cluster_numbers(scored, options.group_by), counts)
    estimates = estimate(
        np.array([number for of_video in numbers for number in of_video], np.float64),
        np.repeat(np.array([score.is_fake for score in scored], bool), counts),
        options.threshold,
        clusters=clusters,
        resamples=options.resamples,
        seed=options.seed,
        eer=deepfakebench_eer if level == "deepfakebench" else None,
    )
    return Row(
        name=name,
        kind=kind,
        level=level,
        num_real=sum(not score.is_fake for score in group),
        num_fake=sum(score.is_fake for score in group),
        num_scored=len(scored),
        num_judged=sum(counts),
        num_clusters=len(np.unique(clusters)),
        estimates={metric: estimates[metric] for metric in _METRICS[level]},
    )


def _with_mean(rows: list[Row]) -> list[Row]:
    """The rows of a level, with the unweighted mean of the data sets after the last of them."""
    datasets = [row for row in rows if row.kind == "dataset"]
    if not datasets:
        return rows
    estimates = {}
    for metric in datasets[0].estimates:
        values = [row.estimates[metric].value for row in datasets]
        known = [value for value in values if value is not None]
        estimates[metric] = Estimate(sum(known) / len(known) if len(known) == len(values) else None)
    # The first row counts the same videos.
    mean = replace(rows[0], name=MEAN, kind="mean", estimates=estimates)
    after = 1 + max(position for position, row in enumerate(rows) if row.kind == "dataset")
    return [*rows[:after], mean, *rows[after:]]
