# SPDX-License-Identifier: Apache-2.0
"""Read photos, and animated WebP pictures, with the interface and the limits of a `VideoReader`."""

import contextlib
import hashlib
import importlib
import io
import os
import re
import warnings as python_warnings
from collections.abc import Iterable, Iterator
from typing import IO

import av
import numpy as np
from PIL import Image, UnidentifiedImageError, features

from ..photo_pictures import to_displayed_pixels
from ..video_addresses import printable_name
from ..video_containers import Stopwatch, check_duration
from ..video_errors import (
    UnsupportedVideoError,
    VideoDecodeError,
    VideoError,
    VideoLimits,
    VideoTooLargeError,
    VideoUnreadableError,
)
from ..video_sources import FrameCache, distinct_indices
from ..video_stores import Fetched
from ..video_timestamps import ContainerClock, read_times
from ..video_unread import UnreadRange
from .photo_formats import webp_durations_ms, webp_size


# A picture of 40 million pixels is smaller in every format, unless the file contains something else.
MAX_PHOTO_BYTES = 250_000_000
# Progressive JPEG files have about ten scans. A scan of a few bytes costs the time of a whole picture.
MAX_JPEG_SCANS = 100
MAX_ANIMATION_FRAMES = 100_000
# Pillow reads a file part by part, in Python, with two or three reads for each part. A still GIF picture of 40 million
# pixels of noise takes 430,000 reads, and a PNG file far fewer.
MAX_READS = 600_000
_CACHE_BYTES = 128 << 20
_MAX_DETAIL = 100
# The first box of a video behind the picture, as in the motion photos of Android phones.
_MOTION_PHOTO = re.compile(rb"\x00\x00\x00[\x10-\x40]ftyp(isom|iso[2-9]|mp4[12]|avc1|qt  |MSNV|3gp\d)")


class _GuardedContent(io.BytesIO):
    """The content of a file, for a decoder that may read it only for a limited time, in a limited number of parts."""

    def __init__(self, content: bytes, source: object, watch: Stopwatch) -> None:
        super().__init__(content)
        self._source, self._watch = source, watch
        self._num_reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._num_reads += 1
        if self._num_reads > MAX_READS:
            message = "it consists of too many tiny parts; save it again as JPEG or PNG"
            raise UnsupportedVideoError(self._source, message)
        self._watch.check()
        return super().read(size)


class PhotoReader:
    """
    A photo as a `FrameSource` of one frame, or an animated WebP picture as one of several.

    Args:
        file: The open file; it is read at once and closed.
        source: Path or URL, for messages.
        kind: What [`photo_format`] recognised.
        limits: Limits on what is read.

    Attributes:
        name: The source as one printable line.
        warnings: What a reader of the score should know about the file.
        is_photo: Whether it is a single picture.
        num_frames: Number of frames.
        num_bytes: Size of the file.
        width: Width of the displayed picture in pixels.
        height: Height of the displayed picture in pixels.
        timestamps_s: (num_frames,) float64, when each frame is shown, in seconds.
        fps: Average frames per second.
        duration_s: When the last frame ends, in seconds.
        gaps: Gaps of an animation, as in a `VideoReader`.
        unread: Empty.
        fetched: How many bytes were fetched from a store; `None` for other sources.
        undecodable: Empty: if a frame cannot be decoded, the file counts as damaged.

    Raises:
        UnsupportedVideoError: If the format needs a package that is not installed.
        VideoDecodeError: If the file is damaged.
        VideoTooLargeError: If it exceeds a limit.
        VideoUnreadableError: If the file cannot be read.
    """

    def __init__(self, file: IO[bytes], source: str | os.PathLike[str], kind: str, *, limits: VideoLimits) -> None:
        self.name = printable_name(source)
        self.warnings: list[str] = []
        self._source, self._kind, self._limits = source, kind, limits
        self._watch = Stopwatch(source, limits)
        self._cache = FrameCache(_CACHE_BYTES)
        self._content = self._read(file)
        self.fetched: Fetched | None = getattr(file, "fetched", None)
        self.num_bytes = len(self._content)
        with self._decoding():
            durations_ms = webp_durations_ms(self._content) if kind == "WEBP" else []
        self.is_photo = len(durations_ms) < 2
        if len(durations_ms) > MAX_ANIMATION_FRAMES:
            raise VideoTooLargeError(source, f"the animation has more than {MAX_ANIMATION_FRAMES:,} frames")
        starts_ms = np.cumsum([0, *durations_ms[:-1]])
        times = read_times(starts_ms, ContainerClock(time_base=0.001), last_duration=sum(durations_ms[-1:]))
        if not self.is_photo:
            check_duration(source, times.end_s, limits)
        self.timestamps_s, self.fps, self.duration_s = times.seconds, times.fps, times.end_s
        self.unread: list[UnreadRange] = []
        self.undecodable: set[int] = set()
        self.gaps = times.gap_starts_s
        self.num_frames = len(self.timestamps_s)
        ((_, first),) = self.frames([0])
        self.height, self.width = first.shape[:2]
        self.warnings += times.warnings if not self.is_photo else self._oddities()

    def __enter__(self) -> "PhotoReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def release_frames(self) -> None:
        """Free the pictures that were kept for later calls of [`frames`], which then decode them again."""
        self._cache.clear()

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        self._content = b""
        self._cache.clear()

    def sha256(self) -> str:
        """Return the SHA-256 of the file in hexadecimal."""
        return hashlib.sha256(self._content).hexdigest()

    def frames(self, indices: Iterable[int], *, keep: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        """See `FrameSource.frames`; an animation is decoded from its beginning."""
        wanted = distinct_indices(self, indices)
        self._watch.num_frames += sum(index not in self._cache for index in wanted)
        return self._find(wanted, keep)

    def _find(self, wanted: list[int], keep: bool) -> Iterator[tuple[int, np.ndarray]]:
        image: Image.Image | None = None
        for index in wanted:
            picture = self._cache.get(index)
            if picture is None:
                with self._decoding():
                    image = self._open() if image is None else image
                    for position in range(image.tell() + 1, index + 1):
                        self._watch.check()
                        image.seek(position)
                    picture = to_displayed_pixels(image, is_upright=self._kind == "HEIF", warnings=self.warnings)
                self.warnings[:] = dict.fromkeys(self.warnings)
                if keep or self.is_photo:
                    self._cache.put(index, picture, set(wanted))
            yield index, picture

    def _read(self, file: IO[bytes]) -> bytes:
        content = bytearray()
        try:
            with file:
                while len(content) <= MAX_PHOTO_BYTES and (chunk := file.read(1 << 20)):
                    content += chunk
        except OSError as error:
            raise VideoUnreadableError(self._source, f"it cannot be read ({error.strerror or error})") from None
        if len(content) > MAX_PHOTO_BYTES:
            raise VideoTooLargeError(
                self._source, f"the photo is larger than {MAX_PHOTO_BYTES:,} bytes; scale it down"
            )
        return bytes(content)

    def _open(self) -> Image.Image:
        """Open the picture with the only decoder that may read it; nothing is decoded before its size is checked."""
        if self._kind == "WEBP" and (size := webp_size(self._content[:30])) is not None:
            self._check_size(*size)
        if self._kind == "JPEG" and self._content.count(b"\xff\xda") > MAX_JPEG_SCANS:
            message = f"its JPEG data has more than {MAX_JPEG_SCANS} scans; save it again as JPEG or PNG"
            raise UnsupportedVideoError(self._source, message)
        if self._kind == "HEIF":
            return self._open_heif()
        if self._kind == "AVIF" and not features.check("avif"):
            raise UnsupportedVideoError(self._source, "this Pillow cannot read AVIF photos: pip install -U pillow")
        image = Image.open(_GuardedContent(self._content, self._source, self._watch), formats=[self._kind])
        self._check_size(*image.size)
        if self.is_photo and getattr(image, "n_frames", 1) > 1:
            self.warnings.append("the file contains several pictures; only the first one was scored")
        return image

    def _open_heif(self) -> Image.Image:
        try:
            pillow_heif = importlib.import_module("pillow_heif")
        except ImportError:
            hint = "HEIC photos need pillow-heif: pip install 'deepfake-video[heic]'"
            raise UnsupportedVideoError(self._source, hint) from None
        opened = pillow_heif.open_heif(io.BytesIO(self._content))
        picture = opened[opened.primary_index]
        self._check_size(*picture.size)
        if len(opened) > 1:
            self.warnings.append("the file contains several pictures; only the main one was scored")
        image: Image.Image = picture.to_pillow()
        return image

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._limits.max_frame_pixels:
            raise self._too_many_pixels(f" ({width}x{height})")

    def _too_many_pixels(self, size: str = "") -> VideoTooLargeError:
        bound = f"{self._limits.max_frame_pixels:,} pixels"
        message = f"the picture has more than {bound}{size}; scale it down or raise DEEPFAKE_VIDEO_MAX_FRAME_PIXELS"
        return VideoTooLargeError(self._source, message)

    @contextlib.contextmanager
    def _decoding(self) -> Iterator[None]:
        """Measure the time of a decoder, and turn whatever it raises into a `VideoError`."""
        try:
            with self._watch, python_warnings.catch_warnings():
                # Pillow's warnings about damaged data would be lines without the name of the file.
                python_warnings.simplefilter("ignore")
                yield
                self._watch.check()
        except (VideoError, MemoryError):
            raise
        except Image.DecompressionBombError:
            raise self._too_many_pixels() from None
        except UnidentifiedImageError:
            # Its message names the object in memory from which the file was read.
            message = "the picture is damaged or incomplete (its header cannot be read); copy it again"
            raise VideoDecodeError(self._source, message) from None
        except Exception as error:  # the decoders have no common class for what damaged data leads to
            detail = " ".join(str(error).split())[:_MAX_DETAIL] or type(error).__name__
            message = f"the picture is damaged or incomplete ({detail}); copy it again"
            raise VideoDecodeError(self._source, message) from None

    def _oddities(self) -> list[str]:
        """Describe what is wrong or unusual in a photo; its size was checked before."""
        found = []
        if self._kind == "JPEG":
            with self._decoding():
                is_damaged = _is_damaged_jpeg(self._content, max_pixels=self._limits.max_frame_pixels)
            if is_damaged:
                found.append("its JPEG data is damaged; parts of the picture may be missing or wrong")
        if self._kind in ("JPEG", "HEIF") and _MOTION_PHOTO.search(self._content, 64):
            found.append("the file also contains a video (a motion photo), which was not judged")
        return found


def _is_damaged_jpeg(content: bytes, *, max_pixels: int) -> bool:
    """Whether FFmpeg finds an error in the first picture of a JPEG file; Pillow hides the warnings of libjpeg."""
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(max_pixels)}
    try:
        return not decoder.decode(av.Packet(content))
    except av.error.InvalidDataError:
        return True
    except av.FFmpegError:  # a kind of JPEG that FFmpeg does not decode
        return False
