# SPDX-License-Identifier: Apache-2.0
"""The predictions of several models on one video, and their common timeline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..face_cropping import FaceCropSettings
from ..video_sources import MediaReader
from .clip_reading import ReadVideo, crops_faces, search_settings
from .results import FaceResult, TimelineEntry
from .scoring_model import ScoringModel
from .settings import ScanSettings
from .timeline import Window, make_timeline


@dataclass(frozen=True, kw_only=True)
class ModelPrediction:
    """
    How one model scores a video.

    Attributes:
        faces: The faces that it scores, one per clip, the main face first; empty if it scores whole frames.
        clip_margins: Array with the margin of the fake logit of each clip, see `framewise.fake_margin`.
        margins: For each clip an array of shape (T,): margin of the fake logit per frame.
        fake_probability: Fake probability of the video.
        decisive: Index of the clip that determines the score; 0 for a mean.
        counted: Indices of the clips that contribute to the score.
        is_mean: Whether the score is the mean of several clips.
    """

    faces: list[FaceResult]
    clip_margins: np.ndarray
    margins: list[np.ndarray]
    fake_probability: float
    decisive: int
    counted: list[int]
    is_mean: bool = False

    def probability_of(self, number: int | None) -> float:
        """Fake probability of the face with this index, or of the whole video (`None`)."""
        return self.fake_probability if number is None else self.faces[number].fake_probability


def ensemble_timeline(
    reader: MediaReader,
    video: ReadVideo,
    models: Sequence[ScoringModel],
    settings: ScanSettings,
    on_frame: Callable[[int], None] = lambda index: None,
) -> list[Window]:
    """
    Compute the timeline of a video. With several models, each window is the mean over the models.

    If some models score faces and others whole frames, the windows are those of the faces, and a whole-frame model
    contributes its score for the same time interval.

    Args:
        reader: The open video.
        video: The clips read from it.
        models: One or several models.
        settings: The settings of the scan.
        on_frame: Called with the index of each frame that was scored.

    Raises:
        VideoError: If the video can no longer be decoded.
    """
    # Models with the same face search, and those that score whole frames, share one pass over the video.
    groups: dict[FaceCropSettings | None, list[ScoringModel]] = {}
    for model in models:
        key = search_settings(model.processor) if crops_faces(model.processor, settings) else None
        groups.setdefault(key, []).append(model)
    seen = [face.track for face in video.people]
    parts = [
        (len(members), make_timeline(reader, seen if key else [], members, settings, on_frame))
        for key, members in sorted(groups.items(), key=lambda item: item[0] is None)
    ]
    return parts[0][1] if len(parts) == 1 else _merge(parts, num_seen=len(seen))


def _merge(parts: Sequence[tuple[int, list[Window]]], *, num_seen: int) -> list[Window]:
    """Merge the windows of groups of models, given with their numbers of models; groups of whole frames come last."""
    base: list[Window] = []
    numbered: list[list[Window]] = []
    newcomer = num_seen
    for _, windows in parts:
        # Two searches may give the same number to different people that only the timeline's pass found.
        offset = newcomer - num_seen
        moved = [_renumber(window, num_seen, offset) for window in windows]
        ids = {window.entry.track_id for window in moved}
        newcomer = max([newcomer, *(track_id + 1 for track_id in ids if track_id is not None)])
        numbered.append(moved)
        known = {window.entry.track_id for window in base}
        base += [window for window in moved if window.entry.track_id not in known and not (known and None in ids)]
    merged = []
    for window in base:
        counterparts = [_counterpart(window, windows) for windows in numbered]
        weighted = [(n, other) for (n, _), other in zip(parts, counterparts, strict=True) if other is not None]
        probability = np.average([p for _, p in weighted], weights=[n for n, _ in weighted])
        merged.append(replace(window, entry=replace(window.entry, fake_probability=float(probability))))
    return sorted(merged, key=lambda window: (window.entry.start_s, window.entry.track_id or 0))


def _renumber(window: Window, num_seen: int, offset: int) -> Window:
    track_id = window.entry.track_id
    if track_id is None or track_id < num_seen or not offset:
        return window
    return replace(window, entry=replace(window.entry, track_id=track_id + offset))


def _counterpart(window: Window, windows: Sequence[Window]) -> float | None:
    """The fake probability of a group for the same face, or for whole frames, at the time of a window."""
    candidates = [w.entry for w in windows if w.entry.track_id in (window.entry.track_id, None)]
    best = max(candidates, key=lambda entry: _common_s(entry, window.entry), default=None)
    return best.fake_probability if best is not None and _common_s(best, window.entry) > 0 else None


def _common_s(one: TimelineEntry, other: TimelineEntry) -> float:
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
