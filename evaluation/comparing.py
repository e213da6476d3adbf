# SPDX-License-Identifier: Apache-2.0
"""Compare two models on the same videos, or one recipe over several seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from .evaluation_result import EvaluationResult
from .intervals import ClusterBootstrap, bootstrap_interval, difference_interval, newcombe_interval
from .known_videos import PARTS
from .metric_rows import Row, RowOptions, cluster_numbers, group_scores, interval_unit, make_rows
from .plan import EvaluationPlan
from .samples import EvaluationError
from .warnings import num_videos, unscored_lines


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    The paired difference of the video AUC of two models.

    Attributes:
        first: Name of the first model.
        second: Name of the second model.
        num_videos: Number of videos scored by both models and seen before by neither; others are ignored.
        num_clusters: Number of clusters that were resampled.
        interval_unit: Resampling unit of the bootstrap.
        first_auc: AUC of the first model.
        second_auc: AUC of the second model.
        difference: `second_auc - first_auc`.
        low: Lower end of its 95 % interval; `None` without a bootstrap, or if it draws from too few clusters.
        high: Upper end of its 95 % interval.
        num_seen: Videos scored by both that were ignored, because one of the models has seen them before.
    """

    first: str
    second: str
    num_videos: int
    num_clusters: int
    interval_unit: str
    first_auc: float
    second_auc: float
    difference: float
    low: float | None
    high: float | None
    num_seen: int = 0


@dataclass(frozen=True, kw_only=True)
class SeedMetric:
    """
    A metric over the runs of several seeds.

    Attributes:
        values: Value of each run.
        mean: Mean of the values.
        deviation: Sample standard deviation of the values, with N - 1 in the denominator.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class SeedRow:
    """
    A row of the table over seeds.

    Attributes:
        name: Name of the data set, method or compression.
        kind: Kind of group, see [`Row`].
        level: Unit of evaluation, see [`Row`].
        estimates: Metrics by name; those that are undefined for a run are left out.
    """

    name: str
    kind: str
    level: str
    estimates: dict[str, SeedMetric]


class SeedRows(list[SeedRow]):
    """
    The rows of the table over seeds, with notes on what is missing from it.

    Args:
        rows: The rows.
        notes: Sentences that name the rows that were left out.

    Attributes:
        notes: The same.
    """

    def __init__(self, rows: Iterable[SeedRow], notes: Iterable[str] = ()) -> None:
        super().__init__(rows)
        self.notes = list(notes)


def with_comparison(
    result: EvaluationResult, other: EvaluationResult, *, plan: EvaluationPlan | None = None
) -> EvaluationResult:
    """
    The result of a model with its comparison to another one, and with the other one's warnings.

    Args:
        result: Result of the first model.
        other: Result of the second model on the same videos.
        plan: Settings of the bootstrap, see [`compare`].

    Raises:
        EvaluationError: See [`compare`].
    """
    comparison = compare(result, other, plan=plan)
    lines = (*other.warnings, *unscored_lines(other.unscored))
    of_other = [f"{comparison.second}: {line}" for line in lines if line not in result.warnings]
    return replace(result, comparison=asdict(comparison), warnings=[*result.warnings, *of_other])


def compare(first: EvaluationResult, second: EvaluationResult, *, plan: EvaluationPlan | None = None) -> Comparison:
    """
    Compare the AUC of two models on the videos that neither has seen before, with a paired bootstrap.

    Each resample uses the same videos for both models, so the interval is one for the difference rather than for the
    two AUCs. If it does not contain 0, the difference is significant at the 5 % level.

    Args:
        first: Result of the first model.
        second: Result of the second model.
        plan: Settings of the bootstrap (`group_by`, `resamples`, `seed`).

    Raises:
        EvaluationError: If the labels of a video differ, or if no real or no fake video was scored by both models and
            seen before by neither.

    Example:
        >>> from deepfake_video import rescore
        >>> plan = EvaluationPlan(resamples=20)
        >>> comparison = compare(rescore("run1", plan=plan), rescore("run2", plan=plan), plan=plan)
        >>> comparison.num_videos, comparison.num_clusters, comparison.low <= comparison.high
        (20, 4, True)
    """
    plan = plan or EvaluationPlan()
    others = {score.key: score for score in second.clean_scores if score.fake_probability is not None}
    scores = [score for score in first.clean_scores if score.fake_probability is not None and score.key in others]
    for score in scores:
        if others[score.key].is_fake != score.is_fake:
            raise EvaluationError(f"{score.key}: labelled real in one of the two runs and fake in the other.")
    num_scored = len(scores)
    scores = [score for score in scores if score.seen is None and others[score.key].seen is None]
    num_seen = num_scored - len(scores)
    is_fake = np.array([score.is_fake for score in scores], bool)
    if not len(scores) or is_fake.all() or not is_fake.any():
        unseen = f" without the {num_videos(num_seen)} that one of the models has seen before" if num_seen else ""
        raise EvaluationError(
            f"the two runs cannot be compared: no real or no fake video has a score in both{unseen}."
        )
    a = np.array([score.fake_probability for score in scores], np.float64)
    b = np.array([others[score.key].fake_probability for score in scores], np.float64)
    first_auc, second_auc = _auc(a, is_fake), _auc(b, is_fake)
    bootstrap = ClusterBootstrap(is_fake, cluster_numbers(scores, plan.group_by))
    interval = None
    if plan.resamples:
        drawn = [
            _auc(b[picked], is_fake[picked]) - _auc(a[picked], is_fake[picked])
            for picked in bootstrap.draws(plan.resamples, seed=plan.seed)
        ]
        num_real, num_fake = bootstrap.num_real, bootstrap.num_fake
        interval = bootstrap_interval(
            drawn,
            min(num_real, num_fake),
            lambda: difference_interval(
                (first_auc, newcombe_interval(first_auc, num_real, num_fake)),
                (second_auc, newcombe_interval(second_auc, num_real, num_fake)),
            ),
        )
    return Comparison(
        first=_model_name(first),
        second=_model_name(second),
        num_videos=len(scores),
        num_clusters=bootstrap.num_clusters,
        interval_unit=interval_unit(scores, plan.group_by),
        first_auc=first_auc,
        second_auc=second_auc,
        difference=second_auc - first_auc,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        num_seen=num_seen,
    )


def average_seeds(results: Sequence[EvaluationResult]) -> SeedRows:
    """
    Compute mean and standard deviation of every metric over the runs of several seeds.

    A video that one of the models has seen before counts as seen by all. A row that is not in every run, or not for
    the same videos, is left out: for example, single frames if a run has no frame scores.

    Args:
        results: At least two results on the same videos.

    Returns:
        The rows in the order of the first result. Their attribute `notes` names those that were left out, and
        thresholds that differ.

    Raises:
        EvaluationError: If there are fewer than two, or their videos differ.

    Example:
        >>> from deepfake_video import rescore
        >>> plan = EvaluationPlan(resamples=0)
        >>> rows = average_seeds([rescore(run, plan=plan) for run in ("run1", "run2")])
        >>> rows[0].name, len(rows[0].estimates["auc"].values)
        ('all videos', 2)
    """
    if len(results) < 2:
        raise EvaluationError("a standard deviation over seeds needs at least two runs.")
    videos = [{(score.key, score.is_fake) for score in result.clean_scores} for result in results]
    for other in videos[1:]:
        if difference := videos[0] ^ other:
            raise EvaluationError(
                f"{min(difference)[0]}: missing from a run, or labelled differently; a mean over seeds needs runs on "
                "the same videos."
            )
    of_runs = [_keyed_rows(result) for result in _with_equal_seen(results)]
    common = set.intersection(*(set(rows) for rows in of_runs))
    averaged = [_average([rows[key] for rows in of_runs]) for key in of_runs[0] if key in common]
    # The levels of each name that was left out, in the order of the runs.
    left_out: dict[str, dict[str, None]] = {}
    for rows in of_runs:
        for key, row in rows.items():
            if key not in common:
                left_out.setdefault(row.name, {})[row.level] = None
    names = [f"{name} ({', '.join(levels)})" for name, levels in left_out.items()]
    reason = "not averaged, because not every run has these rows for the same videos"
    notes = [f"{reason}: {'; '.join(names)}"] if names else []
    thresholds = sorted({result.threshold for result in results})
    if len(thresholds) > 1:
        notes.append(f"the runs have the thresholds {', '.join(f'{value:g}' for value in thresholds)}")
    return SeedRows(averaged, notes)


def _with_equal_seen(results: Sequence[EvaluationResult]) -> list[EvaluationResult]:
    """The results with rows in which a video that one of the models has seen before counts as seen by all."""
    seen: dict[str, str] = {}
    # A video that is in two parts is counted in the first, as in a single run.
    for part in reversed(PARTS):
        seen |= {score.key: part for result in results for score in result.clean_scores if score.seen == part}
    marked = []
    for result in results:
        scores = [replace(score, seen=seen.get(score.key)) for score in result.clean_scores]
        is_deepfakebench = any(row.level == "deepfakebench" for row in result.rows)
        options = RowOptions(threshold=result.threshold, deepfakebench=is_deepfakebench, resamples=0)
        marked.append(replace(result, scores=scores, rows=make_rows(scores, options)))
    return marked


_RowKey = tuple[str, str, str, frozenset[str]]


def _keyed_rows(result: EvaluationResult) -> dict[_RowKey, Row]:
    """The rows by level, kind, name and videos: two runs may give one name to different videos."""
    videos = {
        (kind, name): frozenset(score.key for score in group)
        for kind, name, group in group_scores(result.clean_scores)
    }
    # The mean of the data sets is over everything.
    return {(row.level, row.kind, row.name, videos.get((row.kind, row.name), frozenset())): row for row in result.rows}


def _average(matching: Sequence[Row]) -> SeedRow:
    estimates = {}
    for metric in matching[0].estimates:
        values = [row.estimates[metric].value for row in matching]
        known = tuple(value for value in values if value is not None)
        if len(known) == len(values):
            mean, deviation = float(np.mean(known)), float(np.std(known, ddof=1))
            estimates[metric] = SeedMetric(values=known, mean=mean, deviation=deviation)
    first = matching[0]
    return SeedRow(name=first.name, kind=first.kind, level=first.level, estimates=estimates)


def _auc(probabilities: np.ndarray, is_fake: np.ndarray) -> float:
    labels = torch.from_numpy(is_fake).long()
    return float(binary_auroc(torch.from_numpy(probabilities), labels, validate_args=False))


def _model_name(result: EvaluationResult) -> str:
    return str(result.run.get("models", "scores from a file"))
