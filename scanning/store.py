# SPDX-License-Identifier: Apache-2.0
"""
The folder of a scan that can be killed and started again.

    results.jsonl        one line a video
    results-<n>.jsonl    the lines of the n-th process while several scan together; joined at the end
    pictures/            what a report shows of each video, one file a video

A line is appended, with its line end, when a video is done. A start keeps the lines that still hold and drops the
others, a torn last one among them; so no finished result is lost and none is there twice.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..video_fetching import is_url
from .evidence import Evidence
from .files import OutputError, lock, write_atomically
from .results import VideoResult


RESULTS_NAME = "results.jsonl"
# A failure that may pass: these videos are tried again.
PASSING_FAILURES = {"not_found", "unreadable", "timeout"}


class ResultStore:
    """
    Results of one scan in a folder, kept as they come.

    Args:
        folder: Made if it does not exist.
        rank: Which of several processes this is; the first one joins their results in [`finish`].
        is_current: Whether a result of an earlier run was made with today's models and settings.
        needs_pictures: Whether a result without its pictures counts as unfinished.

    Raises:
        OutputError: If the folder cannot be written to, or another scan is writing to it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        is_current: Callable[[VideoResult], bool],
        needs_pictures: bool = False,
        rank: int = 0,
    ) -> None:
        self.folder = Path(folder)
        self._is_current = is_current
        self._needs_pictures = needs_pictures
        self._rank = rank
        self._file = self.folder / (f"results-{rank}.jsonl" if rank else RESULTS_NAME)
        self._stream: io.FileIO | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if needs_pictures:
                (self.folder / "pictures").mkdir(exist_ok=True)
            self._lock = (self.folder / f".lock-{rank}").open("wb")
            lock(self._lock)
        except BlockingIOError as error:
            raise OutputError(self.folder, OSError(0, "another scan is writing there")) from error
        except OSError as error:
            raise OutputError(self.folder, error) from error

    def begin(self, paths: Sequence[str], wait: Callable[[], None] = lambda: None) -> dict[str, VideoResult]:
        """
        The results of an earlier run that still hold for these paths; of what does not, nothing is left behind.

        Args:
            paths: What all processes together are to scan.
            wait: Returns when every process has called it.
        """
        wanted = set(paths)
        earlier = {result.path: result for result in self._read_all()}
        kept = {path: result for path, result in earlier.items() if path in wanted and self._holds(result)}
        wait()
        if self._rank == 0:
            others = [result for path, result in earlier.items() if path not in wanted]
            self._replace_all([*others, *kept.values()])
        wait()
        return kept

    def add(self, result: VideoResult, pictures: Evidence | None = None) -> None:
        """
        Keep a result for good.

        Raises:
            OutputError: If it cannot be written, such as on a full disk.
        """
        if pictures is not None:
            content = json.dumps(pictures.to_dict()).encode()
            write_atomically(self._pictures_file(result.path), content)
        try:
            if self._stream is None:
                # Unbuffered: what could not be written is not tried again when the file is closed.
                self._stream = self._file.open("ab", buffering=0)
            line = result.to_json().encode() + b"\n"
            if self._stream.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise OutputError(self._file, error) from error

    def pictures(self, path: str) -> Evidence | None:
        """The pictures that were kept with a result, if they can be read."""
        try:
            return Evidence.from_dict(json.loads(self._pictures_file(path).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finish(self, order: Sequence[str], wait: Callable[[], None] = lambda: None) -> None:
        """
        Join what all processes wrote into one file.

        Args:
            order: Of the lines, by path; results of other videos follow.
            wait: Returns when every process has called it.
        """
        self._close_stream()
        wait()
        if self._rank == 0:
            position = {path: number for number, path in enumerate(order)}
            results = {result.path: result for result in self._read_all()}
            self._replace_all(sorted(results.values(), key=lambda result: position.get(result.path, len(position))))

    def close(self) -> None:
        """Let another scan write here."""
        self._close_stream()
        self._lock.close()

    def __enter__(self) -> "ResultStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _holds(self, result: VideoResult) -> bool:
        if result.status in PASSING_FAILURES or not self._is_current(result):
            return False
        if self._needs_pictures and result.status == "ok" and self.pictures(result.path) is None:
            return False
        # What an address leads to is not known without fetching it.
        return is_url(result.path) or (result.sha256 is not None and _sha256(result.path) == result.sha256)

    def _read_all(self) -> Iterator[VideoResult]:
        """Every whole line of all processes, the later ones of a path after the earlier ones."""
        for file in self._result_files():
            try:
                content = file.read_bytes()
            except OSError as error:
                raise OutputError(file, error) from error
            for line in content.split(b"\n"):
                # Torn or foreign lines are no results.
                with contextlib.suppress(ValueError):
                    yield VideoResult.from_dict(json.loads(line))

    def _result_files(self) -> list[Path]:
        main = self.folder / RESULTS_NAME
        return [file for file in [main, *sorted(self.folder.glob("results-*.jsonl"))] if file.exists()]

    def _replace_all(self, results: Iterable[VideoResult]) -> None:
        self._close_stream()
        content = b"".join(result.to_json().encode() + b"\n" for result in results)
        write_atomically(self.folder / RESULTS_NAME, content)
        # Their lines are in the main file now; being killed here leaves them in both, and the next start joins them.
        for file in self._result_files()[1:]:
            file.unlink()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def _pictures_file(self, path: str) -> Path:
        name = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self.folder / "pictures" / f"{name}.json"


def _sha256(path: str) -> str | None:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
