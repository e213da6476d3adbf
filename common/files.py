# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of files and folders, and locks on folders."""

import contextlib
import os
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .errors import UsageError, WorkError
from .interrupts import deferred, unfinished
from .text import printable


_NOT_A_FILE = "it is not a regular file; give another name"
# What is not a list of paths; bytes are no path either, but one wrong value.
_ONE_PATH = (str, bytes, os.PathLike)


class OutputError(WorkError):
    """A file could not be written; the message names the file and the reason."""

    reason = "output"

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(f"{path}: cannot be written ({error.strerror or error}).")


class TargetError(UsageError):
    """An output path is invalid, found before the work starts; the message states the path and the reason."""

    reason = "output"

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path}: cannot be written ({problem}).")


def refuse_standard_output(path: str | Path) -> None:
    """
    Refuse `-`, which other programs use for the standard output, instead of making a file or folder of this name.

    Raises:
        TargetError: If the path is `-`.
    """
    if str(path) == "-":
        raise TargetError(path, "the standard output is not supported here; give another name")


def check_file_target(path: str | Path) -> None:
    """
    Check before the work starts that a file can be written afterwards.

    Raises:
        TargetError: If its folder does not exist or is not writable, or if the path is a folder, a device, a pipe or
            `-`, which other programs use for the standard output.
    """
    path = Path(path)
    refuse_standard_output(path)
    if path.is_dir():
        raise TargetError(path, "it is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise TargetError(path, _NOT_A_FILE)
    folder = follow_links(path).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise TargetError(path, f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise TargetError(path, f"no permission to write to {folder}")


def check_folder_target(folder: str | Path) -> None:
    """
    Check before the work starts that a folder is writable or can be created.

    Raises:
        TargetError: If a part of the path is a file, if permission is missing, if the path is `-`, or if the folder
            contains a pipe or a device in place of a JSON file.
    """
    refuse_standard_output(folder)
    folder = Path(folder)
    existing = next(part for part in (folder, *folder.parents) if os.path.lexists(part))
    if not existing.is_dir():
        raise TargetError(folder, f"{existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise TargetError(folder, f"no permission to write to {existing}")
    # Reading a pipe would wait for ever.
    for file in folder.glob("*.json*"):
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise TargetError(file, _NOT_A_FILE)


def follow_links(path: str | Path) -> Path:
    """
    Return the file to which a path leads, so that replacing it keeps the symbolic links of the path.

    Args:
        path: A path that need not exist.
    """
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def new_file(path: str | Path, *, suffix: str = ".tmp") -> Iterator[Path]:
    """
    Name a temporary file that replaces `path` as a whole when the block ends; links in `path` stay.

    If the block fails or is interrupted, the temporary file is removed and `path` stays as it was.

    Args:
        path: Final place of the file; replaced if it exists.
        suffix: How the name of the temporary file ends.

    Yields:
        The path of the temporary file, beside the final one, for the block to write.

    Raises:
        OSError: If the temporary file cannot be moved.
    """
    target = follow_links(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}{suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        # It was moved, was never written, or its folder cannot be reached, which the error of the block says.
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_atomically(path: str | Path, content: bytes) -> None:
    """
    Write a file through a temporary one beside it, so that it is never incomplete.

    Args:
        path: The file; replaced if it exists. Of other types than `Path`, whose store shows a file only when it is
            complete, `write_bytes` is called.
        content: Its new content.

    Raises:
        OutputError: If that fails; an existing file keeps its content.
    """
    if not isinstance(path, str | Path):
        try:
            path.write_bytes(content)
        except TimeoutError as error:
            raise OutputError(path, error) from None  # in the words of `StoreTarget`
        except Exception as error:
            # Their own words may contain credentials.
            raise OutputError(path, OSError(0, type(error).__name__)) from None
        return
    if os.path.exists(path) and not os.path.isfile(path):
        # Renaming a file over a device would remove the device.
        raise OutputError(path, OSError(0, _NOT_A_FILE))
    try:
        with new_file(path) as temporary, temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OutputError(path, error) from error


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """
    Create an empty folder that replaces `target` as a whole when the block ends.

    If the block fails or is interrupted, the new folder is removed and `target` stays as it was.

    Args:
        target: Final place of the folder; replaced if it exists.

    Yields:
        The new folder, beside `target`.

    Example:

        >>> from pathlib import Path
        >>> from deepfake_video.common.files import new_folder
        >>> with new_folder(Path("model")) as folder:
        ...     _ = (folder / "config.json").write_text("{}")
        >>> [file.name for file in Path("model").iterdir()]
        ['config.json']
    """
    with temporary_folder(target) as folder:
        yield folder
        replace_folder(folder, target)


@contextlib.contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Create a folder beside `target`, on the same disk, that is removed when the block ends unless it was moved."""
    # Of "." neither the name nor the parent would be known.
    target = Path(os.path.abspath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with unfinished():
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def replace_folder(folder: Path, target: Path) -> None:
    """Move a finished folder to `target`; an existing folder there is replaced, and restored if that fails."""
    with deferred():
        _move(folder, Path(os.path.abspath(target)))


def _move(folder: Path, target: Path) -> None:
    if not os.path.lexists(target):
        folder.rename(target)
        return
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    # The shell of a user whose current folder is replaced would stay in the former one.
    move = _move_content if _is_current(target) else os.rename
    move(target, aside)
    try:
        move(folder, target)
    except OSError:
        move(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _is_current(folder: Path) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:
        return False


def _move_content(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for entry in [*source.iterdir()]:
        entry.rename(target / entry.name)


def as_paths(name: str, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """
    Return paths as text, which also names a model on the Hub or an address.

    Args:
        name: Name of the argument, for the error message.
        paths: One or several paths.

    Raises:
        UsageError: If one is neither text nor a path, such as bytes.

    Example:

        >>> from deepfake_video.common.files import as_paths
        >>> as_paths("sources", [b"clip.mp4"])
        Traceback (most recent call last):
        ...
        deepfake_video.common.errors.UsageError: sources: a path is text or a pathlib.Path, got b'clip.mp4'.
    """
    # Of bytes, the numbers would be named.
    given: list[Any] = list(paths) if isinstance(paths, Iterable) and not isinstance(paths, _ONE_PATH) else [paths]
    for path in given:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise UsageError(f"{name}: a path is text or a pathlib.Path, got {printable(repr(path), 80)}.")
    return [os.fspath(path) for path in given]


def make_paths(plan: object, *names: str) -> None:
    """
    Turn fields of a frozen dataclass that hold paths as text into `Path`; `None` stays.

    Args:
        plan: The dataclass, in its `__post_init__`.
        names: Names of the fields, of one path or a list of paths.

    Raises:
        UsageError: If one is neither text nor a path, such as bytes.
    """
    for name in names:
        value = getattr(plan, name)
        is_single = isinstance(value, _ONE_PATH)
        if value is not None:
            paths = tuple(map(Path, as_paths(name, value)))
            object.__setattr__(plan, name, paths[0] if is_single else paths)


def walk_folder(
    folder: str | Path, on_error: Callable[[OSError], None], *, enters: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, list[str]]]:
    """
    Find the files in a folder and its subfolders, also those that are symbolic links to folders.

    Each folder is entered once, whatever links lead to it, so that a loop of links ends and no file is found twice.
    Links are followed last: a folder that lies inside is found under its own path.

    Args:
        folder: The folder.
        on_error: Called if a folder cannot be read; `filename` of the error is its path.
        enters: Whether subfolders of a name are entered.

    Yields:
        The path of each folder, and the names of its files in order.

    Example:

        >>> import os, tempfile
        >>> from deepfake_video.common.files import walk_folder
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     os.symlink(folder, os.path.join(folder, "loop"))
        ...     len(list(walk_folder(folder, print)))
        1
    """
    entered: set[str] = set()
    # `os.walk` calls itself for each level before Python 3.12, and fails in folders a thousand levels deep.
    inside, links = [os.fspath(folder)], deque[str]()
    while inside or links:
        parent = inside.pop() if inside else links.popleft()
        try:
            # A link that is removed at this moment, or that nobody else may read, raises an error here.
            real = os.path.realpath(parent)
            if real in entered:
                continue
            with os.scandir(parent) as entries:
                is_folder = {entry.name: _is_folder(entry) for entry in entries}
        except OSError as error:
            on_error(error)
            continue
        entered.add(real)
        folders = [os.path.join(parent, name) for name in sorted(is_folder) if is_folder[name] and enters(name)]
        links.extend(filter(os.path.islink, folders))
        inside += reversed([path for path in folders if not os.path.islink(path)])
        yield parent, sorted(name for name in is_folder if not is_folder[name])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def read_complete_lines(path: Path) -> bytes:
    """
    Read a file of lines up to the end of its last complete one; a full disk may have left a part of the next.

    Args:
        path: File to which lines are appended.

    Raises:
        OSError: If it cannot be read.
    """
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def lock_folder(folder: str | Path, rank: int = 0, *, work: str = "scan") -> ExitStack:
    """
    Create a folder if it does not exist, and keep other processes from locking it.

    Args:
        folder: The folder of a run.
        rank: Rank of this process within the run. Each process takes its own lock.
        work: Kind of run that may hold the lock, for the error message.

    Returns:
        A context manager with a method `close`; either releases the lock, as does the end of the process.

    Raises:
        OutputError: If another run holds the folder, or if it cannot be written.

    Example:

        >>> from deepfake_video.common.files import lock_folder
        >>> with lock_folder("run1"):
        ...     pass
    """
    # Takes longer to import than the rest of a command's help.
    from filelock import FileLock, Timeout

    folder = Path(folder)
    held = ExitStack()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not thread-local: a run may be closed by another thread than the one that began it.
        held.enter_context(FileLock(folder / f".lock-{rank}", timeout=0, thread_local=False))
    except Timeout as error:
        raise OutputError(folder, OSError(0, f"another {work} is writing to it")) from error
    except OSError as error:
        raise OutputError(folder, error) from error
    return held
