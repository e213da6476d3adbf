# SPDX-License-Identifier: Apache-2.0
"""The data of an evaluation: scores, rows of metrics, warnings, calibration and comparison."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..version import __version__
from .known_videos import PARTS
from .metric_rows import Row
from .scores import Score


SCHEMA_VERSION = 1
# Videos that a line names, and unscored videos that are listed; scores.csv names all.
MAX_SEEN, MAX_UNSCORED = 5, 20
# With this many real videos or more, a false positive rate of 1 % is at least one video.
MIN_REALS_FOR_FPR = 100


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """
    The data of an evaluation; [`EvaluationResult`] adds printing and saving.

    Attributes:
        dataset: Name of the data set; several names are joined.
        split: Split that was evaluated.
        threshold: Fake probability at or above which a video is called fake.
        run: Settings that determined the scores: models, frames, faces, seed.
        rows: Rows of the tables: per video, then by the DeepfakeBench protocol if requested, then per frame.
        interval_unit: Resampling unit of the bootstrap: "identities", "videos", or both.
        robustness: AUC by corruption; empty without corruptions.
        unscored: Key and reason of each video without a score.
        warnings: Caveats about the metrics.
        calibration: Fitted calibration, if a calibrated checkpoint was written.
        verdicts: Bands of the verdicts and their error rates, if they were measured.
        comparison: Difference from another model on the same videos, if one was compared.
        scores: Score of each video, corrupted ones too; not part of the JSON.
        notes: Warnings about the model and the data set, as opposed to the scores.
        name: Name of the data set or run among several, if it has one; not part of the JSON.
        parts: Results of the data sets that were joined, if there are several; not part of the JSON.
    """

    dataset: str
    split: str
    threshold: float
    run: dict[str, Any]
    rows: list[Row]
    interval_unit: str = "videos"
    robustness: dict[str, list[float | None]] = field(default_factory=dict)
    unscored: list[dict[str, str | None]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    calibration: dict[str, Any] | None = None
    comparison: dict[str, Any] | None = None
    verdicts: dict[str, Any] | None = None
    scores: Sequence[Score] = field(default=(), repr=False)
    notes: Sequence[str] = field(default=(), repr=False)
    name: str = ""
    parts: "Sequence[EvaluationData]" = field(default=(), repr=False)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Metrics of all videos by name; `None` where one is undefined."""
        return {name: estimate.value for name, estimate in self.rows[0].estimates.items()}

    @property
    def is_complete(self) -> bool:
        """Whether every video has a score."""
        return not self.unscored

    @property
    def clean_scores(self) -> list[Score]:
        """Scores of the uncorrupted videos."""
        return [score for score in self.scores if score.corruption is None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; undefined metrics are null."""
        rows = [{**asdict(row), "coverage": row.coverage, "undefined": row.undefined} for row in self.rows]
        values = {
            "schema_version": SCHEMA_VERSION,
            "version": __version__,
            "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "dataset": self.dataset,
            "split": self.split,
            "threshold": self.threshold,
            "run": self.run,
            "interval_unit": self.interval_unit,
            "robustness": self.robustness,
            "unscored": self.unscored,
            "warnings": self.warnings,
            "calibration": self.calibration,
            "rows": rows,
        }
        added = {"verdicts": self.verdicts, "comparison": self.comparison}
        return {**values, **{name: value for name, value in added.items() if value is not None}}

    def write_json(self, file: Path) -> None:
        """
        Write [`to_dict`] as strict JSON, without NaN.

        Args:
            file: The file to write.

        Raises:
            OSError: If it cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=True, allow_nan=False)
        file.write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class SavedFiles:
    """
    Files that [`EvaluationResult.save`] wrote.

    Attributes:
        folder: The folder they are in.
        files: Their names.
        has_plots: Whether there are plots among them.
    """

    folder: Path
    files: tuple[str, ...]
    has_plots: bool


def list_unscored(scores: Iterable[Score]) -> list[dict[str, str | None]]:
    """List key, corruption, status and message of each video without a score."""
    return [
        {"key": score.key, "corruption": score.corruption, "status": score.status, "message": score.message}
        for score in scores
        if score.fake_probability is None
    ]


def unscored_lines(unscored: Sequence[dict[str, str | None]]) -> list[str]:
    """Name the videos of [`list_unscored`] and why each has no score; of many, only the first."""
    lines = []
    for entry in unscored[:MAX_UNSCORED]:
        cell = f" ({entry['corruption']})" if entry["corruption"] else ""
        lines.append(f"not scored: {entry['key']}{cell}: {entry['message'] or entry['status']}")
    if len(unscored) > MAX_UNSCORED:
        lines.append(f"and {len(unscored) - MAX_UNSCORED} more")
    return lines


def make_warnings(rows: Sequence[Row]) -> list[str]:
    """Return warnings about the limitations of the metrics in the rows."""
    warnings = []
    whole = rows[0]
    for row in rows:
        if row.level == "video" and row.undefined:
            warnings.append(f"{row.name}: {row.undefined}")
    missing = whole.num_real + whole.num_fake - whole.num_scored
    if missing:
        videos = "1 video" if missing == 1 else f"{missing} videos"
        warnings.append(
            f"{videos} could not be scored: they count in the coverage but are left out of all other metrics"
        )
    if 0 < whole.num_real < MIN_REALS_FOR_FPR and whole.estimates["auc"].value is not None:
        number = "1 real video" if whole.num_real == 1 else f"{whole.num_real} real videos"
        warnings.append(f"with only {number}, TPR at 1 % FPR equals the TPR without any false alarm")
    return warnings


def seen_warnings(scores: Sequence[Score]) -> list[str]:
    """Count and name the videos that the model has seen before, for each part of its record."""
    lines = []
    for part in PARTS:
        keys = sorted(score.key for score in scores if score.seen == part)
        if keys:
            listed = ", ".join(keys[:MAX_SEEN]) + (f" and {len(keys) - MAX_SEEN} more" if len(keys) > MAX_SEEN else "")
            lines.append(
                f"{len(keys)} of {len(scores)} videos were seen in {part}, so their numbers are optimistic: {listed}"
            )
    return lines
