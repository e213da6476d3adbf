# SPDX-License-Identifier: Apache-2.0
"""Search a video for faces: whole frames at intervals, and the surroundings of known faces in between.

If this finds too few faces, it also searches rotated frames, searches for smaller faces, and searches more frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .face_detection import FaceDetection, FaceDetector, FollowingDetector, detect_turned
from .face_tracking import MIN_IOU, FaceTrack, box_iou, link_detections, rescale_box
from .video_decoding import FrameSource, VideoDecodeError
from .video_sources import read_ahead
from .watched_frames import WatchedFrames


# Interval in frames at which the whole frame is searched; in between, only the surroundings of known faces are.
WHOLE_SEARCH_EVERY = 4
# So many faces are followed, about 10 ms of CPU time each. If a frame has more, the next one is searched as a whole.
MAX_FOLLOWED = 32
# Within a gap of a track, near the expected position of the face, a lower score is sufficient.
GAP_SCORE = 0.7
# Before giving up, smaller faces are searched in this many frames, and then this many more frames are searched.
_FINE_FRAMES = 8
_MORE_FRAMES_FACTOR, _MAX_MORE_FRAMES = 3, 60
# If faces are found in less than this share of the frames, the video may be rotated. It is, if a rotation shows faces
# in this share of this many frames, and at least twice as often.
_SELDOM, _TURNED_SHARE, _TURNED_FRAMES = 0.5, 0.75, 4


@dataclass(eq=False)
class _Search:
    """Faces found in one pass over some frames of a video, in pixels of an image of `size` (width, height)."""

    size: tuple[int, int]
    indices: list[int] = field(default_factory=list)
    faces: list[list[FaceDetection]] = field(default_factory=list)
    searched_whole: list[bool] = field(default_factory=list)
    cuts: set[int] = field(default_factory=set)

    def link(self, timestamps_s: np.ndarray) -> list[FaceTrack]:
        times = timestamps_s[self.indices]
        return link_detections(self.indices, self.faces, timestamps_s=times, cuts=self.cuts, size=self.size)


def search_tracks(
    source: FrameSource, indices: Sequence[int], detector: FaceDetector, min_score: float
) -> list[FaceTrack]:
    """Find the face tracks of a video, the main face first; see `face_cropping.find_face_tracks`.

    Args:
        source: The video; if it is a [`WatchedFrames`], its thumbnails are not made again.
        indices: Ascending indices of the frames.
        detector: Face detector for single frames.
        min_score: Detections below this score are ignored.

    Returns:
        The tracks; empty if no face is found.

    Raises:
        VideoDecodeError: If none of the frames can be decoded.
    """
    watched = source if isinstance(source, WatchedFrames) else WatchedFrames(source)
    search = _search(watched, indices, detector, min_score)
    if not search.indices:
        raise VideoDecodeError(source.name, f"none of the {len(indices)} requested frames can be decoded")
    if sum(_is_seen(faces) for faces in search.faces) < _SELDOM * len(search.faces):
        search, detector = _search_harder(watched, search, detector, min_score)
    if not any(search.faces):
        return []
    times = np.asarray(source.timestamps_s, dtype=np.float64)
    tracks = search.link(times)
    if isinstance(detector, FollowingDetector) and _look_again(source, search, tracks, detector, min_score):
        tracks = search.link(times)
    if isinstance(detector, _Turned):
        tracks = [replace(track, quarter_turns=detector.quarter_turns) for track in tracks]
    return tracks


def _search(source: WatchedFrames, indices: Sequence[int], detector: FaceDetector, min_score: float) -> _Search:
    """Search frames in order, and follow the faces found last if the detector supports it."""
    search: _Search | None = None
    last_size: tuple[int, int] | None = None
    for index, frame in read_ahead(source.frames(indices)):
        # After the first frame has been read, the size is known without decoding.
        search = search or _Search((source.width, source.height))
        size = (frame.shape[1], frame.shape[0])
        found: list[FaceDetection] | None = None
        can_follow = len(search.faces) % WHOLE_SEARCH_EVERY and size == last_size
        if can_follow and isinstance(detector, FollowingDetector):
            found = _follow(detector, frame, search.faces[-1], min_score, search.size)
        search.searched_whole.append(found is None)
        if found is None:
            found = [_rescale(face, size, search.size) for face in _detect(detector, frame, min_score)]
        search.indices.append(index)
        search.faces.append(found)
        last_size = size
    if search is None:
        return _Search((0, 0))
    search.cuts |= source.cuts(search.indices)
    return search


def _rescale(face: FaceDetection, old: tuple[int, int], new: tuple[int, int]) -> FaceDetection:
    """Map a face to an image of another size; landmarks are dropped then."""
    return face if old == new else FaceDetection(rescale_box(face.box, old, new), face.score)


def _detect_near(
    detector: FollowingDetector, frame: np.ndarray, box: np.ndarray, size: tuple[int, int]
) -> list[FaceDetection]:
    """Call `detector.detect_near` with boxes in pixels of an image of `size` (width, height)."""
    own = (frame.shape[1], frame.shape[0])
    return [_rescale(face, own, size) for face in detector.detect_near(frame, rescale_box(box, size, own))]


def _follow(
    detector: FollowingDetector, frame: np.ndarray, last: list[FaceDetection], min_score: float, size: tuple[int, int]
) -> list[FaceDetection] | None:
    """Find each of the `last` faces in this frame; `None` if there are none or too many, or one is lost."""
    if len(last) > MAX_FOLLOWED:
        return None
    found: list[FaceDetection] = []
    for face in last:
        match = _closest(_detect_near(detector, frame, face.box, size), face.box, found, min_score)
        if match is None:
            return None
        found.append(match)
    return found or None


def _closest(
    near: list[FaceDetection], box: np.ndarray, taken: Sequence[FaceDetection], min_score: float
) -> FaceDetection | None:
    """Return the face that overlaps `box` most, except uncertain ones and those in `taken`."""
    candidates = [
        (box_iou(face.box, box), face.score, i)
        for i, face in enumerate(near)
        if face.score >= min_score and all(box_iou(face.box, other.box) <= MIN_IOU for other in taken)
    ]
    best = max(candidates, default=(0.0, 0.0, 0))
    return near[best[2]] if best[0] > MIN_IOU else None


def _look_again(
    source: FrameSource, search: _Search, tracks: list[FaceTrack], detector: FollowingDetector, min_score: float
) -> bool:
    """Search for each face near its position in the frames next to its detections; return whether any was found.

    Only the `MAX_FOLLOWED` most prominent faces are searched for. This fills gaps, in which a lower score is
    sufficient, and finds new faces in the frames before the full search that first detected them.
    """
    position_of = {index: p for p, index in enumerate(search.indices)}
    expected: dict[int, list[tuple[np.ndarray, float]]] = {}
    for track in tracks[:MAX_FOLLOWED]:
        detected = [position_of[int(i)] for i in track.frame_indices[~track.interpolated]]
        boxes = track.boxes[~track.interpolated]
        reach = WHOLE_SEARCH_EVERY - 1
        for p in sorted({q for d in detected for q in range(d - reach, d + reach + 1)} - set(detected)):
            inside = detected[0] < p < detected[-1]
            if not 0 <= p < len(search.indices) or (search.searched_whole[p] and not inside):
                continue
            box = np.array([np.interp(p, detected, boxes[:, side]) for side in range(4)])
            score = min(GAP_SCORE, min_score) if inside else min_score
            expected.setdefault(search.indices[p], []).append((box, score))
    found_any = False
    for index, frame in source.frames(sorted(expected)):
        faces = search.faces[position_of[index]]
        for box, score in expected[index]:
            match = _closest(_detect_near(detector, frame, box, search.size), box, faces, score)
            if match is not None:
                faces.append(match)
                found_any = True
    return found_any


def _search_harder(
    source: WatchedFrames, search: _Search, detector: FaceDetector, min_score: float
) -> tuple[_Search, FaceDetector]:
    """Return a search that finds more than `search`, and its detector; see `find_face_tracks`."""
    indices, is_empty = search.indices, not any(search.faces)
    few = _spread(indices, _FINE_FRAMES if is_empty else _TURNED_FRAMES)
    upright = sum(_is_seen(faces) for index, faces in zip(indices, search.faces, strict=True) if index in few)
    fine = None
    if is_empty and isinstance(detector, FollowingDetector):
        fine = detector.finer()
    turns = [_Turned(detector, quarter_turns) for quarter_turns in (1, 3, 2)]
    counts, is_small = [0, 0, 0], False
    # All rotations share one pass, because decoding large frames again costs more than searching them.
    for _, frame in source.frames(few):
        for i, turned in enumerate(turns):
            counts[i] += _is_seen(_detect(turned, frame, min_score), turned.quarter_turns)
        is_small = is_small or (fine is not None and bool(_detect(fine, frame, min_score)))
    most = max(counts)
    turned = turns[counts.index(most)]
    if most >= max(_TURNED_SHARE * len(few), 2 * upright):
        return _search(source, indices, turned, min_score), turned
    if not is_empty:
        return search, detector
    if is_small and fine is not None:
        return _search(source, indices, fine, min_score), fine
    count = min(_MORE_FRAMES_FACTOR * len(indices), _MAX_MORE_FRAMES)
    more = _search(source, sorted(set(_spread(range(source.num_frames), count)) - set(indices)), detector, min_score)
    if not any(more.faces) and most:
        return _search(source, indices, turned, min_score), turned
    return more, detector


def _detect(detector: FaceDetector, frame: np.ndarray, min_score: float) -> list[FaceDetection]:
    return [face for face in detector.detect(frame[None])[0] if face.score >= min_score]


def _is_seen(faces: Sequence[FaceDetection], quarter_turns: int = 0) -> bool:
    """Return whether this rotation makes a face upright, as far as that is known."""
    return any(face.quarter_turns in (None, quarter_turns) for face in faces)


@dataclass(frozen=True)
class _Turned:
    """A detector of faces that are upright after counterclockwise rotations by 90 degrees."""

    detector: FaceDetector
    quarter_turns: int

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        return [detect_turned(self.detector, frame, self.quarter_turns) for frame in frames]


def _spread(values: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the values, evenly spaced from the first to the last."""
    if len(values) <= count:
        return list(values)
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, count).round()]
