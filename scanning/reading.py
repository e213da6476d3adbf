# SPDX-License-Identifier: Apache-2.0
"""From a path to clips: the half of scoring that needs no network and can run in another process."""

from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..face_cropping import FaceTrack, find_face_tracks
from ..image_processing_deepfake import Clip, DeepfakeVideoProcessor
from ..video_decoding import VideoDecodeError, VideoError, VideoReader, VideoUnreadableError
from .settings import ScanSettings


# Below this share of frames with a face the result carries a warning.
LOW_FACE_COVERAGE = 0.5


@dataclass(frozen=True, kw_only=True)
class SeenFace:
    """
    One person, before anything is judged.

    Attributes:
        track: Where the face is.
        coverage: Share of the sampled frames in which it was detected.
        first_s: When it is first seen, in seconds on the player's clock.
        last_s: When it is last seen, in seconds on the player's clock.
    """

    track: FaceTrack
    coverage: float
    first_s: float
    last_s: float


@dataclass(frozen=True, kw_only=True)
class ReadVideo:
    """
    What the networks judge, and what is known of the video without them; it can be pickled.

    Attributes:
        path: As it was given.
        duration_s: When the last frame ends, in seconds on the player's clock.
        sha256: Of the file.
        warnings: What a reader of the score should know.
        face_coverage: Share of the sampled frames with a detected face; `None` without face cropping.
        faces: The main face first; empty without face cropping.
        clips: For each model one clip a face, or one of the whole frames.
        times_s: When each frame of the clips is shown, by its index.
    """

    path: str
    duration_s: float
    sha256: str
    warnings: list[str]
    face_coverage: float | None
    faces: list[SeenFace]
    clips: list[list[Clip]]
    times_s: dict[int, float]


def read_video(path: str | Path, processors: Sequence[DeepfakeVideoProcessor], settings: ScanSettings) -> ReadVideo:
    """
    Open a video, find the faces once for all models, and crop each model's clips.

    Args:
        path: A file or http(s) address.
        processors: One a model.
        settings: The choices of the scan.

    Raises:
        VideoError: If the video cannot be judged; its `reason` is the status.
    """
    with VideoReader(path, limits=settings.limits) as reader:
        return read_open_video(path, reader, processors, settings)


def as_video_error(path: str | Path, error: Exception) -> VideoError:
    """What went wrong with one video as its status and reason: an unforeseen error is no reason to lose the others."""
    if isinstance(error, VideoError):
        return error
    if isinstance(error, BrokenProcessPool):
        return VideoUnreadableError(path, "the process that read it died: too little memory, or a fault in a decoder")
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, (OSError, MemoryError)):
        return VideoUnreadableError(path, f"it cannot be read here ({said})")
    return VideoDecodeError(path, f"judging it failed ({said}); please report this")


def read_open_video(
    path: str | Path, reader: VideoReader, processors: Sequence[DeepfakeVideoProcessor], settings: ScanSettings
) -> ReadVideo:
    """[`read_video`] for a video that is open already."""
    sampled = [processor.frame_indices(reader.num_frames, num_frames=settings.num_frames) for processor in processors]
    every = np.unique(np.concatenate(sampled))
    tracks = find_faces(reader, every, processors, settings)
    clips = [
        _read_clips(processor, reader, indices, tracks, is_ensemble=len(processors) > 1)
        for processor, indices in zip(processors, sampled, strict=True)
    ]
    warnings = []
    if reader.num_frames < (wanted := max(map(len, sampled))):
        plural = "s" if reader.num_frames > 1 else ""
        few = f"the video has only {reader.num_frames} frame{plural}, fewer than the {wanted} wanted"
        warnings.append(f"{few}; some were judged more than once")
    coverage = None if tracks is None else _coverage(tracks, every)
    if tracks and (turns := tracks[0].quarter_turns):
        turned = f"faces are upright only with the picture turned by {90 * turns} degrees counterclockwise"
        warnings.append(f"{turned}: they are judged like that")
    if coverage is not None and coverage < LOW_FACE_COVERAGE:
        warnings.append(f"a face was found in only {coverage:.0%} of the sampled frames")
    return ReadVideo(
        path=str(path),
        duration_s=reader.duration_s,
        sha256=reader.sha256(),
        warnings=[*reader.warnings, *warnings],
        face_coverage=coverage,
        faces=[_seen(reader, track, every) for track in tracks or ()],
        clips=clips,
        times_s=times_of(clips, reader.timestamps_s),
    )


def times_of(clips: Sequence[Sequence[Clip]], timestamps_s: np.ndarray) -> dict[int, float]:
    """When each frame of the clips is shown, by its index."""
    indices = np.unique(np.concatenate([clip.frame_indices for of_model in clips for clip in of_model]))
    return dict(zip(indices.tolist(), timestamps_s[indices].tolist(), strict=True))


def find_faces(
    reader: VideoReader,
    indices: np.ndarray,
    processors: Sequence[DeepfakeVideoProcessor],
    settings: ScanSettings,
) -> list[FaceTrack] | None:
    """Tracks on the frames of all models together; `None` where faces are not cropped."""
    cropping = [processor for processor in processors if processor.do_crop_faces]
    if settings.faces == "none" or not cropping:
        return None
    return find_face_tracks(reader, indices, settings=cropping[0].face_settings())


def _read_clips(
    processor: DeepfakeVideoProcessor,
    reader: VideoReader,
    indices: np.ndarray,
    tracks: list[FaceTrack] | None,
    is_ensemble: bool,
) -> list[Clip]:
    if tracks is None:
        return processor.read_clips(reader, indices, do_crop_faces=False, keep_frames=is_ensemble)
    if is_ensemble:
        tracks = [_restrict(track, indices) for track in tracks]
    return processor.crop_clips(reader, tracks, len(indices))


def _restrict(track: FaceTrack, indices: np.ndarray) -> FaceTrack:
    """The part of a track on one model's frames; all of it where the face stands on none of them."""
    part = track.on_frames(indices)
    return part if len(part.frame_indices) else track


def _coverage(tracks: Sequence[FaceTrack], indices: np.ndarray) -> float:
    """Share of the sampled frames in which any of the faces was detected."""
    detected = np.concatenate([track.frame_indices[~track.interpolated] for track in tracks])
    return len(np.intersect1d(detected, indices)) / len(indices)


def _seen(reader: VideoReader, track: FaceTrack, indices: np.ndarray) -> SeenFace:
    times = reader.timestamps_s[track.frame_indices]
    return SeenFace(
        track=track, coverage=_coverage([track], indices), first_s=float(times[0]), last_s=float(times[-1])
    )
