# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation: scores, rows of metrics, warnings, calibration and comparison."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..version import __version__
from .metric_rows import Row
from .scores import Score


SCHEMA_VERSION = 1


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


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """
    The result of an evaluation; `str` gives its tables as text.

    Attributes:
        dataset: Name of the data set; several names are joined.
        split: Split that was evaluated.
        threshold: Fake probability at or above which a video is called fake.
        run: Settings that determined the scores: models, frames, faces, seed.
        rows: Rows of the tables: per video, then by the DeepfakeBench protocol if requested, then per frame; the first
            is the result, see `metrics`.
        interval_unit: Resampling unit of the bootstrap: "identities", "videos", or both.
        robustness: AUC by corruption, of the videos that the model has not seen before; empty without corruptions.
        unscored: Key and reason of each video without a score.
        warnings: Caveats about the metrics.
        calibration: Fitted calibration, if a calibrated checkpoint was written.
        verdicts: Bands of the verdicts and their error rates, if they were measured.
        comparison: Difference from another model on the same videos, if one was compared.
        scores: Score of each video, corrupted ones too; not part of the JSON.
        notes: Warnings about the model and the data set, as opposed to the scores.
        name: Name of the data set or run among several, if it has one; not part of the JSON.
        parts: Results of the data sets that were joined, if there are several; not part of the JSON.

    Example:
        >>> from deepfake_video.evaluation.scores import Score
        >>> scores = [Score(key="a", label="real", dataset="d", fake_probability=0.1),
        ...           Score(key="b", label="fake", dataset="d", fake_probability=0.9)]
        >>> from deepfake_video.evaluation.metric_rows import RowOptions, make_rows
        >>> rows = make_rows(scores, RowOptions(resamples=0))
        >>> result = EvaluationResult(dataset="d", split="all", threshold=0.5, run={}, rows=rows, scores=scores)
        >>> result.metrics["auc"], result.is_complete
        (1.0, True)
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
    parts: "Sequence[EvaluationResult]" = field(default=(), repr=False)

    @property
    def metrics(self) -> dict[str, float | None]:
        """
        Metrics by name, of the videos that the model has not seen before: neither themselves nor people in them were
        in its training, validation or calibration. `None` where one is undefined; all are if it has seen all videos.
        """
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
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
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

    def save(self, folder: str | Path, *, plots: str | None = None) -> SavedFiles:
        """
        Write tables, metrics, scores and plots into a folder, each file as a whole.

        A calibration leaves videos out of the tables, so its tables go into the folder `remaining` of the folder and
        do not replace those of a run on all videos.

        Args:
            folder: The folder; created if it does not exist.
            plots: "png", "svg" or "none"; by default png if matplotlib is installed.

        Returns:
            What was written.

        Raises:
            EvaluationError: If plots are asked for without matplotlib.
            OSError: If a file cannot be written.
        """
        # That module imports this class.
        from .saving import save_result

        return save_result(self, Path(folder), plots=plots)

    def __str__(self) -> str:
        # That module imports this class.
        from .metric_tables import result_text

        return result_text(self)
