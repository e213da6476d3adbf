# SPDX-License-Identifier: Apache-2.0
"""The log of a training run: one JSON object per line."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..common.files import write_atomically


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
        """Remove the records after a step; a run that is resumed at this step writes them again."""
        if self._is_writer and self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            write_atomically(self._path, "".join(f"{line}\n" for line in kept).encode())


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the log records in the folder of a training run."""
    for line in (folder / LOG_NAME).read_text(encoding="utf-8").splitlines():
        yield json.loads(line)
