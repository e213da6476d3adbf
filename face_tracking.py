# SPDX-License-Identifier: Apache-2.0
"""Link the faces of single frames into tracks: one track per face, ended by every cut."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .face_detection import FaceDetection


# Two detections may be the same face if their boxes overlap by more than MIN_IOU, or if it moved no further than a
# walking person does: by at most SIZES_PER_SECOND face sizes per second, MAX_SIZES face sizes in total, and a change
# of size by a factor of at most MAX_GROWTH.
MIN_IOU = 0.3
SIZES_PER_SECOND = 5.0
MAX_SIZES = 1.5
MAX_GROWTH = 2.0
# Maximum number of consecutive sampled frames in which a face may be missing.
MAX_GAP = 3
# The position of a face between two detections further apart than this is unknown, so it is not interpolated.
MAX_INTERPOLATED_S = 1.0

# A cut: frames at most DENSE_S apart whose thumbnails differ by CUT_LEVEL of 255 and CUT_RATIO times as much as the
# frames around them do. In real videos about 10 of 4,900 pairs of consecutive frames are taken for a cut, and at most
# one of 450 seams between two videos is missed.
DENSE_S = 0.2
CUT_LEVEL = 4.0
CUT_RATIO = 4.0
_LONE_CUT_LEVEL = 20.0
# Sizes are rounded to whole pixels or to blocks of 16, so aspect ratios that differ by up to this share count as
# equal.
MAX_ASPECT_CHANGE = 0.05


@dataclass(eq=False)
class FaceTrack:
    """One face followed through the frames of one video.

    Args:
        track_id: Index of the track in the video; 0 is the main face.
        frame_indices: (T,) int64, ascending.
        boxes: (T, 4) float64 x0, y0, x1, y1 in pixels of the displayed image, see `size`.
        scores: (T,) float64 detector scores; NaN where the box is interpolated.
        interpolated: (T,) bool, True where the face was not detected but lies between two detections.
        quarter_turns: Turns of 90 degrees counterclockwise after which the face is upright.
        size: Width and height of the image that the boxes refer to; `None` for those of each frame. The frame size may
            change within a video; `rescale_box` maps a box to a frame of a different size.
    """

    track_id: int
    frame_indices: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    interpolated: np.ndarray
    quarter_turns: int = 0
    size: tuple[int, int] | None = None

    @property
    def num_detected(self) -> int:
        """Number of frames in which the face was detected."""
        return int(np.count_nonzero(~self.interpolated))

    @property
    def median_area(self) -> float:
        """Median area of the boxes in square pixels."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return float(np.median(sides[:, 0] * sides[:, 1]))

    def coverage(self, num_sampled: int) -> float:
        """Share of `num_sampled` frames in which the face was detected."""
        return min(1.0, self.num_detected / num_sampled) if num_sampled > 0 else 0.0

    def boxes_in(self, size: tuple[int, int] | None) -> np.ndarray:
        """Return the boxes, (T, 4), in pixels of an image of the given width and height."""
        if size is None or self.size in (None, size):
            return self.boxes
        return np.stack([rescale_box(box, self.size, size) for box in self.boxes])

    def on_frames(self, indices: np.ndarray) -> FaceTrack:
        """Return the track restricted to these frames of the video; it may be empty."""
        kept = np.isin(self.frame_indices, indices)
        parts = {name: getattr(self, name)[kept] for name in ("frame_indices", "boxes", "scores", "interpolated")}
        return replace(self, **parts)


def rescale_box(box: np.ndarray, old: tuple[int, int] | None, new: tuple[int, int]) -> np.ndarray:
    """Map a box, (4,) x0, y0, x1, y1, from an image of size `old` to one of size `new` (width, height).

    The images are assumed to share their centre and are scaled to the same longer side. This is exact for a change of
    resolution, for letterbox bars that appear or disappear, and for a camera that is rotated by 90 degrees.
    """
    if old is None or old == new:
        return box
    scale = max(new) / max(old)
    shift = (np.array(new) - np.array(old) * scale) / 2
    moved: np.ndarray = box * scale + np.tile(shift, 2)
    return moved


@dataclass(eq=False)
class _Chain:
    """Detections linked to one face so far, with their positions among the sampled frames."""

    positions: list[int] = field(default_factory=list)
    faces: list[FaceDetection] = field(default_factory=list)


def link_detections(
    frame_indices: Sequence[int] | np.ndarray,
    detections: Sequence[Sequence[FaceDetection]],
    *,
    timestamps_s: np.ndarray,
    cuts: Collection[int] = (),
    size: tuple[int, int] | None = None,
) -> list[FaceTrack]:
    """Link the faces of single frames into tracks; the order of the faces within a frame doesn't matter.

    Neighbours in time are linked one to one, closest first, if their boxes overlap (IoU > 0.3) or, for frames further
    apart in time, if position and size could have changed that much in between. A track ends at a cut, or when the
    face is missing in more than `MAX_GAP` consecutive sampled frames. Gaps of up to a second are interpolated, unless
    another face occupies that position. Two faces that appear one after the other at the same position in frames
    seconds apart cannot be told apart by geometry and become one track.

    Args:
        frame_indices: (T,) ascending indices of the sampled frames.
        detections: Faces detected in each of these frames.
        timestamps_s: (T,) times in seconds.
        cuts: Frame indices that start a new scene.
        size: Width and height of the image that all boxes refer to, if the frames differ in size.

    Returns:
        The tracks, the main face first, numbered in this order.
    """
    indices = np.asarray(frame_indices, dtype=np.int64)
    times = np.asarray(timestamps_s, dtype=np.float64)
    if not len(indices) == len(detections) == len(times):
        raise ValueError(
            f"frame_indices, detections and timestamps_s must have the same length, got {len(indices)}, "
            f"{len(detections)} and {len(times)}"
        )
    chains: list[_Chain] = []
    alive: list[_Chain] = []
    for position, found in enumerate(detections):
        faces = sorted(found, key=lambda face: (*face.box.tolist(), face.score))
        alive = (
            [c for c in alive if position - c.positions[-1] <= MAX_GAP + 1] if indices[position] not in cuts else []
        )
        elapsed = [float(times[position] - times[chain.positions[-1]]) for chain in alive]
        pairs = _match([chain.faces[-1] for chain in alive], elapsed, faces)
        for i, face in enumerate(faces):
            if i in pairs:
                chain = alive[pairs[i]]
            else:
                chain = _Chain()
                chains.append(chain)
                alive.append(chain)
            chain.positions.append(position)
            chain.faces.append(face)
    tracks = [_to_track(chain, indices, times, detections) for chain in chains]
    tracks.sort(key=_prominence, reverse=True)  # stable: of equals, the earlier and further left comes first
    return [replace(track, track_id=i, size=size) for i, track in enumerate(tracks)]


def _prominence(track: FaceTrack) -> float:
    return track.num_detected * track.median_area


def _match(known: list[FaceDetection], elapsed_s: list[float], faces: list[FaceDetection]) -> dict[int, int]:
    """Pairs face -> known face, one to one, the closest first."""
    if not known or not faces:
        return {}
    new_boxes = np.stack([face.box for face in faces])
    steps = np.stack([_step_costs(old.box, new_boxes, seconds) for old, seconds in zip(known, elapsed_s, strict=True)])
    could_be = np.argwhere(np.isfinite(steps)).tolist()
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, k, i in sorted((steps[k, i], k, i) for k, i in could_be):
        if i not in pairs and k not in taken:
            pairs[i] = k
            taken.add(k)
    return pairs


def _step_costs(old: np.ndarray, new: np.ndarray, elapsed_s: float) -> np.ndarray:
    """How far a face would have moved and grown to each of the boxes (N, 4), in its own sizes; inf if it did not."""
    old_size, new_sizes = _size(old), _sizes(new)
    shifts = (old[:2] + old[2:] - new[:, :2] - new[:, 2:]) / 2
    distances = np.linalg.norm(shifts, axis=1) / np.sqrt(old_size * new_sizes)
    growths = np.maximum(old_size, new_sizes) / np.minimum(old_size, new_sizes)
    could_move = (distances <= min(SIZES_PER_SECOND * elapsed_s, MAX_SIZES)) & (growths <= MAX_GROWTH)
    is_one_face = could_move | (box_ious(old, new) > MIN_IOU)
    return np.where(is_one_face, distances + np.log2(growths), np.inf)


def _size(box: np.ndarray) -> float:
    width, height = np.maximum(box[2:] - box[:2], 1e-3)
    return math.sqrt(width * height)


def _sizes(boxes: np.ndarray) -> np.ndarray:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
    sizes: np.ndarray = np.sqrt(sides[:, 0] * sides[:, 1])
    return sizes


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(box_ious(a, b[None])[0])


def box_ious(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the overlap (IoU) of a box (4,) with each of others (N, 4), without a loop, which is slow for a crowd."""
    common = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0).prod(axis=1)
    overlaps: np.ndarray = common / np.maximum(_size(box) ** 2 + _sizes(others) ** 2 - common, 1e-9)
    return overlaps


def _to_track(
    chain: _Chain, indices: np.ndarray, times: np.ndarray, detections: Sequence[Sequence[FaceDetection]]
) -> FaceTrack:
    """The chain as arrays, with the short gaps filled in."""
    known = np.stack([face.box for face in chain.faces]).astype(np.float64)
    scores = dict(zip(chain.positions, (face.score for face in chain.faces), strict=True))
    first, last = chain.positions[0], chain.positions[-1]
    boxes = np.stack(
        [np.interp(indices[first : last + 1], indices[chain.positions], known[:, side]) for side in range(4)], axis=1
    )
    kept = list(chain.positions)
    for before, after in zip(chain.positions, chain.positions[1:], strict=False):
        if times[after] - times[before] <= MAX_INTERPOLATED_S:
            kept += [
                p
                for p in range(before + 1, after)
                if all(box_iou(boxes[p - first], face.box) <= MIN_IOU for face in detections[p])
            ]
    kept.sort()
    return FaceTrack(
        track_id=0,
        frame_indices=indices[kept],
        boxes=boxes[np.array(kept) - first],
        scores=np.array([scores.get(p, math.nan) for p in kept], dtype=np.float64),
        interpolated=np.array([p not in scores for p in kept], dtype=bool),
    )


def find_cuts(
    frame_indices: Sequence[int],
    thumbnails: np.ndarray,
    timestamps_s: np.ndarray,
    *,
    aspects: Sequence[float] | None = None,
) -> set[int]:
    """Find the frames that start a new scene, by comparing frames at most 0.2 s apart.

    A frame starts a scene if it differs from the previous frame far more than the surrounding frames differ from each
    other, so that neither a still nor a moving camera produces cuts. Frames further apart never count as a cut,
    because a gesture can change the image just as much. Nor do two frames of different shape, whose thumbnails cannot
    be compared. `thumbnails` are (T, h, w, 3), `timestamps_s` (T,), and `aspects` (T,) the width over the height of
    each frame.
    """
    if len(frame_indices) < 2:
        return set()
    changes = np.abs(np.diff(thumbnails.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    # Times are sums of ticks: every fifth frame of 25 a second can lie a rounding error further apart.
    dense = np.diff(timestamps_s) <= DENSE_S + 1e-6
    if aspects is not None:
        dense &= np.abs(np.diff(np.log(aspects))) <= MAX_ASPECT_CHANGE
    cuts = set()
    for i in np.flatnonzero(dense & (changes > CUT_LEVEL)).tolist():
        around = np.r_[max(0, i - 4) : i, i + 1 : min(i + 5, len(changes))]
        around = around[dense[around]]
        limit = CUT_RATIO * np.median(changes[around]) if len(around) else _LONE_CUT_LEVEL
        if changes[i] > limit:
            cuts.add(int(frame_indices[i + 1]))
    return cuts


def smooth_boxes(track: FaceTrack) -> FaceTrack:
    """Average each box with its two neighbours on each side, wherever the frames are consecutive.

    This reduces the jitter of a detector's box widths from 5-10 % to 1-2 %. Towards the ends of a run, the window
    shrinks symmetrically, so that a moving box does not lag.
    """
    boxes = track.boxes.copy()
    run_ends = np.flatnonzero(np.diff(track.frame_indices) != 1) + 1
    for run in np.split(np.arange(len(boxes)), run_ends):
        for i in run:
            radius = min(2, i - run[0], run[-1] - i)
            boxes[i] = track.boxes[i - radius : i + radius + 1].mean(axis=0)
    return replace(track, boxes=boxes)
