# SPDX-License-Identifier: Apache-2.0
"""Remove what the visitors of the demo leave behind on its machine."""

import contextlib
import threading
import time
from collections.abc import Collection
from pathlib import Path


def remove_old_files(folder: Path, *, min_age_s: float, but: Collection[Path]) -> None:
    """
    Remove the files that nobody removed: parts of uploads that ended early, and what programs leave that never say so.

    Args:
        folder: The folder with the files, in any folder inside it.
        min_age_s: Minimum time since the last change of a file, in seconds.
        but: Files to keep.
    """
    newest_s = time.time() - min_age_s
    for path in set(folder.rglob("*")).difference(but):
        # A visitor may leave in this moment.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < newest_s:
                path.unlink()


class ServedFiles:
    """
    The uploads and the report of each visitor, deleted when the visitor scores another video or leaves the page.

    The files that are there already, such as the examples, belong to all visitors and are never removed.
    """

    def __init__(self) -> None:
        from gradio.utils import get_upload_folder

        self._cache = Path(get_upload_folder()).resolve()
        self._shared = frozenset(self._cache.rglob("*"))
        self._of: dict[str | None, list[Path]] = {}
        # A visitor may come while the files of another one are removed.
        self._lock = threading.Lock()

    def add_upload(self, visitor: str | None, upload: str | None) -> None:
        """
        Register an uploaded file for removal, as soon as it is there: the same file of another visitor is stored once.

        Args:
            visitor: Hash of the session.
            upload: Path of the file, if any.
        """
        path = None if upload is None else Path(upload).resolve()
        if path is not None and path not in self._shared and path.is_relative_to(self._cache):
            self._add(visitor, path)

    def add_report(self, visitor: str | None, report: Path) -> None:
        """
        Register a report for removal.

        Args:
            visitor: Hash of the session.
            report: Path of the report.
        """
        self._add(visitor, report)

    def _add(self, visitor: str | None, path: Path) -> None:
        with self._lock:
            self._of.setdefault(visitor, []).append(path)

    def remove(self, visitor: str | None, *, but: str | None = None) -> None:
        """
        Remove the files of a visitor.

        Args:
            visitor: Hash of the session.
            but: File to keep.
        """
        with self._lock:
            files = self._of.pop(visitor, [])
            kept = {path for others in self._of.values() for path in others}
            kept |= {Path(but).resolve()} if but is not None else set()
            for file in files:
                if file in kept:
                    continue
                own = [file]
                if file.suffix == ".html":
                    # Gradio serves a copy of it from a folder named by its content.
                    own = [file, *self._cache.glob(f"*/{file.name}")]
                for path in own:
                    path.unlink(missing_ok=True)
