# SPDX-License-Identifier: Apache-2.0
"""Following faces through a video and cropping them: from frames to `FaceTrack`s to small square pictures.

`find_face_tracks` searches and links, `track_from_boxes` takes boxes the caller knows, `crop_tracks` cuts them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from .face_detection import FaceDetection, FaceDetector, MTCNNDetector, detect_near, detect_turned, scale_frame
from .face_tracking import (
    MIN_IOU,
    FaceTrack,
    box_iou,
    find_cuts,
    link_detections,
    main_face,
    rescale_box,
    smooth_boxes,
    track_from_boxes,
)
from .video_decoding import FrameSource, VideoDecodeError, VideoError


__all__ = [
    "FaceCropSettings",
    "FaceDetection",
    "FaceDetector",
    "FaceTrack",
    "MTCNNDetector",
    "NoFaceFoundError",
    "crop_face",
    "crop_tracks",
    "crop_upright",
    "find_cuts",
    "find_face_tracks",
    "link_detections",
    "main_face",
    "smooth_boxes",
    "track_from_boxes",
]

# Every so many frames the whole frame is searched, in between only the neighbourhood of the faces found last.
WHOLE_SEARCH_EVERY = 4
# Inside a gap of a track, near the place where the face must be, a lower score convinces.
GAP_SCORE = 0.7
# What is tried before giving up: this many frames at this size, and this many more frames.
_FINE_FRAMES, _FINE_SIDE, _FINE_FACE = 8, 1280, 20
_MORE_FRAMES_FACTOR, _MAX_MORE_FRAMES = 3, 60
# Where faces are seen on a smaller share of the frames than this, the video may lie on its side: it does if a turn
# shows faces on so large a share of this many frames, and at least twice as often.
_SELDOM, _TURNED_SHARE, _TURNED_FRAMES = 0.5, 0.75, 4


class NoFaceFoundError(VideoError):
    """The video was decoded, and no face was found on the wanted frames nor on others."""

    reason = "no_face"


@dataclass(frozen=True, kw_only=True)
class FaceCropSettings:
    """What a checkpoint wants its face crops to be; JSON scalars only.

    Args:
        margin: Side of the crop over the longer side of the face box; 1.3 is the field's norm (FaceForensics++,
            DeepfakeBench).
        square: A square crop around the centre of the box; otherwise the crop has the shape of the box times `margin`.
        padding: What stands for pixels outside of the frame: its reflection, or zeros.
        min_face_size: Smallest face searched for at first, in pixels of the frame scaled to `max_side`.
        min_score: Detections below this score are ignored.
        max_side: Long side in pixels of the scaled frame that is searched at first.
        smooth_boxes: Average the boxes of up to five consecutive frames; frames spread over a video are untouched.
    """

    margin: float = 1.3
    square: bool = True
    padding: Literal["reflect", "zero"] = "reflect"
    min_face_size: int = 40
    min_score: float = 0.9
    max_side: int = 640
    smooth_boxes: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("margin", 0.1, 10), ("min_score", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"{name} must be a number from {low} to {high}, got {value!r}")
        for name, low, high in (("min_face_size", 12, 1000), ("max_side", 64, 10_000)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r}")
        for name in ("square", "smooth_boxes"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.padding not in ("reflect", "zero"):
            raise ValueError(f'padding must be "reflect" or "zero", got {self.padding!r}')


# --- geometry -------------------------------------------------------------------------------------------------------


def crop_face(
    frame: np.ndarray,
    box: np.ndarray,
    *,
    margin: float = 1.3,
    square: bool = True,
    padding: Literal["reflect", "zero"] = "reflect",
    quarter_turns: int = 0,
) -> np.ndarray:
    """Cut a face out of `frame`, (H, W, 3) uint8, and turn it counterclockwise by so many quarters.

    The crop is centred on `box` (x0, y0, x1, y1 in pixels). A square one has the side max(w, h) * margin, another one
    (h * margin, w * margin), both rounded, at least one pixel and at most twice the frame's longer side. The box may
    lie anywhere: what is outside of the frame is its reflection (that of `numpy.pad`, however far) or zeros.

    Returns a new (h, w, 3) uint8 array. Raises `ValueError` for a box that is not four finite numbers.
    """
    box = np.asarray(box, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"a face box must be four finite numbers, got {box.tolist()}")
    height, width = frame.shape[:2]
    longest = max(height, width)
    box = np.clip(box, -longest, 2 * longest)  # keeps absurd boxes from asking for absurd memory
    sides = np.abs(box[2:] - box[:2]) * margin
    if square:
        sides = np.full(2, sides.max())
    counts = np.clip(np.rint(sides), 1, 2 * longest).astype(int)
    x, y = np.rint((box[:2] + box[2:] - counts) / 2).astype(int)
    columns, rows = np.arange(x, x + counts[0]), np.arange(y, y + counts[1])
    crop: np.ndarray = frame[_reflect(rows, height)[:, None], _reflect(columns, width)]
    if padding == "zero":
        crop[(rows < 0) | (rows >= height)] = 0
        crop[:, (columns < 0) | (columns >= width)] = 0
    return np.ascontiguousarray(np.rot90(crop, quarter_turns)) if quarter_turns else crop


def _reflect(positions: np.ndarray, length: int) -> np.ndarray:
    """Positions on an endless line that is mirrored at the first and the last of `length` pixels."""
    period = max(1, 2 * (length - 1))
    folded = positions % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(positions)


# --- search ---------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Search:
    """The faces found in one pass over some frames of a video, in pixels of a picture of `size` (width, height)."""

    size: tuple[int, int]
    indices: list[int] = field(default_factory=list)
    faces: list[list[FaceDetection]] = field(default_factory=list)
    searched_whole: list[bool] = field(default_factory=list)
    cuts: set[int] = field(default_factory=set)

    def link(self, timestamps_s: np.ndarray) -> list[FaceTrack]:
        times = timestamps_s[self.indices]
        return link_detections(self.indices, self.faces, timestamps_s=times, cuts=self.cuts, size=self.size)


def find_face_tracks(
    source: FrameSource,
    indices: Iterable[int],
    *,
    settings: FaceCropSettings,
    detector: FaceDetector | None = None,
) -> list[FaceTrack]:
    """Find the faces of a video on the frames `indices` and link them into tracks, the main face first.

    With MTCNN (the default), only every fourth frame is searched as a whole, and the frames between around the faces
    found last; a face lost there has its frame searched as a whole. Another detector gets each whole frame.
    Where a face is seen on less than half of the frames, some are turned by 90, 180 and 270 degrees: if one of these
    shows faces nearly always, the video lies on its side, and its tracks are those of the turned frames. Where no face
    is seen at all, smaller faces are searched on some of the frames, then three times as many frames of the video (the
    tracks then hold these frames); at last, a single face in a turned frame is enough.

    Raises `NoFaceFoundError` if all that finds none, `VideoDecodeError` if none of the frames decodes, and
    `ImportError` where facenet-pytorch is missing.
    """
    wanted = sorted({int(i) for i in indices})
    times = np.asarray(source.timestamps_s, dtype=np.float64)
    if detector is None:
        detector = MTCNNDetector(min_face_size=settings.min_face_size, max_side=settings.max_side)
    search = _search(source, wanted, detector, settings.min_score)
    if not search.indices:
        raise VideoDecodeError(source.name, f"none of the {len(wanted)} wanted frames decodes")
    if sum(map(bool, search.faces)) < _SELDOM * len(search.faces):
        search, detector = _search_harder(source, search, detector, settings.min_score)
    if not any(search.faces):
        raise NoFaceFoundError(
            source.name, f"no face found on {len(wanted)} frames, nor on more frames, smaller or turned"
        )
    tracks = search.link(times)
    if isinstance(detector, MTCNNDetector) and _look_again(source, search, tracks, detector, settings.min_score):
        tracks = search.link(times)
    if isinstance(detector, _Turned):
        tracks = [replace(track, quarter_turns=detector.quarter_turns) for track in tracks]
    return [smooth_boxes(track) for track in tracks] if settings.smooth_boxes else tracks


def _search(source: FrameSource, indices: Sequence[int], detector: FaceDetector, min_score: float) -> _Search:
    """Search frames in order, following the faces found last where the detector allows it."""
    search: _Search | None = None
    thumbnails: list[np.ndarray] = []
    sizes: list[tuple[int, int]] = []
    for index, frame in source.frames(indices):
        # Known without decoding once a frame was read.
        search = search or _Search((source.width, source.height))
        thumbnails.append(scale_frame(frame, 32, 32).numpy())
        sizes.append((frame.shape[1], frame.shape[0]))
        found: list[FaceDetection] | None = None
        can_follow = len(search.faces) % WHOLE_SEARCH_EVERY and sizes[-1] == sizes[-2]
        if can_follow and isinstance(detector, MTCNNDetector):
            found = _follow(detector, frame, search.faces[-1], min_score, search.size)
        search.searched_whole.append(found is None)
        if found is None:
            detected = [face for face in detector.detect(frame[None])[0] if face.score >= min_score]
            found = [_rescale(face, sizes[-1], search.size) for face in detected]
        search.indices.append(index)
        search.faces.append(found)
    if search is None:
        return _Search((0, 0))
    times = np.asarray(source.timestamps_s, dtype=np.float64)[search.indices]
    aspects = [width / height for width, height in sizes]
    search.cuts |= find_cuts(search.indices, np.stack(thumbnails), times, aspects=aspects)
    return search


def _rescale(face: FaceDetection, old: tuple[int, int], new: tuple[int, int]) -> FaceDetection:
    """A face of a picture of one width and height in a picture of another; landmarks are left out there."""
    return face if old == new else FaceDetection(rescale_box(face.box, old, new), face.score)


def _detect_near(
    detector: MTCNNDetector, frame: np.ndarray, box: np.ndarray, size: tuple[int, int]
) -> list[FaceDetection]:
    """`detect_near` with boxes in pixels of a picture of `size` (width, height)."""
    own = (frame.shape[1], frame.shape[0])
    return [_rescale(face, own, size) for face in detect_near(detector, frame, rescale_box(box, size, own))]


def _follow(
    detector: MTCNNDetector, frame: np.ndarray, last: list[FaceDetection], min_score: float, size: tuple[int, int]
) -> list[FaceDetection] | None:
    """Each of the `last` faces in this frame; None where there is none or one is lost."""
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
    """The face that overlaps `box` most, leaving out unsure ones and those that are `taken`."""
    candidates = [
        (box_iou(face.box, box), face.score, i)
        for i, face in enumerate(near)
        if face.score >= min_score and all(box_iou(face.box, other.box) <= MIN_IOU for other in taken)
    ]
    best = max(candidates, default=(0.0, 0.0, 0))
    return near[best[2]] if best[0] > MIN_IOU else None


def _look_again(
    source: FrameSource, search: _Search, tracks: list[FaceTrack], detector: MTCNNDetector, min_score: float
) -> bool:
    """Search for each face near its place in the few frames beside its detections; True if any was found.

    This fills gaps, where a lower score will do, and finds newcomers in the frames before the whole search that
    first saw them.
    """
    position_of = {index: p for p, index in enumerate(search.indices)}
    expected: dict[int, list[tuple[np.ndarray, float]]] = {}
    for track in tracks:
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
    source: FrameSource, search: _Search, detector: FaceDetector, min_score: float
) -> tuple[_Search, FaceDetector]:
    """What finds more than `search` did, and the detector that found it: see `find_face_tracks`."""
    indices, is_empty = search.indices, not any(search.faces)
    few = _spread(indices, _FINE_FRAMES if is_empty else _TURNED_FRAMES)
    upright = sum(bool(faces) for index, faces in zip(indices, search.faces, strict=True) if index in few)
    fine = None
    if is_empty and isinstance(detector, MTCNNDetector):
        fine = replace(detector, max_side=max(_FINE_SIDE, detector.max_side), min_face_size=_FINE_FACE)
    turns = [_Turned(detector, quarter_turns) for quarter_turns in (1, 3, 2)]
    counts, is_small = [0, 0, 0], False
    # One pass for all: decoding large frames again costs more than looking at them.
    for _, frame in source.frames(few):
        for i, turned in enumerate(turns):
            counts[i] += _sees(turned, frame, min_score)
        is_small = is_small or (fine is not None and _sees(fine, frame, min_score))
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


def _sees(detector: FaceDetector, frame: np.ndarray, min_score: float) -> bool:
    return any(face.score >= min_score for face in detector.detect(frame[None])[0])


@dataclass(frozen=True)
class _Turned:
    """A detector that looks for faces which so many turns of 90 degrees counterclockwise put upright."""

    detector: FaceDetector
    quarter_turns: int

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        return [detect_turned(self.detector, frame, self.quarter_turns) for frame in frames]


def _spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spread from the first to the last."""
    if len(values) <= count:
        return list(values)
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, count).round()]


# --- crops ----------------------------------------------------------------------------------------------------------


def crop_upright(
    frame: np.ndarray,
    box: np.ndarray,
    quarter_turns: int,
    settings: FaceCropSettings,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """`crop_face` as the settings say it, for a box in pixels of a picture of `size` (width, height)."""
    return crop_face(
        frame,
        rescale_box(box, size, (frame.shape[1], frame.shape[0])),
        margin=settings.margin,
        square=settings.square,
        padding=settings.padding,
        quarter_turns=quarter_turns,
    )


def crop_tracks(
    source: FrameSource,
    tracks: Sequence[FaceTrack],
    *,
    settings: FaceCropSettings,
    resize: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Cut all tracks out of the video in one pass over its frames.

    Each crop goes through `resize` ((h, w, 3) uint8 to (H, W, 3) uint8 of one size) at once, so that no stack of large
    frames exists. Returns one (T, H, W, 3) uint8 array a track, in the order of its frame indices.
    Raises `VideoDecodeError` where a frame of a track does not decode.
    """
    wanted: dict[int, list[tuple[int, np.ndarray]]] = {}
    for i, track in enumerate(tracks):
        for index, box in zip(track.frame_indices.tolist(), track.boxes, strict=True):
            wanted.setdefault(index, []).append((i, box))
    crops: list[list[np.ndarray]] = [[] for _ in tracks]
    for index, frame in source.frames(sorted(wanted)):
        for i, box in wanted.pop(index):
            track = tracks[i]
            crops[i].append(resize(crop_upright(frame, box, track.quarter_turns, settings, track.size)))
    if wanted:
        raise VideoDecodeError(source.name, f"frame {min(wanted)} holds a face but does not decode")
    return [np.stack(track_crops) for track_crops in crops]
