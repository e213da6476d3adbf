# SPDX-License-Identifier: Apache-2.0
"""The timeline: a second, denser pass over a video, and windows that slide over its cached frame features."""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..clip_sampling import ClipSampler
from ..common.logistic import sigmoid
from ..face_cropping import FaceTrack, NoFaceFoundError, crop_upright
from ..face_tracking import MIN_IOU, box_iou
from ..video_sources import FrameSource, MediaReader, frame_ends_s
from ..watched_frames import WatchedFrames
from .clip_reading import MAX_FACES, find_faces
from .framewise import fake_margin
from .results import TimelineEntry
from .scoring_model import ScoringModel
from .settings import ScanSettings


# Six frames per second. A cut is recognised between frames that are at most 0.2 s apart.
DENSE_INTERVAL_S = 1 / 6
# At that rate a window lasts two seconds, and the next one begins one second later. In videos with fewer than six
# frames per second they last longer.
WINDOW_FRAMES, HOP_FRAMES = 12, 6
# Bounds the time for a film: in videos longer than about ten minutes, frames are further apart and windows last
# longer, 22 s in a film of two hours.
MAX_DENSE_FRAMES = 4000
_WINDOWS_PER_PASS = 64


@dataclass(frozen=True, kw_only=True)
class Window:
    """
    Consecutive frames of one face that were scored together.

    Attributes:
        entry: Time and score of the window.
        frame_indices: Array of shape (T,): indices of the frames in the video.
        boxes: Array of shape (T, 4): x0, y0, x1, y1 of the face in pixels of a picture of `size`; `None` for whole
            frames.
        quarter_turns: Counterclockwise turns by 90 degrees that put the face upright.
        size: Width and height of the picture to which the boxes refer; `None` for those of each frame.
    """

    entry: TimelineEntry
    frame_indices: np.ndarray
    boxes: np.ndarray | None
    quarter_turns: int = 0
    size: tuple[int, int] | None = None


def make_timeline(
    reader: MediaReader,
    seen: Sequence[FaceTrack],
    models: Sequence[ScoringModel],
    settings: ScanSettings,
    on_frame: Callable[[int], None] = lambda index: None,
) -> list[Window]:
    """
    Score a video window by window, in order of time and face.

    No window extends across a cut, or across a gap, where the video shows no new frame for a long time. A scene that
    is shorter than a window has one window of its own. Each face of `seen` has at least one window: if it is never
    detected in half of the frames of a regular window, the frames in which it is detected form separate windows.

    Args:
        reader: The open video.
        seen: The faces that were scored; the windows use their numbers. A face that only this denser pass finds gets a
            new number.
        models: One or several models; their probabilities are averaged.
        settings: The settings of the scan.
        on_frame: Called with the index of each frame that was scored.

    Raises:
        VideoError: If the video can no longer be decoded.
    """
    dense = dense_indices(reader)
    watched = WatchedFrames(reader)
    tracks = _find_dense_tracks(watched, dense, seen, models, settings)
    judged = [dense if track is None else track.frame_indices for track in tracks]
    indices = np.unique(np.concatenate([dense, *judged]))
    where = [np.searchsorted(indices, of_track) for of_track in judged]
    batch_size = settings.batch_size or _default_batch_size(models)
    features = _FrameFeatures(models, where, num_frames=len(indices), batch_size=batch_size)
    boxes = [{} if track is None else _box_at(track) for track in tracks]
    position_of = {int(index): position for position, index in enumerate(indices)}
    for index, frame in watched.frames(indices):
        for i, track in enumerate(tracks):
            if track is None:
                features.add(i, position_of[index], frame, None)
            elif index in boxes[i]:
                features.add(i, position_of[index], frame, boxes[i][index], track.quarter_turns, track.size)
        on_frame(index)
    features.flush()

    spans = _Spans(reader, indices, watched.cuts(dense))
    regular = spans.windows(np.searchsorted(indices, dense))
    windows = []
    for i, track in enumerate(tracks):
        present = features.present[i]
        chosen = [window for window in regular if present[window].mean() >= 0.5]
        if not chosen and track is not None and track.track_id < len(seen):
            chosen = spans.windows(np.flatnonzero(present), longest_s=WINDOW_FRAMES * DENSE_INTERVAL_S)
        for positions, probability in zip(chosen, features.fake_probabilities(i, chosen), strict=True):
            kept = indices[positions[present[positions]]]
            of_face = None if track is None else np.stack([boxes[i][int(index)] for index in kept])
            windows.append(_window(spans.span_s(positions), probability, track, kept, of_face))
    return sorted(windows, key=lambda window: (window.entry.start_s, window.entry.track_id or 0))


def _window(
    span_s: tuple[float, float],
    probability: float,
    track: FaceTrack | None,
    frame_indices: np.ndarray,
    boxes: np.ndarray | None,
) -> Window:
    track_id, turns, size = (None, 0, None) if track is None else (track.track_id, track.quarter_turns, track.size)
    entry = TimelineEntry(start_s=span_s[0], end_s=span_s[1], fake_probability=probability, track_id=track_id)
    return Window(entry=entry, frame_indices=frame_indices, boxes=boxes, quarter_turns=turns, size=size)


def _find_dense_tracks(
    source: FrameSource,
    dense: np.ndarray,
    seen: Sequence[FaceTrack],
    models: Sequence[ScoringModel],
    settings: ScanSettings,
) -> Sequence[FaceTrack | None]:
    """The tracks that the denser pass finds, and those of `seen` that it misses, in order of their numbers."""
    try:
        found = find_faces(source, dense, [model.processor for model in models], settings)
    except NoFaceFoundError:
        if not seen:
            raise
        found = []
    if found is None:
        return [None]
    tracks = number_tracks(found, seen)
    numbers = {track.track_id for track in tracks}
    missed = [track for track in seen if track.track_id not in numbers]
    return _limit_faces(source, sorted([*tracks, *missed], key=lambda track: track.track_id))


def _limit_faces(source: FrameSource, tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    """Leave out what exceeds `MAX_FACES` faces in a frame, and warn of it. The faces that were scored come first."""
    num_shown: Counter[int] = Counter()
    limited = []
    for track in tracks:
        kept = [index for index in track.frame_indices.tolist() if num_shown[index] < MAX_FACES]
        num_shown.update(kept)
        if len(kept) < len(track.frame_indices):
            source.warnings[:] = dict.fromkeys([*source.warnings, crowd_note()])
        if kept:
            limited.append(track.on_frames(np.array(kept)))
    return limited


def crowd_note() -> str:
    """The warning about frames of a timeline that show more faces than are scored."""
    return f"some frames show more than {MAX_FACES} faces, and only the most prominent ones were scored"


class _Spans:
    """
    Forms windows from the frames of a video, and computes their times.

    Args:
        reader: The open video.
        indices: Array of shape (N,): indices of the frames, ascending. Windows are positions in this array.
        cuts: Indices of the frames that start a new scene.
    """

    def __init__(self, reader: MediaReader, indices: np.ndarray, cuts: Collection[int] = ()) -> None:
        self._starts = reader.timestamps_s[indices]
        self._ends = frame_ends_s(reader, indices)
        # How many gaps and cuts each frame follows. A gap follows the frame of its index, a cut precedes it.
        self._breaks_before = np.searchsorted(sorted(reader.gaps), indices)
        self._breaks_before += np.searchsorted(sorted(cuts), indices, side="right")

    def windows(self, positions: np.ndarray, longest_s: float = float("inf")) -> list[np.ndarray]:
        """
        Overlapping windows over these positions.

        None of them extends across a gap, a cut or a step above `longest_s`.
        """
        is_apart = np.diff(self._breaks_before[positions]) > 0
        is_apart |= np.diff(self._starts[positions]) > longest_s
        runs = np.split(positions, np.flatnonzero(is_apart) + 1)
        return [run[start:stop] for run in runs if len(run) for start, stop in window_bounds(len(run))]

    def span_s(self, positions: np.ndarray) -> tuple[float, float]:
        """When the first frame begins and when the last one ends, in seconds."""
        return float(self._starts[positions[0]]), float(self._ends[positions[-1]])


def _default_batch_size(models: Sequence[ScoringModel]) -> int:
    return 8 if models[0].device == "cpu" else 32


def dense_indices(reader: MediaReader) -> np.ndarray:
    """Indices of the frames of the denser pass, every n-th frame: array of shape (N,), int64."""
    step = max(1, int(reader.fps * DENSE_INTERVAL_S + 1e-6), -(-reader.num_frames // MAX_DENSE_FRAMES))
    return np.arange(0, reader.num_frames, step)


def window_bounds(num_frames: int) -> list[tuple[int, int]]:
    """Start and stop of each window over a number of frames. The last window ends with the last frame."""
    last = max(0, num_frames - WINDOW_FRAMES)
    starts = sorted({*range(0, last + 1, HOP_FRAMES), last})
    return [(start, min(start + WINDOW_FRAMES, num_frames)) for start in starts]


def number_tracks(found: Sequence[FaceTrack], seen: Sequence[FaceTrack]) -> list[FaceTrack]:
    """
    Assign to the tracks of the denser pass the numbers of the faces they show, and join tracks of the same face.

    A cut ends a dense track, but frames that are seconds apart are linked across it, so several dense tracks may
    belong to one face.

    Args:
        found: The tracks of the denser pass.
        seen: The faces that were scored.

    Returns:
        One track per face, in order of their numbers.
    """
    parts: dict[int, list[FaceTrack]] = {}
    newcomer = len(seen)
    for track in found:
        agreement, number = max(((_agreement(track, face), -i) for i, face in enumerate(seen)), default=((0, 0.0), 0))
        owner = seen[-number].track_id if agreement > (0, MIN_IOU) else newcomer
        if any(np.isin(part.frame_indices, track.frame_indices).any() for part in parts.get(owner, ())):
            owner = newcomer  # a face cannot be in two places at once
        newcomer += owner == newcomer
        parts.setdefault(owner, []).append(track)
    return [_join(track_id, parts[track_id]) for track_id in sorted(parts)]


def _agreement(dense: FaceTrack, face: FaceTrack) -> tuple[int, float]:
    """Number of frames of `face` at which the dense track is in the same place, and their overlap at its middle."""
    middle = int(dense.frame_indices[len(dense.frame_indices) // 2])
    step = int(np.diff(dense.frame_indices[:2]).sum())
    first, last = dense.frame_indices[0] - step, dense.frame_indices[-1] + step
    common = sum(
        box_iou(box, _interpolate(dense, int(index))) > MIN_IOU
        for index, box in zip(face.frame_indices, face.boxes_in(dense.size), strict=True)
        if first < index < last
    )
    # A short scene may lie between two frames of `face`: a face at its interpolated position is taken for it.
    is_between = face.frame_indices[0] <= middle <= face.frame_indices[-1]
    if not is_between:
        return common, 0.0
    return common, box_iou(_interpolate(face, middle, dense.size), _interpolate(dense, middle))


def _interpolate(track: FaceTrack, index: int, size: tuple[int, int] | None = None) -> np.ndarray:
    boxes = track.boxes_in(size)
    return np.array([np.interp(index, track.frame_indices, boxes[:, side]) for side in range(4)])


def _join(track_id: int, parts: Sequence[FaceTrack]) -> FaceTrack:
    """Join several tracks. If two contain the same frame, the box of the first, more prominent one is used."""
    indices, first = np.unique(np.concatenate([part.frame_indices for part in parts]), return_index=True)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])[first]
        for name in ("boxes", "scores", "interpolated")
    }
    return replace(parts[0], track_id=track_id, frame_indices=indices, **joined)


def _box_at(track: FaceTrack) -> dict[int, np.ndarray]:
    return dict(zip(track.frame_indices.tolist(), track.boxes, strict=True))


def crop_for(
    processor: ClipSampler,
    frame: np.ndarray,
    box: np.ndarray | None,
    quarter_turns: int = 0,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """
    Crop and resize a frame as a model receives it.

    Args:
        processor: The preprocessing of the model.
        frame: Array of shape (H, W, 3), uint8 RGB.
        box: Array of shape (4,): x0, y0, x1, y1 of the face in pixels of a picture of `size`; `None` for the whole
            frame.
        quarter_turns: Counterclockwise turns by 90 degrees that put the face upright.
        size: Width and height of the picture to which the box refers; `None` for those of the frame.

    Returns:
        Array of shape (h, w, 3), uint8 RGB.
    """
    if box is not None:
        frame = crop_upright(frame, box, quarter_turns, processor.face_settings(), size)
    return processor.resize_frame(frame)


class _FrameFeatures:
    """
    Features of the frames of each face, computed in batches while the video is decoded, so that no frames accumulate.

    Args:
        models: One or several models.
        where: For each face, the positions of its frames in the pass.
        num_frames: Number of frames in the pass.
        batch_size: Number of frames per batch.

    Attributes:
        present: For each face an array of shape (num_frames,), bool: whether the frame was decoded.
    """

    def __init__(
        self, models: Sequence[ScoringModel], where: Sequence[np.ndarray], *, num_frames: int, batch_size: int
    ) -> None:
        self._models = models
        self._batch_size = batch_size
        self._pending: list[tuple[int, int, list[np.ndarray]]] = []
        self.present = [np.zeros(num_frames, dtype=bool) for _ in where]
        # Only frames that show a face have a row; in a film with many people the others would fill the memory.
        self._rows = [np.zeros(num_frames, dtype=np.int64) for _ in where]
        for rows, positions in zip(self._rows, where, strict=True):
            rows[positions] = np.arange(len(positions))
        self._features = [
            [np.zeros((len(positions), model.description.num_features), np.float32) for positions in where]
            for model in models
        ]

    def add(
        self,
        track: int,
        position: int,
        frame: np.ndarray,
        box: np.ndarray | None,
        quarter_turns: int = 0,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Add a frame of a track. The last three arguments are those of [`crop_for`]."""
        crops = [crop_for(model.processor, frame, box, quarter_turns, size) for model in self._models]
        self._pending.append((track, position, crops))
        if len(self._pending) >= self._batch_size:
            self.flush()

    def flush(self) -> None:
        if not self._pending:
            return
        for m, model in enumerate(self._models):
            crops = [of_models[m] for _, _, of_models in self._pending]
            features = model.frame_features(model.pixel_values(crops))[0]
            for (track, position, _), row in zip(self._pending, features, strict=True):
                self._features[m][track][self._rows[track][position]] = row
        for track, position, _ in self._pending:
            self.present[track][position] = True
        self._pending.clear()

    def fake_probabilities(self, track: int, windows: Sequence[np.ndarray]) -> list[float]:
        """The fake probability of each window of a track, given as positions of frames in the pass."""
        probabilities: list[float] = []
        for _, alike in itertools.groupby(windows, key=len):
            of_one_length = list(alike)
            for first in range(0, len(of_one_length), _WINDOWS_PER_PASS):
                # (windows, frames of a window)
                positions = np.stack(of_one_length[first : first + _WINDOWS_PER_PASS])
                of_models = [self._fake(m, track, positions) for m in range(len(self._models))]
                probabilities += np.mean(of_models, axis=0).tolist()
        return probabilities

    def _fake(self, m: int, track: int, positions: np.ndarray) -> np.ndarray:
        model = self._models[m]
        features = self._features[m][track][self._rows[track][positions]]
        said = model.classify_features(features, self.present[track][positions])
        return sigmoid(fake_margin(said.logits, model.fake_index))


def top_windows(windows: Sequence[Window], count: int) -> list[Window]:
    """The windows with the highest fake probabilities that do not overlap, the highest first."""
    chosen: list[Window] = []
    for window in sorted(windows, key=lambda window: -window.entry.fake_probability):
        if len(chosen) == count:
            break
        if not any(_overlap(window.entry, other.entry) for other in chosen):
            chosen.append(window)
    return chosen


def _overlap(a: TimelineEntry, b: TimelineEntry) -> bool:
    return a.start_s < b.end_s and b.start_s < a.end_s and a.track_id == b.track_id
