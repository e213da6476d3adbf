# SPDX-License-Identifier: Apache-2.0
"""From a path to clips: the half of scoring that needs no network and can run in another process."""

from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..face_cropping import FaceCropSettings, FaceTrack, find_face_tracks
from ..face_tracking import MIN_IOU, box_iou
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
        face_coverage: Share of the sampled frames with a detected face, of an ensemble the lowest of its models';
            `None` without face cropping.
        faces: For each model the faces that it judges, its main face first; none where it judges whole frames. A
            person has the same `track_id` for all models.
        clips: For each model one clip for each of its faces, or one of the whole frames.
        times_s: When each frame of the clips is shown, by its index.
    """

    path: str
    duration_s: float
    sha256: str
    warnings: list[str]
    face_coverage: float | None
    faces: list[list[SeenFace]]
    clips: list[list[Clip]]
    times_s: dict[int, float]

    @property
    def people(self) -> list[SeenFace]:
        """Every person once, as the first model sees them that does."""
        first: dict[int, SeenFace] = {}
        for of_model in self.faces:
            for face in of_model:
                first.setdefault(face.track.track_id, face)
        return [first[track_id] for track_id in sorted(first)]


def read_video(path: str | Path, processors: Sequence[DeepfakeVideoProcessor], settings: ScanSettings) -> ReadVideo:
    """
    Open a video and crop each model's clips: each model gets what it would get alone.

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
    tracks = _find_faces_for_each(reader, sampled, processors, settings)
    clips = [
        _read_clips(processor, reader, indices, of_model, is_ensemble=len(processors) > 1)
        for processor, indices, of_model in zip(processors, sampled, tracks, strict=True)
    ]
    cropped = [(found, indices) for found, indices in zip(tracks, sampled, strict=True) if found is not None]
    warnings = []
    if reader.num_frames < (wanted := max(map(len, sampled))):
        plural = "s" if reader.num_frames > 1 else ""
        few = f"the video has only {reader.num_frames} frame{plural}, fewer than the {wanted} wanted"
        warnings.append(f"{few}; some were judged more than once")
    if turns := max((found[0].quarter_turns for found, _ in cropped), default=0):
        turned = f"faces are upright only with the picture turned by {90 * turns} degrees counterclockwise"
        warnings.append(f"{turned}: they are judged like that")
    coverage = min((_coverage(found, np.unique(indices)) for found, indices in cropped), default=None)
    if coverage is not None and coverage < LOW_FACE_COVERAGE:
        warnings.append(f"a face was found in only {coverage:.0%} of the sampled frames")
    return ReadVideo(
        path=str(path),
        duration_s=reader.duration_s,
        sha256=reader.sha256(),
        warnings=[*reader.warnings, *warnings],
        face_coverage=coverage,
        faces=[
            [_seen(reader, track, np.unique(indices)) for track in found or ()]
            for found, indices in zip(tracks, sampled, strict=True)
        ],
        clips=clips,
        times_s=times_of(clips, reader.timestamps_s),
    )


def times_of(clips: Sequence[Sequence[Clip]], timestamps_s: np.ndarray) -> dict[int, float]:
    """When each frame of the clips is shown, by its index."""
    indices = np.unique(np.concatenate([clip.frame_indices for of_model in clips for clip in of_model]))
    return dict(zip(indices.tolist(), timestamps_s[indices].tolist(), strict=True))


def _find_faces_for_each(
    reader: VideoReader,
    sampled: Sequence[np.ndarray],
    processors: Sequence[DeepfakeVideoProcessor],
    settings: ScanSettings,
) -> list[list[FaceTrack] | None]:
    """
    The tracks of each model, found as it would find them alone; `None` for one that judges whole frames.

    Models that search the same frames in the same way share one search.
    """
    searches: dict[tuple[bytes, FaceCropSettings], list[FaceTrack]] = {}
    people: list[FaceTrack] = []
    tracks: list[list[FaceTrack] | None] = []
    for processor, indices in zip(processors, sampled, strict=True):
        if not crops_faces(processor, settings):
            tracks.append(None)
            continue
        frames = np.unique(indices)
        key = (frames.tobytes(), search_settings(processor))
        if key not in searches:
            found = find_face_tracks(reader, frames, settings=search_settings(processor))
            searches[key] = _number_alike(found, people)
            known = {track.track_id for track in people}
            people += [track for track in searches[key] if track.track_id not in known]
        tracks.append(searches[key])
    return tracks


def crops_faces(processor: DeepfakeVideoProcessor, settings: ScanSettings) -> bool:
    """Whether a model judges face crops, and not whole frames."""
    return bool(processor.do_crop_faces) and settings.faces != "none"


def search_settings(processor: DeepfakeVideoProcessor) -> FaceCropSettings:
    """How a model's faces are searched, without what only says how they are cut out."""
    plain = FaceCropSettings()
    return replace(processor.face_settings(), margin=plain.margin, square=plain.square, padding=plain.padding)


def _number_alike(found: Sequence[FaceTrack], people: Sequence[FaceTrack]) -> list[FaceTrack]:
    """The tracks of one search, in their order, under the numbers of the people whom other searches found."""
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
    """Mean overlap of the boxes of one track with those of another at the same frames."""
    sides = [np.interp(track.frame_indices, other.frame_indices, other.boxes[:, side]) for side in range(4)]
    return float(np.mean([box_iou(*pair) for pair in zip(track.boxes, np.stack(sides, axis=1), strict=True)]))


def find_faces(
    reader: VideoReader,
    indices: np.ndarray,
    processors: Sequence[DeepfakeVideoProcessor],
    settings: ScanSettings,
) -> list[FaceTrack] | None:
    """Tracks for models that search alike; `None` for models that judge whole frames."""
    cropping = [processor for processor in processors if crops_faces(processor, settings)]
    if not cropping:
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
    return processor.crop_clips(reader, tracks, len(indices))


def _coverage(tracks: Sequence[FaceTrack], indices: np.ndarray) -> float:
    """Share of the sampled frames in which any of the faces was detected."""
    detected = np.concatenate([track.frame_indices[~track.interpolated] for track in tracks])
    return len(np.intersect1d(detected, indices)) / len(indices)


def _seen(reader: VideoReader, track: FaceTrack, indices: np.ndarray) -> SeenFace:
    times = reader.timestamps_s[track.frame_indices]
    return SeenFace(
        track=track, coverage=_coverage([track], indices), first_s=float(times[0]), last_s=float(times[-1])
    )
