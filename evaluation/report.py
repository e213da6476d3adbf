# SPDX-License-Identifier: Apache-2.0
"""From scores to what a researcher reports: rows of metrics, the grid of corruptions, JSON, the model-index block."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
from huggingface_hub import EvalResult, ModelCardData

from ..version import __version__
from .corruptions import LEVELS, Corruption
from .known_videos import PARTS
from .metrics import FRAME_METRICS, VIDEO_METRICS, Estimate, estimate, measure
from .scores import Score


SCHEMA_VERSION = 1
EVERYTHING = "all videos"
# Videos that a line names; scores.csv names all.
MAX_SEEN = 5
# From this many real videos on, 1 % of them is a video.
MIN_REALS_FOR_FPR = 100
# Names of the metrics on a model card.
_CARD_METRICS = {
    "auc": ("roc_auc", "Video AUC"),
    "ap": ("average_precision", "Video AP"),
    "eer": ("equal_error_rate", "Video EER"),
    "balanced_accuracy": ("balanced_accuracy", "Video balanced accuracy"),
    "f1": ("f1", "Video F1"),
    "brier": ("brier_score", "Video Brier score"),
    "specificity": ("specificity", "Specificity at the stored threshold"),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    One line of a table.

    Attributes:
        name: Of the data set, method or compression.
        kind: What the name is.
        level: Whether videos or single frames are judged.
        num_real: Real videos, scored or not.
        num_fake: Fake videos, scored or not.
        num_scored: How many of both could be scored.
        num_judged: Numbers behind the metrics: scored videos, or their frames.
        estimates: The metrics by name.
    """

    name: str
    kind: Literal["all", "dataset", "method", "compression", "seen"]
    level: Literal["video", "frame"]
    num_real: int
    num_fake: int
    num_scored: int
    num_judged: int
    estimates: dict[str, Estimate]

    @property
    def coverage(self) -> float:
        """Share of the videos that could be scored."""
        return self.num_scored / (self.num_real + self.num_fake)

    @property
    def undefined(self) -> str | None:
        """Why there is no AUC, if there is none."""
        if self.estimates["auc"].value is not None:
            return None
        if not self.num_scored:
            return "AUC undefined: no video could be scored"
        present = "fake" if self.estimates["sensitivity"].value is not None else "real"
        return f"AUC undefined: all scored videos are {present}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    Everything that is said about one evaluation.

    Attributes:
        dataset: Name of the data set, or of several.
        split: Which part was evaluated.
        threshold: Fake probability from which on a video is called fake.
        run: What decided the scores.
        rows: Video level first, then frame level.
        robustness: AUC by corruption; empty without a grid.
        unscored: Key and reason of each video without a score.
        warnings: What a reader of the numbers should know.
        calibration: What `--calibrate` found.
    """

    dataset: str
    split: str
    threshold: float
    run: dict[str, Any]
    rows: list[Row]
    robustness: dict[str, list[float | None]] = field(default_factory=dict)
    unscored: list[dict[str, str | None]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    calibration: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; metrics that are undefined are null."""
        rows = [{**asdict(row), "coverage": row.coverage, "undefined": row.undefined} for row in self.rows]
        return {
            "schema_version": SCHEMA_VERSION,
            "version": __version__,
            "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **{name: value for name, value in asdict(self).items() if name != "rows"},
            "rows": rows,
        }

    def write_json(self, file: Path) -> None:
        """Strict JSON: no NaN."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=True, allow_nan=False)
        file.write_text(text + "\n", encoding="utf-8")


def make_rows(scores: Sequence[Score], threshold: float, *, resamples: int = 1000, seed: int = 0) -> list[Row]:
    """
    Rows for everything, each data set, each method and each compression, where there are several of a kind.

    Where the model was trained, validated or calibrated on some of the videos, these and the others have rows too.

    A method stands against the real videos of its data set, in the compressions that it has.

    Args:
        scores: Of videos as they are; also of those that could not be scored.
        threshold: Fake probability from which on a video is called fake.
        resamples: Draws for the intervals.
        seed: Of the draws.
    """
    groups = list(group_scores(scores))
    return [
        _row(kind, name, group, level, threshold, resamples, seed)
        for level in ("video", "frame")
        for kind, name, group in groups
        if level == "video" or any(score.frame_probabilities for score in group)
    ]


def group_scores(scores: Sequence[Score]) -> Iterable[tuple[str, str, list[Score]]]:
    """Kind, name and scores of each row, see [`make_rows`]."""
    yield "all", EVERYTHING, list(scores)
    datasets = _distinct(score.dataset for score in scores)
    if len(datasets) > 1:
        for dataset in datasets:
            yield "dataset", dataset, [score for score in scores if score.dataset == dataset]
    for dataset in datasets:
        for method in _distinct(score.method for score in scores if score.dataset == dataset):
            fakes = [score for score in scores if (score.dataset, score.method) == (dataset, method)]
            compressions = {score.compression for score in fakes}
            reals = [
                score
                for score in scores
                if not score.is_fake and score.dataset == dataset and score.compression in compressions
            ]
            yield "method", method if len(datasets) == 1 else f"{dataset}, {method}", fakes + reals
    for compression in _distinct(score.compression for score in scores):
        yield "compression", compression, [score for score in scores if score.compression == compression]
    parts = {part: [score for score in scores if score.seen == part] for part in (*PARTS, None)}
    if parts[None] != list(scores):
        for part, seen in parts.items():
            if seen:
                yield "seen", "not seen before" if part is None else f"seen in {part}", seen


def _distinct(names: Iterable[str | None]) -> list[str]:
    return sorted({name for name in names if name is not None})


def _row(kind: Any, name: str, group: list[Score], level: Any, threshold: float, resamples: int, seed: int) -> Row:
    scored = [score for score in group if score.fake_probability is not None]
    if level == "video":
        numbers = [(score.fake_probability, score.is_fake, i) for i, score in enumerate(scored)]
    else:
        numbers = [(p, score.is_fake, i) for i, score in enumerate(scored) for p in score.frame_probabilities]
    probabilities, is_fake, videos = (
        (np.array(column) for column in zip(*numbers, strict=True))
        if numbers
        else (
            np.zeros(0),
            np.zeros(0, bool),
            np.zeros(0, int),
        )
    )
    estimates = estimate(probabilities, is_fake, threshold, videos=videos, resamples=resamples, seed=seed)
    names = VIDEO_METRICS if level == "video" else (*FRAME_METRICS, "sensitivity", "specificity")
    return Row(
        name=name,
        kind=kind,
        level=level,
        num_real=sum(not score.is_fake for score in group),
        num_fake=sum(score.is_fake for score in group),
        num_scored=len(scored),
        num_judged=len(numbers),
        estimates={metric: estimates[metric] for metric in names},
    )


def robustness_table(scores: Sequence[Score]) -> dict[str, list[float | None]]:
    """
    AUC of each kind of corruption: without it, then level 1 to 5.

    Only videos that could be scored in every cell count, so that all cells speak of the same videos.
    """
    cells: dict[str | None, dict[str, Score]] = {}
    for score in scores:
        cells.setdefault(score.corruption, {})[score.key] = score
    scored = [{key for key, score in cell.items() if score.fake_probability is not None} for cell in cells.values()]
    common = sorted(set.intersection(*scored)) if scored else []

    def auc(corruption: str | None) -> float | None:
        cell = [cells[corruption][key] for key in common]
        probabilities = np.array([score.fake_probability for score in cell], np.float64)
        return measure(probabilities, np.array([score.is_fake for score in cell], bool), 0.5)["auc"]

    kinds = _distinct(str(name).rsplit("-", 1)[0] for name in cells if name is not None)
    return {
        kind: [auc(name) for name in (None, *(str(Corruption(kind, level)) for level in LEVELS))] for kind in kinds
    }


def list_unscored(scores: Iterable[Score]) -> list[dict[str, str | None]]:
    """Key, status and message of what has no score."""
    return [
        {"key": score.key, "corruption": score.corruption, "status": score.status, "message": score.message}
        for score in scores
        if score.fake_probability is None
    ]


def make_warnings(rows: Sequence[Row]) -> list[str]:
    """What the numbers cannot say themselves."""
    warnings = []
    whole = rows[0]
    for row in rows:
        if row.level == "video" and row.undefined:
            warnings.append(f"{row.name}: {row.undefined}")
    if whole.num_scored < whole.num_real + whole.num_fake:
        missing = whole.num_real + whole.num_fake - whole.num_scored
        warnings.append(f"{missing} videos could not be scored: they are in the coverage and in no other number")
    if 0 < whole.num_real < MIN_REALS_FOR_FPR and whole.estimates["auc"].value is not None:
        warnings.append(f"TPR at 1 % FPR is the TPR without any false alarm: real videos are only {whole.num_real}")
    return warnings


def seen_line(scores: Sequence[Score]) -> list[str]:
    """How many videos of each part the model has seen, and which, if it has seen any."""
    lines = []
    for part in PARTS:
        keys = sorted(score.key for score in scores if score.seen == part)
        if keys:
            listed = ", ".join(keys[:MAX_SEEN]) + (f" and {len(keys) - MAX_SEEN} more" if len(keys) > MAX_SEEN else "")
            lines.append(
                f"{len(keys)} of {len(scores)} videos were seen in {part}, so their numbers are optimistic: {listed}"
            )
    return lines


def model_index(report: Report, model_name: str) -> str:
    """
    The YAML block `model-index` of a model card, with what was measured and nothing else.

    Args:
        report: Whose rows of data sets (or of everything) are told.
        model_name: Of the model.
    """
    videos = [row for row in report.rows if row.level == "video"]
    told = [row for row in videos if row.kind == "dataset"] or videos[:1]
    results = []
    for row in told:
        name = report.dataset if row.kind == "all" else row.name
        for metric, (card_type, card_name) in _CARD_METRICS.items():
            value = row.estimates[metric].value
            if value is not None:
                results.append(
                    EvalResult(
                        task_type="video-classification",
                        dataset_type=name.lower().replace(" ", "-"),
                        dataset_name=name,
                        dataset_split=report.split,
                        metric_type=card_type,
                        metric_name=card_name,
                        metric_value=round(value, 4),
                    )
                )
    return str(ModelCardData(model_name=model_name, eval_results=results).to_yaml()) + "\n"
