# SPDX-License-Identifier: Apache-2.0
"""
Hashes and stamps of files, by which a result is known to belong to the file as it is now.

A file is identified by its SHA-256. Hashing a million files to find that none has changed takes hours, so a result
also has a stamp: size, times of modification and of status change, and inode of the file. A file with the stored stamp
is not read again. Anybody can set the time of modification, but not the time of status change, so a file that was
replaced by another one of the same size and modification time is detected on every file system that records status
changes, that is, all except FAT and those of Windows. If the stamp differs, the hash decides.
"""

import hashlib
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path


# Clocks of file systems are coarse (FAT: 2 s). A file that changed less than this time before a scan has no stamp.
_STAMP_MARGIN_NS = 3_000_000_000


def hash_files(paths: Sequence[str | Path]) -> str | None:
    """
    Hash the content of one file, or of several files one after the other.

    Args:
        paths: The files.

    Returns:
        The SHA-256, or `None` if a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in paths:
            # Reading a pipe could block for ever, and a device may never end.
            if not stat.S_ISREG(os.stat(path).st_mode):
                return None
            with open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def stamp_files(paths: Sequence[str | Path], *, began_ns: int | None = None) -> str | None:
    """
    Make a stamp of files, by which later runs know that they have not changed without reading them.

    Args:
        paths: The files.
        began_ns: Start of the run that reads the files, in nanoseconds since the epoch; the current time by default.

    Returns:
        The stamp, or `None` if a file is missing, or changed so recently that different content may have been read.
    """
    latest = (time.time_ns() if began_ns is None else began_ns) - _STAMP_MARGIN_NS
    parts = []
    for path in paths:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode) or max(found.st_mtime_ns, found.st_ctime_ns) > latest:
            return None
        parts.append(f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}")
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()


def check_files(paths: Sequence[str | Path], sha256: str | None, stamp: str | None) -> tuple[bool, str | None]:
    """
    Check that files still have the content from which a result was made. They are read only if their stamp differs.

    Args:
        paths: The files of one video.
        sha256: Hash of the content that was read, if it is known.
        stamp: Result of [`stamp_files`] at that time.

    Returns:
        Whether the content is the same, and the current stamp.
    """
    if sha256 is None:
        return False, None
    # Made before the files are read: a file that changes afterwards has another stamp.
    today = stamp_files(paths)
    if today is not None and today == stamp:
        return True, today
    return hash_files(paths) == sha256, today
