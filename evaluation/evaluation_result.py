# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation: its data, its tables as text, and its files."""

from dataclasses import dataclass
from pathlib import Path

from .evaluation_data import EvaluationData, SavedFiles
from .metric_tables import result_text
from .saving import save_result


@dataclass(frozen=True, kw_only=True)
class EvaluationResult(EvaluationData):
    """
    The result of an evaluation; its attributes are those of [`EvaluationData`].

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
        return save_result(self, Path(folder), plots=plots)

    def __str__(self) -> str:
        return result_text(self)
