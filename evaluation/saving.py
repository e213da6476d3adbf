# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation as files."""

import importlib.util
import json
import tempfile
from pathlib import Path

from .evaluation_result import EvaluationResult, SavedFiles
from .metric_tables import result_text
from .model_index import model_index
from .plots import write_plots
from .scores import CSV_NAME, write_csv_scores


# Tables of the videos that did not calibrate.
REMAINING = "remaining"


def save_result(result: EvaluationResult, folder: Path, *, plots: str | None = None) -> SavedFiles:
    """
    Write all files of a result, see [`EvaluationResult.save`].

    Args:
        result: The result.
        folder: The folder; created if it does not exist.
        plots: "png", "svg" or "none"; by default png if matplotlib is installed.

    Raises:
        EvaluationError: If plots are asked for without matplotlib.
        OSError: If a file cannot be written.
    """
    output = folder / REMAINING if result.calibration else folder
    image_format = plots or ("png" if importlib.util.find_spec("matplotlib") else "none")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".unfinished-") as name:
        unfinished = Path(name)
        metrics = json.dumps(result.to_dict(), indent=2, allow_nan=False)
        (unfinished / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
        (unfinished / "table.txt").write_text(result_text(result), encoding="utf-8")
        write_csv_scores(result.scores, unfinished / CSV_NAME)
        if result.run.get("is_trained", True):
            block = model_index(result, Path(str(result.run.get("models", "scores"))).name)
            (unfinished / "model-index.yml").write_text(block, encoding="utf-8")
        if image_format != "none":
            write_plots(result, unfinished, image_format=image_format)
        files = sorted(unfinished.iterdir())
        for file in files:
            file.replace(output / file.name)
    return SavedFiles(folder=output, files=tuple(file.name for file in files), has_plots=image_format != "none")
