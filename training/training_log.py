# SPDX-License-Identifier: Apache-2.0
"""The log of a training run: one JSON object per line."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..common.files import read_complete_lines, write_atomically
from ..common.json_files import parse_json
from .errors import TrainingFailedError


LOG_NAME = "log.jsonl"


class TrainingLog:
    """
    Appends records to the log of a training run.

    Args:
        folder: Folder of the training.
        on_record: Called with each record.
        is_writer: Whether this process writes; with several processes, one of them does.
    """

    def __init__(self, folder: Path, on_record: Callable[[Mapping[str, Any]], None], *, is_writer: bool) -> None:
        self._path, self._on_record, self._is_writer = folder / LOG_NAME, on_record, is_writer

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record."""
        if self._is_writer:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            self._on_record(record)

    def truncate(self, step: int) -> None:
        """
        Remove the records after a step; a run that is resumed at this step writes them again.

        An incomplete last line, as a full disk or a power failure leaves it, is removed too.

        Args:
            step: Last step whose records are kept.

        Raises:
            TrainingFailedError: If another line is damaged.
            OutputError: If the log cannot be written.
        """
        if self._is_writer and self._path.is_file():
            kept = [line for line, record in _read_lines(self._path) if record["step"] <= step]
            write_atomically(self._path, b"".join(line + b"\n" for line in kept))


def _read_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each complete line of a log without its end, and its record."""
    for number, line in enumerate(read_complete_lines(path).splitlines(), 1):
        try:
            record = parse_json(line.decode())
            if not isinstance(record, dict) or not isinstance(record.get("step"), int):
                raise ValueError("it has no step")
        except ValueError as error:
            raise TrainingFailedError(
                f"{path}, line {number}: invalid record ({error}); delete the line to resume the training."
            ) from error
        yield line, record
