# SPDX-License-Identifier: Apache-2.0
"""Reads the frames of a sample as the networks need them, uncorrupted and corrupted."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..clip_sampling import Clip, ClipSampler
from ..photo_pictures import to_displayed_pixels
from ..scanning.clip_reading import ReadVideo, read_video, times_of
from ..scanning.media import open_media
from ..scanning.settings import ScanSettings
from ..video_decoding import (
    FrameSource,
    UnsupportedVideoError,
    VideoDecodeError,
    VideoLimits,
    VideoNotFoundError,
    VideoTooLargeError,
)
from ..video_sources import distinct_indices
from ..video_timestamps import NOMINAL_FPS
from ..watched_frames import WatchedFrames
from .corruptions import Corruption, corrupt
from .samples import Sample


# Pillow opens many more formats, and runs an interpreter on one of them (EPS).
PICTURE_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")


class ImageSequence:
    """
    Images on disk with the interface of a `VideoReader`; an image is opened when it is requested.

    As in photos, orientation, colour profile and transparency are applied.

    Args:
        paths: Image files in order; at least one.
        limits: Limit on the size of an image.

    Raises:
        ValueError: If there is no image.
    """

    def __init__(self, paths: Sequence[Path], *, limits: VideoLimits | None = None) -> None:
        if not paths:
            raise ValueError("an image sequence needs at least one image.")
        self.name = str(paths[0].parent)
        self.warnings: list[str] = []
        self.num_frames = len(paths)
        self.fps = NOMINAL_FPS
        self.timestamps_s = np.arange(len(paths)) / NOMINAL_FPS
        self.duration_s = len(paths) / NOMINAL_FPS
        self._paths = paths
        self._limits = limits or VideoLimits.from_environment()

    @property
    def width(self) -> int:
        """Width of the first image in pixels."""
        return int(self._open(0).shape[1])

    @property
    def height(self) -> int:
        """Height of the first image in pixels."""
        return int(self._open(0).shape[0])

    def frames(self, indices: Iterable[int], *, keep: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        """
        Yield index and image, `(H, W, 3)` uint8 RGB, once for each distinct index in ascending order.

        Args:
            indices: Indices of frames.

        Raises:
            IndexError: If an index is outside 0 to num_frames - 1.
            VideoError: If an image is missing, damaged or too large.
        """
        return ((index, self._open(index)) for index in distinct_indices(self, indices))

    def _open(self, index: int) -> np.ndarray:
        path = self._paths[index]
        try:
            with Image.open(path, formats=PICTURE_FORMATS) as image:
                if image.width * image.height > self._limits.max_frame_pixels:
                    raise VideoTooLargeError(path, f"the image has {image.width} x {image.height} pixels")
                return to_displayed_pixels(image)
        except FileNotFoundError as error:
            raise VideoNotFoundError(path, "no such image") from error
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise VideoDecodeError(path, f"the image cannot be read ({error})") from error


def read_sample(sample: Sample, processors: Sequence[ClipSampler], settings: ScanSettings) -> ReadVideo:
    """
    Read the clips of a sample. Face images are used whole, without face detection; faces are searched in photos.

    Args:
        sample: The sample.
        processors: Processor of each model.
        settings: Scoring settings.

    Raises:
        VideoError: If the sample cannot be scored; `reason` is the status.
    """
    if not sample.images:
        video = read_video(sample.path, processors, settings)
        if video.is_photo and not sample.may_be_photo:
            raise UnsupportedVideoError(sample.path, "this is a photo; --photos searches for the faces in photos")
        return video
    source = WatchedFrames(ImageSequence(sample.images, limits=settings.limits))
    clips = []
    for processor in processors:
        indices = processor.frame_indices(source.num_frames, num_frames=settings.num_frames)
        clips.append(processor.read_clips(source, indices, do_crop_faces=False))
    return ReadVideo(
        path=str(sample.path),
        duration_s=source.duration_s,
        sha256="",
        warnings=[],
        face_coverage=None,
        faces=[[] for _ in processors],
        clips=clips,
        times_s=times_of(clips, source.timestamps_s),
        thumbnails=source.thumbnails,
    )


def read_corrupted(
    sample: Sample,
    clean: ReadVideo,
    processors: Sequence[ClipSampler],
    settings: ScanSettings,
    corruptions: Iterable[Corruption],
    *,
    seed: int,
) -> Iterator[tuple[Corruption, ReadVideo]]:
    """
    Yield each corruption with the clips of the same frames and face boxes, cut out of corrupted frames.

    The boxes are those of the uncorrupted frames, so that the scores show what a corruption does to the network and
    not to the face detector.

    Args:
        sample: The sample.
        clean: Result of [`read_sample`].
        processors: Processor of each model.
        settings: Scoring settings.
        corruptions: The corruptions.
        seed: Seed of the random corruptions.

    Raises:
        VideoError: If the video can no longer be read.
    """
    with _open(sample, settings) as source:
        for corruption in corruptions:
            degraded = _CorruptedFrames(source, corruption, video=sample.key, seed=seed)
            clips = [
                _cut_again(processor, degraded, of_model)
                for processor, of_model in zip(processors, clean.clips, strict=True)
            ]
            yield corruption, replace(clean, clips=clips)


def _open(sample: Sample, settings: ScanSettings) -> AbstractContextManager[FrameSource]:
    if sample.images:
        return nullcontext(ImageSequence(sample.images, limits=settings.limits))
    return open_media(sample.path, limits=settings.limits)


def _cut_again(processor: ClipSampler, source: FrameSource, clips: Sequence[Clip]) -> list[Clip]:
    tracks = [clip.track for clip in clips if clip.track is not None]
    if not tracks:
        return processor.read_clips(source, clips[0].frame_indices, do_crop_faces=False)
    return processor.crop_clips(source, tracks, len(clips[0].frames))


class _CorruptedFrames:
    """A frame source that corrupts the frames it yields."""

    def __init__(self, source: FrameSource, corruption: Corruption, *, video: str, seed: int) -> None:
        self.name, self.warnings = source.name, source.warnings
        self.num_frames, self.fps, self.duration_s = source.num_frames, source.fps, source.duration_s
        self.width, self.height, self.timestamps_s = source.width, source.height, source.timestamps_s
        self._source, self._corruption, self._video, self._seed = source, corruption, video, seed

    def frames(self, indices: Iterable[int], *, keep: bool = True) -> Iterator[tuple[int, np.ndarray]]:
        return corrupt(self._source.frames(indices), self._corruption, video=self._video, seed=self._seed)
