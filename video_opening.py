# SPDX-License-Identifier: Apache-2.0
"""Open a video file safely: only regular files that do not begin like a text file or a still picture."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from typing import IO, cast

from .video_addresses import STORE_SCHEMES, is_store_address, is_url
from .video_errors import UnsupportedVideoError, VideoLimits, VideoNotFoundError, VideoUnreadableError
from .video_fetching import fetch_video
from .video_stores import StoreFile, open_store_file


__all__ = [
    "hash_open_file",
    "is_animated_png",
    "open_source_file",
    "open_video_file",
    "refuse_lookalikes",
    "stamp_open_file",
]

HEAD_BYTES = 1024
_NO_SUCH_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
# BMP, TIFF, icons and Photoshop: still pictures that nothing here reads.
OTHER_PICTURES = (b"BM", b"II*\x00", b"MM\x00*", b"\x00\x00\x01\x00", b"8BPS")
_STILL_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", *OTHER_PICTURES)
_MAX_PNG_CHUNKS = 1000
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif")
_SCHEMES = ", ".join(f"{name}://" for name in ("http", "https", "file", *STORE_SCHEMES))
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))


def open_video_file(source: str | os.PathLike[str], *, limits: VideoLimits) -> IO[bytes]:
    """Open a video as an unbuffered binary file at position 0, which the caller closes.

    A path that exists is always opened as a file, even if its name looks like a URL.

    Args:
        source: Path, http(s) URL, or address in a store such as `s3://bucket/clip.mp4`.
        limits: Limits of a download.

    Raises:
        VideoNotFoundError: If the file does not exist.
        UnsupportedVideoError: If it is not a regular file, is empty, or begins like text or a still picture.
        VideoUnreadableError: If it cannot be read or fetched.
        VideoTooLargeError: If a download exceeds `limits.max_download_bytes`.
        VideoTimeoutError: If a download exceeds `limits.max_download_s`.
    """
    file = open_source_file(source, limits=limits)
    try:
        refuse_lookalikes(file, source)
    except BaseException:
        file.close()
        raise
    return file


def open_source_file(source: str | os.PathLike[str], *, limits: VideoLimits) -> IO[bytes]:
    """Open any regular file, URL or address in a store like [`open_video_file`], whatever it contains."""
    if is_url(source) and not os.path.lexists(source):
        return fetch_video(str(source), limits=limits)
    if is_store_address(source) and not os.path.lexists(source):
        return cast(IO[bytes], open_store_file(str(source), limits=limits))
    return _open_regular_file(source)


def hash_open_file(file: IO[bytes]) -> str | None:
    """Return the SHA-256 of an open file in hexadecimal; its position stays the same for other readers.

    That of a file in a store is `None` unless it was fetched whole.
    """
    if isinstance(file, StoreFile):
        return file.sha256()
    position = file.tell()
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(position)
    return digest.hexdigest()


def stamp_open_file(file: IO[bytes]) -> tuple[int, int] | None:
    """Return size in bytes and time of change in nanoseconds of an open file; `None` for a file in a store.

    If they stay the same, the file did not change in between, for instance because it was still being copied.
    """
    if isinstance(file, StoreFile):
        return None
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _open_regular_file(source: str | os.PathLike[str]) -> IO[bytes]:
    # O_NONBLOCK: opening a FIFO that nobody writes to would otherwise wait for ever.
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(source, flags)
    except (OSError, ValueError) as error:
        if os.name == "nt" and os.path.isdir(source):  # there, opening any folder is a permission error
            raise UnsupportedVideoError(source, "this is a directory; give the path of a video file") from None
        if isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError)) or error.errno in _NO_SUCH_NAME:
            hint = f"; addresses must begin with {_SCHEMES}" if "://" in str(source) else ""
            raise VideoNotFoundError(source, f"no such file{hint}") from None
        raise VideoUnreadableError(source, f"it cannot be opened ({error.strerror or error})") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "directory" if stat.S_ISDIR(status.st_mode) else "device, pipe or socket"
            raise UnsupportedVideoError(source, f"this is a {kind}; give the path of a video file")
        if status.st_size == 0:
            raise UnsupportedVideoError(source, "the file is empty; download or copy it again")
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def refuse_lookalikes(file: IO[bytes], source: object) -> None:
    """Refuse files that a demuxer must not read: text (playlists, scripts, web pages) and still pictures.

    Args:
        file: An open file at position 0, where it is afterwards.
        source: The file, for messages.

    Raises:
        UnsupportedVideoError: If it begins like a text or a still picture.
        VideoUnreadableError: If it cannot be read.
    """
    try:
        head = file.read(HEAD_BYTES)
        is_moving = is_animated_png(file)
        file.seek(0)
    except OSError as error:
        raise VideoUnreadableError(source, f"it cannot be read ({error.strerror or error})") from None
    if is_moving or head.startswith(b"YUV4MPEG2 "):
        return  # its header is text, and its pixels need not hold a control byte
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    # No container of pictures gets through its first kilobyte without a control byte.
    has_control_bytes = len(head.translate(None, _CONTROL_BYTES)) < len(head)
    is_text = not has_control_bytes or head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if is_text or re.match(rb"#ext|ffconcat|<|\[playlist|v=0|webvtt|[a-z]+://", start, re.IGNORECASE):
        raise UnsupportedVideoError(source, "this is not a video (the file is text); give the path of a video file")
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    if is_webp and head[12:16] == b"VP8X" and head[20:21] and head[20] & 2:
        raise UnsupportedVideoError(
            source, "this is an animated WebP picture, which is not supported; convert it to mp4"
        )
    is_heif = head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS
    if head.startswith(_STILL_PICTURES) or is_webp or is_heif:
        raise UnsupportedVideoError(source, "this is not a video (the file is a still picture)")


def is_animated_png(file: IO[bytes]) -> bool:
    """Return whether a PNG file declares an animation (chunk acTL) of several frames before its first picture."""
    file.seek(0)
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return False
    for _ in range(_MAX_PNG_CHUNKS):
        header = file.read(8)
        if len(header) < 8 or header[4:] in (b"acTL", b"IDAT"):
            return header[4:] == b"acTL" and int.from_bytes(file.read(4), "big") != 1
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)
    return False
