# SPDX-License-Identifier: Apache-2.0
"""From a path to clips: the part of scoring that needs no network and can run in another process."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..clip_sampling import Clip, ClipSampler
from ..face_cropping import FaceCropSettings, FaceTrack, find_face_tracks
from ..face_tracking import MIN_IOU, box_iou
from ..video_errors import VideoDecodeError, VideoError, VideoUnreadableError
from ..video_sources import FrameSource, MediaReader
from ..watched_frames import WatchedFrames
from .different_frames import count_different
from .framewise import NoNumberError
from .media import open_media
from .memory import memory_errors
from .results import PHOTO_WARNING
from .settings import ScanSettings


# Below this share of frames with a face, the result carries a warning.
LOW_FACE_COVERAGE = 0.5
# Only the most prominent faces of a video are scored, so that no small file takes minutes. The clip of one face takes
# 0.4 s of CPU time with the packaged checkpoint, and ordinary groups have fewer faces.
MAX_FACES = 24
# What reading or scoring one video may raise; see `as_video_error`.
VIDEO_FAILURES = (ValueError, OSError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class SeenFace:
    """
    One face of a video before it is scored.

    Attributes:
        track: Position of the face in each frame.
        coverage: Share of the sampled frames in which it was detected.
        first_s: Time at which it is first seen, in seconds from the start of the container.
        last_s: Time at which it is last seen, in seconds from the start of the container.
        size_px: Typical side of its box in pixels of the displayed picture.
    """

    track: FaceTrack
    coverage: float
    first_s: float
    last_s: float
    size_px: float


@dataclass(frozen=True, kw_only=True)
class ReadVideo:
    """
    The clips of a video and everything known about it without a network. It can be pickled.

    Attributes:
        path: The path or URL as it was given.
        duration_s: End of the last frame, in seconds from the start of the container; `None` for a photo.
        sha256: SHA-256 of the file; `None` if it was not fetched whole from its store.
        warnings: Warnings that affect the interpretation of the score.
        face_coverage: Share of the sampled frames with a detected face, for an ensemble the minimum over its models.
            `None` without face cropping.
        faces: For each model the faces that it scores, the main face first; an empty list if it scores whole frames.
            A person has the same `track_id` for all models.
        clips: For each model one clip per face, or a single clip of whole frames.
        times_s: Display time of each frame of the clips in seconds, by its index in the video.
        bits_per_pixel: Bits of the video stream per pixel and frame; `None` if unknown.
        is_photo: Whether it is a still picture, of which each model scores the only frame once.
        looked_at: Indices of the sampled frames of all models.
        num_left_out: Number of faces that were found and are not scored, see `MAX_FACES`; for an ensemble the maximum
            over its models.
        thumbnails: Thumbnail of each frame of the clips by its index in the video, see [`WatchedFrames`].
    """

    path: str
    duration_s: float | None
    sha256: str | None
    warnings: list[str]
    face_coverage: float | None
    faces: list[list[SeenFace]]
    clips: list[list[Clip]]
    times_s: dict[int, float]
    bits_per_pixel: float | None = None
    is_photo: bool = False
    looked_at: frozenset[int] = frozenset()
    num_left_out: int = 0
    thumbnails: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def people(self) -> list[SeenFace]:
        """Each person once, with the face track of the first model that detected them."""
        first: dict[int, SeenFace] = {}
        for of_model in self.faces:
            for face in of_model:
                first.setdefault(face.track.track_id, face)
        return [first[track_id] for track_id in sorted(first)]

    @property
    def num_different(self) -> int:
        """
        Number of different frames in the clip with the most; 1 for a still picture in the form of a video.

        Whole frames are compared, because the box of a face jitters, and with it the crops of a still picture.
        """
        return max(count_different(clip.frame_indices, self.thumbnails) for clips in self.clips for clip in clips)


def read_video(path: str | Path, processors: Sequence[ClipSampler], settings: ScanSettings) -> ReadVideo:
    """
    Open a video or photo and read the clips of each model. Each gets the same clips that it would get on its own.

    Args:
        path: Path or address.
        processors: The preprocessing of each model.
        settings: The settings of the scan.

    Raises:
        VideoError: If the video cannot be scored. Its `reason` is the status of the result.
    """
    with open_media(path, limits=settings.limits) as reader:
        return read_open_video(path, reader, processors, settings)


def as_video_error(path: str | Path, error: Exception) -> VideoError:
    """
    Turn any error of one video into a `VideoError`, so that an unexpected one does not end the scan of the others.

    Args:
        path: The path or URL of the video.
        error: The error.
    """
    if isinstance(error, VideoError):
        return error
    if isinstance(error, BrokenProcessPool):
        return VideoUnreadableError(
            path, "the process that read it died, because it ran out of memory or a decoder crashed"
        )
    if isinstance(error, NoNumberError):
        return VideoDecodeError(path, f"{error}, because its weights are too large; use another model")
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return VideoUnreadableError(path, f"it cannot be read ({error.strerror or said}); try again")
    if isinstance(error, MemoryError):
        return VideoUnreadableError(path, "there is not enough memory to score it; try again with fewer processes")
    return VideoDecodeError(path, f"scoring it failed ({said}); please report this")


@memory_errors()
def read_open_video(
    path: str | Path, reader: MediaReader, processors: Sequence[ClipSampler], settings: ScanSettings
) -> ReadVideo:
    """[`read_video`] of a video that is already open."""
    sampled = [_sample(reader, processor, settings) for processor in processors]
    watched = WatchedFrames(reader)
    searched = _find_faces_for_each(watched, sampled, processors, settings)
    tracks = [None if search is None else search.scored for search in searched]
    clips = [
        _read_clips(processor, watched, indices, of_model, is_ensemble=len(processors) > 1)
        for processor, indices, of_model in zip(processors, sampled, tracks, strict=True)
    ]
    cropped = [(search.found, indices) for search, indices in zip(searched, sampled, strict=True) if search]
    num_found = max((len(found) for found, _ in cropped), default=0)
    num_left_out = max(0, num_found - MAX_FACES)
    warnings = []
    if reader.is_photo:
        warnings.append(PHOTO_WARNING)
    elif reader.num_frames < (wanted := max(map(len, sampled))):
        plural = "s" if reader.num_frames > 1 else ""
        source = "of the model" if settings.num_frames is None else "that were asked for"
        few = f"the video has only {reader.num_frames} frame{plural}, fewer than the {wanted} {source}"
        warnings.append(f"{few}; some were scored more than once")
    if turns := max((found[0].quarter_turns for found, _ in cropped), default=0):
        warnings.append(f"the picture was rotated by {90 * turns} degrees counterclockwise before scoring")
    if num_left_out:
        warnings.append(f"{num_found} faces were found, and only the {MAX_FACES} most prominent ones were scored")
    coverages = [_coverage(found, np.unique(indices)) for found, indices in cropped]
    coverage = min(coverages, default=None)
    if coverage is not None and coverage < LOW_FACE_COVERAGE:
        warnings.append(_warn_of_coverage(coverage, *cropped[coverages.index(coverage)]))
    times = times_of(clips, reader.timestamps_s)
    return ReadVideo(
        path=str(path),
        duration_s=None if reader.is_photo else reader.duration_s,
        sha256=reader.sha256(),
        warnings=[*reader.warnings, *warnings],
        face_coverage=coverage,
        faces=[
            [_seen(reader, track, np.unique(indices)) for track in scored or ()]
            for scored, indices in zip(tracks, sampled, strict=True)
        ],
        clips=clips,
        times_s=times,
        bits_per_pixel=None if reader.is_photo else _bits_per_pixel(reader),
        is_photo=reader.is_photo,
        looked_at=frozenset(np.concatenate(sampled).tolist()),
        num_left_out=num_left_out,
        thumbnails={index: watched.thumbnails[index] for index in times},
    )


def _sample(reader: MediaReader, processor: ClipSampler, settings: ScanSettings) -> np.ndarray:
    if reader.is_photo:
        return np.zeros(1, np.int64)
    return processor.frame_indices(reader.num_frames, num_frames=settings.num_frames)


def _bits_per_pixel(reader: MediaReader) -> float:
    return 8 * reader.num_bytes / (reader.num_frames * reader.width * reader.height)


def times_of(clips: Sequence[Sequence[Clip]], timestamps_s: np.ndarray) -> dict[int, float]:
    """Return the display time of each frame of the clips in seconds, by its index in the video."""
    indices = np.unique(np.concatenate([clip.frame_indices for of_model in clips for clip in of_model]))
    return dict(zip(indices.tolist(), timestamps_s[indices].tolist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class _FaceSearch:
    """All faces that a search found, and the most prominent ones, which are scored and have the numbers of people."""

    found: list[FaceTrack]
    scored: list[FaceTrack]


def _find_faces_for_each(
    source: FrameSource,
    sampled: Sequence[np.ndarray],
    processors: Sequence[ClipSampler],
    settings: ScanSettings,
) -> list[_FaceSearch | None]:
    """
    Find the face tracks for each model, as if it were the only one; `None` for a model that scores whole frames.

    Models that search the same frames with the same settings share one search.
    """
    searches: dict[tuple[bytes, FaceCropSettings], _FaceSearch] = {}
    people: list[FaceTrack] = []
    of_models: list[_FaceSearch | None] = []
    for processor, indices in zip(processors, sampled, strict=True):
        if not crops_faces(processor, settings):
            of_models.append(None)
            continue
        frames = np.unique(indices)
        key = (frames.tobytes(), search_settings(processor))
        if key not in searches:
            found = find_face_tracks(source, frames, settings=search_settings(processor))
            # The main face comes first, and then the others by size and number of frames.
            searches[key] = _FaceSearch(found=found, scored=_number_alike(found[:MAX_FACES], people))
            known = {track.track_id for track in people}
            people += [track for track in searches[key].scored if track.track_id not in known]
        of_models.append(searches[key])
    return of_models


def crops_faces(processor: ClipSampler, settings: ScanSettings) -> bool:
    """Whether a model scores face crops instead of whole frames."""
    return bool(processor.do_crop_faces) and settings.faces != "none"


def search_settings(processor: ClipSampler) -> FaceCropSettings:
    """The settings of a model that affect the face search, with defaults for those that only affect the crop."""
    plain = FaceCropSettings()
    return replace(processor.face_settings(), margin=plain.margin, square=plain.square, padding=plain.padding)


def _number_alike(found: Sequence[FaceTrack], people: Sequence[FaceTrack]) -> list[FaceTrack]:
    """The tracks of one search in their order, renumbered to match the people that other searches found."""
    if not people:
        return list(found)
    free = {track.track_id: track for track in people}
    newcomer = len(people)
    numbered = []
    for track in found:
        overlap, number = max(((_overlap(track, other), -n) for n, other in free.items()), default=(0.0, 0))
        if overlap > MIN_IOU:
            del free[-number]
            numbered.append(replace(track, track_id=-number))
        else:
            numbered.append(replace(track, track_id=newcomer))
            newcomer += 1
    return numbered


def _overlap(track: FaceTrack, other: FaceTrack) -> float:
    """Mean overlap (IoU) of the boxes of two tracks at the same frames."""
    sides = [np.interp(track.frame_indices, other.frame_indices, other.boxes[:, side]) for side in range(4)]
    return float(np.mean([box_iou(*pair) for pair in zip(track.boxes, np.stack(sides, axis=1), strict=True)]))


def find_faces(
    source: FrameSource,
    indices: np.ndarray,
    processors: Sequence[ClipSampler],
    settings: ScanSettings,
) -> list[FaceTrack] | None:
    """Find the face tracks for models that search alike; `None` for models that score whole frames."""
    cropping = [processor for processor in processors if crops_faces(processor, settings)]
    if not cropping:
        return None
    return find_face_tracks(source, indices, settings=cropping[0].face_settings())


def _read_clips(
    processor: ClipSampler,
    source: FrameSource,
    indices: np.ndarray,
    tracks: list[FaceTrack] | None,
    is_ensemble: bool,
) -> list[Clip]:
    if tracks is None:
        return processor.read_clips(source, indices, do_crop_faces=False, keep_frames=is_ensemble)
    return processor.crop_clips(source, tracks, len(indices))


def _coverage(tracks: Sequence[FaceTrack], indices: np.ndarray) -> float:
    """Share of the sampled frames in which at least one of the faces was detected."""
    return len(np.intersect1d(_detected(tracks), indices)) / len(indices)


def _detected(tracks: Sequence[FaceTrack]) -> np.ndarray:
    """Indices of the frames in which at least one of the faces was detected."""
    return np.unique(np.concatenate([track.frame_indices[~track.interpolated] for track in tracks]))


def _warn_of_coverage(coverage: float, tracks: Sequence[FaceTrack], indices: np.ndarray) -> str:
    if coverage > 0:
        return f"a face was found in only {coverage:.0%} of the sampled frames"
    # Further frames are searched if there is no face in the sampled ones.
    return (
        f"a face was found in none of the {len(np.unique(indices))} sampled frames; {len(_detected(tracks))} of the "
        "further frames that were searched show one, and the score is based on these"
    )


def _seen(reader: MediaReader, track: FaceTrack, indices: np.ndarray) -> SeenFace:
    times = reader.timestamps_s[track.frame_indices]
    return SeenFace(
        track=track,
        coverage=_coverage([track], indices),
        first_s=float(times[0]),
        last_s=float(times[-1]),
        size_px=math.sqrt(track.median_area),
    )
