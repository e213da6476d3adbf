# SPDX-License-Identifier: Apache-2.0
"""Write results as a CSV table with one row per video."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.files import write_atomically
from ..common.tables import format_table
from .results import VideoResult
from .stretches import worst_stretches


COLUMNS = (
    *(
        "path",
        "media",
        "status",
        "verdict",
        "verdict_reason",
        "verdict_rates",
        "label",
        "fake_probability",
        "threshold",
    ),
    *("message", "warnings", "duration_s"),
    *("frames_analyzed", "face_coverage", "num_faces", "worst_start_s", "worst_end_s", "worst_fake_probability"),
    *("version", "created", "model_id", "model_revision", "weights_sha256", "sha256"),
)


def to_csv(results: Sequence[VideoResult]) -> str:
    """
    Format results as CSV with the columns `COLUMNS`. Unknown values are empty.

    A text that a spreadsheet would interpret as a formula, such as a file name that begins with "=", is prefixed with
    an apostrophe.

    Args:
        results: The results.
    """
    return format_table(COLUMNS, map(_to_row, results))


def _to_row(result: VideoResult) -> dict[str, Any]:
    worst = worst_stretches(result)[:1]
    values = {name: getattr(result, name) for name in COLUMNS if hasattr(result, name)}
    return values | {
        "warnings": "; ".join(result.warnings),
        "num_faces": len(result.faces) if result.status == "ok" and result.face_coverage is not None else None,
        "worst_start_s": worst[0].start_s if worst else None,
        "worst_end_s": worst[0].end_s if worst else None,
        "worst_fake_probability": worst[0].fake_probability if worst else None,
        "model_id": result.model.id,
        "model_revision": result.model.revision,
        "weights_sha256": result.model.weights_sha256,
    }


def write_csv(path: str | Path, results: Sequence[VideoResult]) -> None:
    """
    Write results as a CSV file in UTF-8.

    Args:
        path: The file.
        results: The results.

    Raises:
        OutputError: If it cannot be written.
    """
    write_atomically(path, to_csv(results).encode("utf-8", "backslashreplace"))
