# SPDX-License-Identifier: Apache-2.0
"""Files that are there as a whole or not at all, belong to one writer, and do nothing to who opens them."""

import contextlib
import importlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .errors import UsageError, WorkError
from .interrupts import deferred, unfinished


_LOCKED_BYTE = (1 << 31) - 2
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class OutputError(WorkError):
    """A file could not be written; the message names the file and the reason."""

    reason = "output"

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(f"{path}: cannot be written ({error.strerror or error}).")


class TargetError(UsageError):
    """The place for an output is invalid, which is known before the work; the message names it and the reason."""

    reason = "output"

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path}: cannot be written ({problem}).")


def check_file_target(path: str | Path) -> None:
    """
    Check before the work that a file can be written at its end.

    Raises:
        TargetError: If its folder does not exist or is not writable, or if the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise TargetError(path, "it is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise TargetError(path, f"there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise TargetError(path, f"no permission to write to {path.parent}")


def check_folder_target(folder: str | Path) -> None:
    """
    Check before the work that a folder can be written to; it is created later if it does not exist.

    Raises:
        TargetError: If a part of the path is a file, or if permission is missing.
    """
    folder = Path(folder)
    existing = next(part for part in (folder, *folder.parents) if os.path.lexists(part))
    if not existing.is_dir():
        raise TargetError(folder, f"{existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise TargetError(folder, f"no permission to write to {existing}")


def write_atomically(path: str | Path, content: bytes) -> None:
    """
    Write a new file beside `path` and rename it to `path`.

    Raises:
        OutputError: If that fails; what stood there before then still does.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OutputError(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """
    A folder to fill, which takes the place of `target` as a whole when the block ends.

    If the block fails or is interrupted, the folder is removed and what stood at `target` stays.

    Args:
        target: Where the folder ends up; replaced if it exists.
    """
    with temporary_folder(target) as folder:
        yield folder
        replace_folder(folder, target)


@contextlib.contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target`, on the same disk, that is gone when the block ends unless it was moved."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with unfinished():
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def replace_folder(folder: Path, target: Path) -> None:
    """Move a finished folder to its name; what stood there comes back if that fails."""
    with deferred():
        _move(folder, target)


def _move(folder: Path, target: Path) -> None:
    if not os.path.lexists(target):
        folder.rename(target)
        return
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    target.rename(aside)
    try:
        folder.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def lock(stream: IO[Any]) -> None:
    """
    Keep other processes from locking the same open file, until it is closed or this process ends.

    Raises:
        BlockingIOError: If another one holds it.
        OSError: If the file system knows no locks.
    """
    if os.name != "nt":
        fcntl: Any = importlib.import_module("fcntl")
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    msvcrt: Any = importlib.import_module("msvcrt")
    position = stream.tell()
    # A locked byte cannot be read there, so it is one far behind the content.
    stream.seek(_LOCKED_BYTE)
    try:
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
    except PermissionError as error:
        raise BlockingIOError(error.errno, "another process holds it") from error
    finally:
        stream.seek(position)


def harmless(cell: object) -> object:
    """A cell of a table; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip("'").startswith(_FORMULA_STARTS) else cell


def as_written(cell: str) -> str:
    """The reverse of [`harmless`]."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA_STARTS) else cell
