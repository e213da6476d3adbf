# SPDX-License-Identifier: Apache-2.0
"""
The output folder of a scan, which can be killed and resumed.

    results.jsonl        one line per video
    results-<n>.jsonl    the lines of the n-th process while several scan together; merged at the end
    run.json             the scoring setup that produced the results; results of a different setup are refused
    files-<n>.jsonl      stamps of the files, so that unchanged files are not read again
    pictures/            the pictures of the report, one file per video

In a store such as Amazon S3, whose files cannot be extended, each line is a file results-<n>-<name>.jsonl of its own
until they are merged, and nothing prevents two scans from writing to the same address.

A line is appended, with its line end, when a video is done. A resumed scan keeps the lines that are still valid and
drops the others, including an incomplete last one. No finished result is lost, and none appears twice.
"""

import contextlib
import errno
import fnmatch
import hashlib
import io
import itertools
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..common.files import OutputError, lock_folder, write_atomically
from ..common.json_files import as_dataclass, as_object, parse_json
from ..video_addresses import is_address, is_store_address, is_url
from ..video_stores import read_version
from .addresses import as_target
from .evidence import Evidence
from .file_stamps import check_files, stamp_files
from .fingerprint import RUN_NAME, claim_folder
from .results import RESULTS_NAME, VideoResult


_OWN_NAMES = (RESULTS_NAME, "results-*.jsonl", "files-*.jsonl", RUN_NAME, ".lock-*")
# Each waits for the network most of the time.
_REQUESTS_AT_ONCE = 32
# Failures that may be temporary, or that a higher limit solves: these videos are tried again.
PASSING_FAILURES = {"not_found", "unreadable", "timeout", "too_large"}


class ResultStore:
    """
    The results of one scan in a folder, stored one by one.

    Args:
        folder: The folder or address; a folder is created if it does not exist.
        function: Description of the scoring setup, see [`describe_setup`].
        needs_pictures: Whether a result without its pictures counts as unfinished, unless it is that of a video
            without a timeline, which has none.
        rank: Index of this process; process 0 merges the results in [`finish`].

    Raises:
        OutputError: If the folder cannot be written, or if another scan is using it.
    """

    def __init__(
        self, folder: str | Path, *, function: Mapping[str, Any], needs_pictures: bool = False, rank: int = 0
    ) -> None:
        self.folder = as_target(folder)
        # Files in a store cannot be extended or locked.
        self._is_local = isinstance(self.folder, Path)
        self._part_names = (f"{secrets.token_hex(4)}-{number}" for number in itertools.count())
        self._stamped: list[str] = []
        self._function = function
        self._needs_pictures = needs_pictures
        self._rank = rank
        self._file = self.folder / (f"results-{rank}.jsonl" if rank else RESULTS_NAME)
        self._stream: io.FileIO | None = None
        self._began_ns = time.time_ns()
        self._lock = lock_folder(self.folder, rank) if self._is_local else contextlib.ExitStack()
        try:
            if needs_pictures and self._is_local:
                (self.folder / "pictures").mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(self.folder, error) from error

    def begin(self, paths: Sequence[str], wait: Callable[[], None] = lambda: None) -> dict[str, VideoResult]:
        """
        Find the results of an earlier run for these paths. Those that are still valid are kept; the others are
        removed.

        Args:
            paths: The videos of all processes together.
            wait: Returns when every process has called it.

        Returns:
            The valid results by path.

        Raises:
            RunMismatchError: If the folder holds results of a different scoring setup.
        """
        wanted = set(paths)
        earlier = {result.path: result for result in self._read_all()}
        stamps = self._read_stamps()
        # Without a description, they may be of another program, and are neither read nor replaced.
        has_files = bool(result_files(self.folder)) or any(self.folder.glob("files-*.jsonl"))
        claim_folder(self.folder, self._function, has_results=has_files, wait=wait)
        kept: dict[str, VideoResult] = {}
        versions = _read_versions([path for path in earlier if path in wanted])
        for path, result in earlier.items():
            if path in wanted and self._holds(result, stamps, versions):
                kept[path] = result
        wait()
        if self._rank == 0:
            others = [result for path, result in earlier.items() if path not in wanted]
            self._replace_all([*others, *kept.values()])
            self._replace_stamps(stamps)
        wait()
        return {path: _as_kept(result) for path, result in kept.items()}

    def add(self, result: VideoResult, pictures: Evidence | None = None) -> None:
        """
        Store a result.

        Args:
            result: The result.
            pictures: Its pictures, if there are any.

        Raises:
            OutputError: If it cannot be written, for instance because the disk is full.
        """
        stamped = _stamp_line(result, self._began_ns)
        if pictures is not None:
            content = json.dumps({"result": _digest(result), **asdict(pictures)}).encode()
            write_atomically(self._pictures_file(result.path), content)
        line = result.to_json().encode() + b"\n"
        if not self._is_local:
            write_atomically(self.folder / f"results-{self._rank}-{next(self._part_names)}.jsonl", line)
            self._stamped.append(stamped)
            return
        try:
            if self._stream is None:
                # Unbuffered: a failed write is not repeated when the file is closed.
                self._stream = self._file.open("ab", buffering=0)
            if self._stream.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._stream.fileno())
            if stamped:
                # A lost stamp costs only time, so it is not synced to the disk.
                with (self.folder / f"files-{self._rank}.jsonl").open("a", encoding="utf-8") as stream:
                    stream.write(stamped)
        except OSError as error:
            raise OutputError(self._file, error) from error

    def pictures(self, result: VideoResult) -> Evidence | None:
        """The pictures that were stored with this result, if they can be read."""
        try:
            content = as_object(parse_json(self._pictures_file(result.path).read_bytes()), "pictures")
            return as_dataclass(content, Evidence) if content.pop("result", None) == _digest(result) else None
        except (OSError, ValueError):
            return None

    def finish(self, order: Sequence[str], wait: Callable[[], None] = lambda: None) -> None:
        """
        Merge the lines of all processes into one file.

        Args:
            order: Paths in the order of the lines. Results of other videos follow.
            wait: Returns when every process has called it.
        """
        self._close_stream()
        wait()
        if self._rank == 0:
            position = {path: number for number, path in enumerate(order)}
            results = {result.path: result for result in self._read_all()}
            self._replace_all(sorted(results.values(), key=lambda result: position.get(result.path, len(position))))

    def close(self) -> None:
        """Close the files and release the folder."""
        self._close_stream()
        self._lock.close()
        if any(self._stamped):
            name = f"files-{self._rank}-{next(self._part_names)}.jsonl"
            write_atomically(self.folder / name, "".join(self._stamped).encode())

    def __enter__(self) -> "ResultStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _holds(
        self, result: VideoResult, stamps: dict[str, tuple[str, str]], versions: Mapping[str, str | None]
    ) -> bool:
        """Whether a result is still valid. If its file had to be read, the new stamp is added to `stamps`."""
        if result.status in PASSING_FAILURES:
            return False
        if self._needs_pictures and _has_pictures(result) and self.pictures(result) is None:
            return False
        if is_url(result.path):
            return True
        if result.path in versions:
            return result.fetched is not None and result.fetched.version == versions[result.path]
        known = stamps.get(result.path)
        stored = known[1] if known is not None and known[0] == result.sha256 else None
        is_same, stamp = check_files([result.path], result.sha256, stored)
        if is_same and stamp is not None and result.sha256 is not None:
            stamps[result.path] = (result.sha256, stamp)
        return is_same

    def _read_all(self) -> Iterator[VideoResult]:
        """Every complete line of all processes; for each path, later ones follow earlier ones."""
        for content in _read_files(result_files(self.folder)):
            for line in content.split(b"\n"):
                # Incomplete and foreign lines are skipped.
                with contextlib.suppress(ValueError):
                    yield VideoResult.from_dict(parse_json(line))

    def _replace_all(self, results: Iterable[VideoResult]) -> None:
        self._close_stream()
        content = b"".join(result.to_json().encode() + b"\n" for result in results)
        write_atomically(self.folder / RESULTS_NAME, content)
        # Their lines are in the main file now. If killed here, they are in both, and the next start merges them.
        _remove(result_files(self.folder)[1:])

    def _read_stamps(self) -> dict[str, tuple[str, str]]:
        """Hash and stamp of each file by its path."""
        stamps: dict[str, tuple[str, str]] = {}
        for content in _read_files(sorted(self.folder.glob("files-*.jsonl"), key=str)):
            for line in content.split(b"\n"):
                with contextlib.suppress(ValueError, TypeError):
                    path, sha256, stamp = parse_json(line)
                    stamps[path] = (sha256, stamp)
        return stamps

    def _replace_stamps(self, stamps: Mapping[str, tuple[str, str]]) -> None:
        first = self.folder / "files-0.jsonl"
        lines = (json.dumps([path, *known]) + "\n" for path, known in stamps.items())
        write_atomically(first, "".join(lines).encode())
        _remove(set(self.folder.glob("files-*.jsonl")) - {first})

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def _pictures_file(self, path: str) -> Path:
        return self.folder / "pictures" / f"{_short_hash(path)}.json"


def result_files(folder: Path) -> list[Path]:
    """
    Return the files with the results of a run: the main file, then those of processes that were not merged into it.

    Args:
        folder: The folder or target of a [`ResultStore`]. If several lines are of one video, the last one is valid.
    """
    main = folder / RESULTS_NAME
    parts = sorted(folder.glob("results-*.jsonl"), key=str)
    return [main, *parts] if main.exists() else parts


def is_file_of_store(folder: str | Path, target: str | Path) -> bool:
    """
    Return whether a store in a folder would read or write a file of this name as one of its own.

    Args:
        folder: The folder or address of the store.
        target: A file or address.
    """
    parent, name = os.path.split(os.path.realpath(target))
    own = os.path.realpath(folder)
    return parent == os.path.join(own, "pictures") or (
        parent == own and any(fnmatch.fnmatch(name, pattern) for pattern in _OWN_NAMES)
    )


def write_part(folder: str | Path, result: VideoResult, *, began_ns: int) -> None:
    """
    Store a result from another process or machine than that of the [`ResultStore`], which merges it later.

    A second result of the same video replaces the first one.

    Args:
        folder: The folder or address of the store.
        result: The result.
        began_ns: When the reading of the video began, in nanoseconds since the epoch.

    Raises:
        OutputError: If it cannot be written.
    """
    target = as_target(folder)
    name = f"{_short_hash(result.path)}.jsonl"
    write_atomically(target / f"results-{name}", result.to_json().encode() + b"\n")
    if stamped := _stamp_line(result, began_ns):
        write_atomically(target / f"files-{name}", stamped.encode())


def _stamp_line(result: VideoResult, began_ns: int) -> str:
    """The line of a file in `files-*.jsonl`; empty if the file cannot be recognised without reading it."""
    stamp = None if is_address(result.path) else stamp_files([result.path], began_ns=began_ns)
    return json.dumps([result.path, result.sha256, stamp]) + "\n" if stamp and result.sha256 else ""


def _remove(files: Iterable[Path]) -> None:
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        list(pool.map(lambda file: file.unlink(), files))


def _short_hash(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read_files(files: Sequence[Path]) -> Iterator[bytes]:
    """The content of each file. Those of a store are requested together, which takes a fraction of the time."""
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        for file, reading in [(file, pool.submit(file.read_bytes)) for file in files]:
            try:
                yield reading.result()
            except OSError as error:
                raise OutputError(file, error) from error


def _read_versions(paths: Sequence[str]) -> dict[str, str | None]:
    """The present versions of the files in stores."""
    addresses = [path for path in paths if is_store_address(path) and not os.path.lexists(path)]
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        return dict(zip(addresses, pool.map(read_version, addresses), strict=True))


def _digest(result: VideoResult) -> str:
    return hashlib.sha256(replace(result, warnings=[]).to_json().encode()).hexdigest()


def _has_pictures(result: VideoResult) -> bool:
    """Whether pictures are made for a result if they are requested; those of a video need the timeline."""
    return result.status == "ok" and (result.media == "image" or bool(result.settings.get("timeline")))


def _as_kept(result: VideoResult) -> VideoResult:
    """The same result, with a warning if it is that of a URL, which is not downloaded again."""
    if not is_url(result.path):
        return result
    said = f"this result is from {result.created}; the URL was not downloaded again"
    return replace(result, warnings=[*result.warnings, said])
