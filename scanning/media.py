# SPDX-License-Identifier: Apache-2.0
"""Open a file that may be a video or a photo. What it is follows from its content, never from its name."""

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..common.errors import UsageError
from ..video_addresses import is_address
from ..video_errors import UnsupportedVideoError, VideoError, VideoLimits, VideoUnreadableError
from ..video_opening import open_source_file, refuse_lookalikes
from .photo_formats import EXTENSIONS_OF, is_other_picture, photo_format
from .results import Media


if TYPE_CHECKING:
    from ..video_sources import MediaReader


SEQUENCE_HINT = (
    "the model judges a sequence of frames, and a photo is a single one; use a model that judges frames one by one, "
    "such as the packaged checkpoint"
)


def open_media(source: str | Path, *, limits: VideoLimits | None = None, name: str | None = None) -> "MediaReader":
    """
    Open a video or a photo; the caller closes it.

    Args:
        source: Path, http(s) URL or address in a store.
        limits: Limits on what is read; read from the environment by default.
        name: The name that the file has for its user, if it was saved under another one.

    Returns:
        A `VideoReader`, or a [`PhotoReader`] for photos and animated WebP pictures.

    Raises:
        VideoError: If it cannot be read as either; each subclass stands for one reason.
    """
    limits = limits if limits is not None else VideoLimits.from_environment()
    file, kind = open_recognised(source, limits=limits)
    try:
        if kind is None:
            # Imports the video libraries.
            from ..video_decoding import VideoReader

            reader: MediaReader = VideoReader(source, limits=limits, file=file)
        else:
            from .photo_reader import PhotoReader

            reader = PhotoReader(file, source, kind, limits=limits)
    except BaseException:
        file.close()
        raise
    if note := _note_on_name(source if name is None else name, kind):
        reader.warnings.append(note)
    return reader


def check_decode_device(limits: VideoLimits | None = None) -> None:
    """
    Check that videos can be decoded on the device that the limits name, so that work does not fail at every video.

    Args:
        limits: Limits on what is read; read from the environment by default.

    Raises:
        UsageError: If they cannot, or if an environment variable with a limit is invalid.
    """
    try:
        device = (limits if limits is not None else VideoLimits.from_environment()).decode_device
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    if device == "cpu":
        return
    from ..video_hardware import DecodeDeviceError, find_device

    try:
        find_device(device)
    except DecodeDeviceError as error:
        raise UsageError(f"{error}.") from None


def open_recognised(source: str | Path, *, limits: VideoLimits) -> tuple[IO[bytes], str | None]:
    """
    Open a file and recognise what it is, without reading more than its beginning.

    Args:
        source: Path, http(s) URL or address in a store.
        limits: Limits of a download.

    Returns:
        The file at position 0, and the format of a photo, see [`photo_format`]; `None` for what may be a video.

    Raises:
        VideoError: If it cannot be opened, or is certainly neither a video nor a photo.
    """
    file = open_source_file(source, limits=limits)
    try:
        kind = photo_format(file)
        if is_other_picture(file):
            raise UnsupportedVideoError(source, "this kind of picture is not supported; convert it to JPEG or PNG")
        if kind is None:
            refuse_lookalikes(file, source)
        return file, kind
    except OSError as error:
        file.close()
        raise VideoUnreadableError(source, f"it cannot be read ({error.strerror or error})") from None
    except VideoError:
        file.close()
        raise


def photo_error(path: str | Path) -> UnsupportedVideoError:
    """The error of a photo that a model for several frames cannot score."""
    return UnsupportedVideoError(path, SEQUENCE_HINT)


def known_of(reader: "MediaReader") -> dict[str, Any]:
    """
    Return what the result of a file without a score says about the file.

    With its hash and length, a scan that is resumed does not read the file again.
    """
    media: Media = "image" if reader.is_photo else "video"
    duration_s = None if reader.is_photo else reader.duration_s
    return {"media": media, "duration_s": duration_s, "sha256": reader.sha256()}


def _note_on_name(source: str | Path, kind: str | None) -> str | None:
    """A sentence about a name whose ending belongs to another format."""
    name = urlsplit(str(source)).path if is_address(source) else os.fspath(source)
    extension = os.path.splitext(name)[1].lower()
    is_of_photo = any(extension in names for names in EXTENSIONS_OF.values())
    if kind is not None and extension and extension not in EXTENSIONS_OF[kind]:
        return f"the file is a picture in {kind} format, although its name ends in {extension}"
    # Pictures of these formats may be animated.
    may_move = (*EXTENSIONS_OF["PNG"], *EXTENSIONS_OF["GIF"], *EXTENSIONS_OF["AVIF"])
    if kind is None and is_of_photo and extension not in may_move:
        return f"the file is a video, although its name ends in {extension}"
    return None
