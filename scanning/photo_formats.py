# SPDX-License-Identifier: Apache-2.0
"""Recognise photos by their first bytes; the name of a file never decides."""

import io
from typing import IO, cast

from ..video_opening import OTHER_PICTURES, is_animated_png


# The usual endings of each format by the name that Pillow gives it; HEIF is read by pillow-heif.
EXTENSIONS_OF = {
    "AVIF": (".avif",),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
}
# Files of these formats are listed among the videos of a folder.
_LISTED_AS_VIDEO = (".gif", ".apng")
PHOTO_EXTENSIONS = frozenset({name for names in EXTENSIONS_OF.values() for name in names}.difference(_LISTED_AS_VIDEO))
_HEAD_BYTES = 64
# Major brands of still pictures (ISO/IEC 23008-12, annex B); "mif1" leaves the codec to the compatible brands.
_HEIF_BRANDS, _AVIF_BRANDS, _OPEN_BRANDS = (
    (b"heic", b"heix", b"heim", b"heis"),
    (b"avif",),
    (b"mif1", b"mif2", b"miaf"),
)
# So many blocks of a GIF file are searched for a second picture; each has at most 256 bytes. A still picture of 40
# million pixels of noise has 213,000.
MAX_GIF_BLOCKS = 250_000
# An animated WebP picture has one chunk for each frame, and a few others.
MAX_WEBP_CHUNKS = 200_000
# JPEG XL and JPEG 2000.
_NEWER_PICTURES = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ", b"\x00\x00\x00\x0cjP  ")


def photo_format(file: IO[bytes]) -> str | None:
    """
    Recognise a photo, or an animated WebP picture.

    Args:
        file: An open file; its position is 0 afterwards.

    Returns:
        A key of `EXTENSIONS_OF`; `None` for anything else, including animated GIF and PNG pictures, which are videos.

    Raises:
        OSError: If the file cannot be read.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    found = _format_of(head)
    if (found == "PNG" and is_animated_png(file)) or (found == "GIF" and is_animated_gif(file)):
        found = None
    file.seek(0)
    return found


def is_other_picture(file: IO[bytes]) -> bool:
    """
    Tell whether a file is a still picture of a format that is not read, such as BMP, TIFF or a raw format.

    Args:
        file: An open file; its position is 0 afterwards.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return head.startswith((*OTHER_PICTURES, *_NEWER_PICTURES))


def is_animated_gif(file: IO[bytes]) -> bool:
    """
    Tell whether a GIF file holds a second picture.

    A damaged file counts as animated, and so does one whose first `MAX_GIF_BLOCKS` blocks do not show it.

    Args:
        file: An open GIF file.
    """
    file.seek(0)
    # The file itself is not buffered, and each block takes two short reads.
    buffered = io.BufferedReader(cast(io.RawIOBase, file), 1 << 16)
    try:
        return _has_second_picture(buffered)
    finally:
        buffered.detach()


def _has_second_picture(file: IO[bytes]) -> bool:
    header = file.read(13)
    _skip_colours(file, header[10:11])
    num_pictures = num_blocks = 0
    while num_pictures < 2:
        kind = file.read(1)
        if kind == b"\x21":  # an extension: its label and sub-blocks
            file.read(1)
        elif kind == b"\x2c":  # a picture: its place, colours, code size and sub-blocks
            num_pictures += 1
            _skip_colours(file, file.read(9)[8:9])
            file.read(1)
        else:
            return kind != b"\x3b"
        while size := file.read(1):
            num_blocks += 1
            if num_blocks > MAX_GIF_BLOCKS:
                return True
            if size == b"\x00":
                break
            file.seek(size[0], 1)
    return True


def webp_size(head: bytes) -> tuple[int, int] | None:
    """
    Read width and height of a WebP picture, which a decoder reserves memory for as soon as it opens the file.

    Args:
        head: The first 30 bytes of the file.
    """
    kind, body = head[12:16], head[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


def webp_durations_ms(content: bytes) -> list[int]:
    """
    Read how long each frame of an animated WebP picture is shown (RFC 9649, 2.7.1.3).

    Args:
        content: The file.

    Returns:
        Milliseconds of each frame; empty for a still picture. A frame with a duration of at most 10 ms is shown for
        100 ms, as in browsers.

    Raises:
        ValueError: If the file has more than `MAX_WEBP_CHUNKS` chunks.
    """
    durations = []
    place = 12
    num_chunks = 0
    while len(header := content[place : place + 8]) == 8:
        if header[:4] == b"ANMF":
            duration = int.from_bytes(content[place + 20 : place + 23], "little")
            durations.append(duration if duration > 10 else 100)
        num_chunks += 1
        if num_chunks > MAX_WEBP_CHUNKS:
            raise ValueError(f"it has more than {MAX_WEBP_CHUNKS:,} chunks")
        size = int.from_bytes(header[4:], "little")
        place += 8 + size + size % 2
    return durations


def _format_of(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] != b"ftyp":
        return None
    size = int.from_bytes(head[:4], "big")
    major, compatible = head[8:12], [head[place : place + 4] for place in range(16, min(size, len(head)), 4)]
    brands = [major, *compatible] if major in _OPEN_BRANDS else [major]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    return "HEIF" if any(brand in _HEIF_BRANDS for brand in brands) else None


def _skip_colours(file: IO[bytes], flags: bytes) -> None:
    """Skip a colour table of GIF, if the flags say that there is one."""
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, 1)
