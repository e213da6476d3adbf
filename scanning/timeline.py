# SPDX-License-Identifier: Apache-2.0
"""When and where: a denser pass over a video, and windows that slide over its cached frame features."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..face_cropping import FaceTrack, crop_upright
from ..face_tracking import MIN_IOU, box_iou
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..video_decoding import VideoReader
from .models import LoadedModel
from .reading import find_faces
from .results import TimelineEntry
from .settings import ScanSettings


# Six frames a second: below the 0.2 s up to which a cut between two frames is recognised.
DENSE_INTERVAL_S = 1 / 6
# At that rate a window lasts two seconds and the next one begins a second later.
WINDOW_FRAMES, HOP_FRAMES = 12, 6
# Bounds the time for a film: beyond eleven minutes the frames, and with them the windows, lie further apart.
MAX_DENSE_FRAMES = 4000
_WINDOWS_PER_PASS = 64


@dataclass(frozen=True, kw_only=True)
class Window:
    """
    Some frames of one face that were judged together.

    Attributes:
        entry: What is said about them.
        frame_indices: (T,) Which frames of the video.
        boxes: (T, 4) Where the face is in each, in pixels; `None` where whole frames are judged.
        quarter_turns: That put the face upright, counterclockwise.
    """

    entry: TimelineEntry
    frame_indices: np.ndarray
    boxes: np.ndarray | None
    quarter_turns: int = 0


def make_timeline(
    reader: VideoReader,
    seen: Sequence[FaceTrack],
    models: Sequence[LoadedModel],
    settings: ScanSettings,
    on_frame: Callable[[int], None] = lambda index: None,
) -> list[Window]:
    """
    Judge a video window by window, in order of time and face.

    Args:
        reader: The open video.
        seen: The faces that the score is about: a window's `track_id` is theirs. A face that only this denser search
            finds has a number of its own.
        models: An ensemble's probabilities are averaged.
        settings: The choices of the scan.
        on_frame: Called with the index of each frame that was judged.

    Raises:
        VideoError: If the denser reading fails where the first one did not.
    """
    indices = dense_indices(reader)
    found = find_faces(reader, indices, [model.processor for model in models], settings)
    tracks = [None] if found is None else number_tracks(found, seen)
    where = [np.arange(len(indices)) if t is None else np.searchsorted(indices, t.frame_indices) for t in tracks]
    features = _FrameFeatures(
        models, where, num_frames=len(indices), batch_size=settings.batch_size or _default_batch_size(models)
    )
    position_of = {int(index): position for position, index in enumerate(indices)}
    boxes = [_box_at(track) for track in tracks]
    turns = [0 if track is None else track.quarter_turns for track in tracks]
    for index, frame in reader.frames(indices):
        for i, track in enumerate(tracks):
            if track is None or index in boxes[i]:
                features.add(i, position_of[index], frame, boxes[i].get(index), turns[i])
        on_frame(index)
    features.flush()

    ends = np.append(reader.timestamps_s[indices], reader.duration_s)
    windows = []
    for i, track in enumerate(tracks):
        for start, stop, probability in features.judge(i):
            kept = np.arange(start, stop)[features.present[i][start:stop]]
            entry = TimelineEntry(
                start_s=float(ends[start]),
                end_s=float(ends[stop]),
                fake_probability=probability,
                track_id=None if track is None else track.track_id,
            )
            of_face = None if track is None else np.stack([boxes[i][int(index)] for index in indices[kept]])
            windows.append(Window(entry=entry, frame_indices=indices[kept], boxes=of_face, quarter_turns=turns[i]))
    return sorted(windows, key=lambda window: (window.entry.start_s, window.entry.track_id or 0))


def _default_batch_size(models: Sequence[LoadedModel]) -> int:
    return 8 if models[0].network.device.type == "cpu" else 32


def dense_indices(reader: VideoReader) -> np.ndarray:
    """Which frames the denser pass looks at: every n-th, (N,) int64."""
    step = max(1, int(reader.fps * DENSE_INTERVAL_S + 1e-6), -(-reader.num_frames // MAX_DENSE_FRAMES))
    return np.arange(0, reader.num_frames, step)


def window_bounds(num_frames: int) -> list[tuple[int, int]]:
    """The first and the last but one position of each window over so many frames; the last one ends with them."""
    last = max(0, num_frames - WINDOW_FRAMES)
    starts = sorted({*range(0, last + 1, HOP_FRAMES), last})
    return [(start, min(start + WINDOW_FRAMES, num_frames)) for start in starts]


def number_tracks(found: Sequence[FaceTrack], seen: Sequence[FaceTrack]) -> list[FaceTrack]:
    """
    The dense tracks under the numbers of the faces they show, one a face, in this order.

    A cut ends a dense track, while frames seconds apart are linked across it: several tracks may belong to one face.
    """
    parts: dict[int, list[FaceTrack]] = {}
    newcomer = len(seen)
    for track in found:
        agreement, number = max(((_agreement(track, face), -i) for i, face in enumerate(seen)), default=((0, 0.0), 0))
        owner = seen[-number].track_id if agreement > (0, MIN_IOU) else newcomer
        if any(np.isin(part.frame_indices, track.frame_indices).any() for part in parts.get(owner, ())):
            owner = newcomer  # one face is not in two places
        newcomer += owner == newcomer
        parts.setdefault(owner, []).append(track)
    return [_join(track_id, parts[track_id]) for track_id in sorted(parts)]


def _agreement(dense: FaceTrack, face: FaceTrack) -> tuple[int, float]:
    """At how many of the frames of `face` the dense track is in the same place, and the overlap half way through."""
    middle = int(dense.frame_indices[len(dense.frame_indices) // 2])
    step = int(np.diff(dense.frame_indices[:2]).sum())
    first, last = dense.frame_indices[0] - step, dense.frame_indices[-1] + step
    common = sum(
        box_iou(box, _interpolate(dense, int(index))) > MIN_IOU
        for index, box in zip(face.frame_indices, face.boxes, strict=True)
        if first < index < last
    )
    # A short scene may lie between two frames of `face`: what stands where it would be is taken for it.
    is_between = face.frame_indices[0] <= middle <= face.frame_indices[-1]
    return common, box_iou(_interpolate(face, middle), _interpolate(dense, middle)) if is_between else 0.0


def _interpolate(track: FaceTrack, index: int) -> np.ndarray:
    return np.array([np.interp(index, track.frame_indices, track.boxes[:, side]) for side in range(4)])


def _join(track_id: int, parts: Sequence[FaceTrack]) -> FaceTrack:
    """One track of several; where two hold the same frame, the more prominent one's box counts."""
    indices, first = np.unique(np.concatenate([part.frame_indices for part in parts]), return_index=True)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])[first]
        for name in ("boxes", "scores", "interpolated")
    }
    return replace(parts[0], track_id=track_id, frame_indices=indices, **joined)


def _box_at(track: FaceTrack | None) -> dict[int, np.ndarray]:
    return {} if track is None else dict(zip(track.frame_indices.tolist(), track.boxes, strict=True))


def crop_for(
    processor: DeepfakeVideoProcessor, frame: np.ndarray, box: np.ndarray | None, quarter_turns: int = 0
) -> np.ndarray:
    """The picture `(h, w, 3)` uint8 that a model judges: of a face, or of the whole frame without a box."""
    if box is not None:
        frame = crop_upright(frame, box, quarter_turns, processor.face_settings())
    return processor.resize_frame(frame)


class _FrameFeatures:
    """
    Features of the frames of each face, computed in batches as the frames come: pictures do not pile up.

    Args:
        where: For each face, the positions of its frames among those of the pass.

    Attributes:
        present: For each face (num_frames,) bool, which of its frames were decoded.
    """

    def __init__(
        self, models: Sequence[LoadedModel], where: Sequence[np.ndarray], *, num_frames: int, batch_size: int
    ) -> None:
        self._models = models
        self._batch_size = batch_size
        self._pending: list[tuple[int, int, list[np.ndarray]]] = []
        self.present = [np.zeros(num_frames, dtype=bool) for _ in where]
        # Only frames that show a face have a row: in a film with many people the others would fill the memory.
        self._rows = [np.zeros(num_frames, dtype=np.int64) for _ in where]
        for rows, positions in zip(self._rows, where, strict=True):
            rows[positions] = np.arange(len(positions))
        self._features = [
            [torch.zeros(len(positions), model.network.config.num_features) for positions in where] for model in models
        ]

    def add(self, track: int, position: int, frame: np.ndarray, box: np.ndarray | None, quarter_turns: int) -> None:
        crops = [crop_for(model.processor, frame, box, quarter_turns) for model in self._models]
        self._pending.append((track, position, crops))
        if len(self._pending) >= self._batch_size:
            self.flush()

    @torch.inference_mode()
    def flush(self) -> None:
        if not self._pending:
            return
        for m, model in enumerate(self._models):
            crops = [of_models[m] for _, _, of_models in self._pending]
            features = model.network.get_frame_features(model.pixel_values(crops))[0].float().cpu()
            for (track, position, _), row in zip(self._pending, features, strict=True):
                self._features[m][track][self._rows[track][position]] = row
        for track, position, _ in self._pending:
            self.present[track][position] = True
        self._pending.clear()

    @torch.inference_mode()
    def judge(self, track: int) -> Iterator[tuple[int, int, float]]:
        """(start, stop, fake probability) of each window in at least half of whose frames the face is."""
        bounds = [
            (start, stop)
            for start, stop in window_bounds(len(self.present[track]))
            if self.present[track][start:stop].mean() >= 0.5
        ]
        for first in range(0, len(bounds), _WINDOWS_PER_PASS):
            chunk = bounds[first : first + _WINDOWS_PER_PASS]
            # (windows, frames of a window): all windows of one video are equally long
            positions = np.array([np.arange(*pair) for pair in chunk])
            probabilities = np.mean([self._fake(m, track, positions) for m in range(len(self._models))], axis=0)
            for (start, stop), probability in zip(chunk, probabilities, strict=True):
                yield start, stop, float(probability)

    def _fake(self, m: int, track: int, positions: np.ndarray) -> np.ndarray:
        model = self._models[m]
        features = self._features[m][track][torch.from_numpy(self._rows[track][positions])]
        mask = torch.from_numpy(self.present[track][positions])
        device = model.network.device
        outputs: Any = model.network.classify_features(features.to(device), mask.to(device))
        probabilities: np.ndarray = outputs.logits.softmax(-1)[:, model.fake_index].double().cpu().numpy()
        return probabilities


def worst_windows(windows: Sequence[Window], count: int) -> list[Window]:
    """The windows with the highest fake probability that do not overlap, highest first."""
    chosen: list[Window] = []
    for window in sorted(windows, key=lambda window: -window.entry.fake_probability):
        if len(chosen) == count:
            break
        if not any(_overlap(window.entry, other.entry) for other in chosen):
            chosen.append(window)
    return chosen


def _overlap(a: TimelineEntry, b: TimelineEntry) -> bool:
    return a.start_s < b.end_s and b.start_s < a.end_s and a.track_id == b.track_id


__all__ = ["Window", "dense_indices", "make_timeline", "number_tracks", "window_bounds", "worst_windows"]
