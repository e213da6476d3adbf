# SPDX-License-Identifier: Apache-2.0
"""Several models that judge one video: each as if it were alone, and the mean of what they say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..face_cropping import FaceCropSettings
from ..video_decoding import VideoReader
from .models import LoadedModel
from .reading import ReadVideo, crops_faces, search_settings
from .results import FaceResult, TimelineEntry
from .settings import ScanSettings
from .timeline import Window, make_timeline


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """
    What one model alone says of a video.

    Attributes:
        faces: One entry a face that it judged, the main face first; none where it judges whole frames.
        probabilities: Fake probability of each of its clips.
        margins: For each clip the lead of the fake logit in each frame, (T,), see `framewise.fake_margin`.
        fake_probability: Of the video.
        decisive: Which clip decided it; the main one where it is a mean.
        counted: Which clips the probability of the video follows from.
        is_mean: Whether it is their mean.
    """

    faces: list[FaceResult]
    probabilities: list[float]
    margins: list[np.ndarray]
    fake_probability: float
    decisive: int
    counted: list[int]
    is_mean: bool = False


def ensemble_timeline(
    reader: VideoReader,
    video: ReadVideo,
    models: Sequence[LoadedModel],
    settings: ScanSettings,
    on_frame: Callable[[int], None] = lambda index: None,
) -> list[Window]:
    """
    The timeline of a video: of several models the mean of the windows that each has alone.

    Where some models judge faces and others whole frames, the windows are those of the faces, and a whole-frame model
    adds what it says of the same time.

    Args:
        reader: The open video.
        video: What was read of it.
        models: One or several.
        settings: The choices of the scan.
        on_frame: Called with the index of each frame that was judged.

    Raises:
        VideoError: If the denser reading fails where the first one did not.
    """
    # Models that search faces alike, or judge whole frames, share a pass over the video.
    groups: dict[FaceCropSettings | None, list[LoadedModel]] = {}
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
    """Windows of groups of so many models each, those of faces before those of whole frames, as one timeline."""
    base: list[Window] = []
    numbered: list[list[Window]] = []
    newcomer = num_seen
    for _, windows in parts:
        # Two searches may give one number to two people whom only the denser pass sees.
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
    """What a group says of the same face, or of the whole frames, at the time of a window."""
    candidates = [w.entry for w in windows if w.entry.track_id in (window.entry.track_id, None)]
    best = max(candidates, key=lambda entry: _common_s(entry, window.entry), default=None)
    return best.fake_probability if best is not None and _common_s(best, window.entry) > 0 else None


def _common_s(one: TimelineEntry, other: TimelineEntry) -> float:
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
