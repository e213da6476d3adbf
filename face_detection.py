# SPDX-License-Identifier: Apache-2.0
"""Faces in single frames: what a detector is and gives, and what all detectors share.

The detectors of this package are `CenterFaceDetector` (`face_centerface`) and `MTCNNDetector` (`face_mtcnn`). Any
other object with a `detect` method serves as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class FaceDetection:
    """One face in one frame.

    `box` is (4,) x0, y0, x1, y1 in pixels of the frame and may reach outside of it; `score` lies in 0..1;
    `landmarks` are (5, 2) x, y: the eyes, the nose and the corners of the mouth, where the detector gives them.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None = None

    @property
    def quarter_turns(self) -> int | None:
        """Turns of 90 degrees counterclockwise after which the face is upright; `None` without landmarks."""
        if self.landmarks is None:
            return None
        x, y = (self.landmarks[3:] - self.landmarks[:2]).sum(axis=0).tolist()  # from the eyes down to the mouth
        return round(-math.atan2(x, y) / (math.pi / 2)) % 4

    def transformed(self, scale: float, offset: Sequence[float] = (0.0, 0.0)) -> FaceDetection:
        """The same face in a frame whose x, y are `scale` times these plus `offset`."""
        shift = np.asarray(offset, dtype=np.float64)
        landmarks = None if self.landmarks is None else self.landmarks * scale + shift
        return FaceDetection(self.box * scale + np.tile(shift, 2), self.score, landmarks)


class FaceDetector(Protocol):
    """Whatever finds faces in frames."""

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        """The faces of each of the `frames`, (T, H, W, 3) uint8 RGB of one size; an empty list where there is none."""
        ...


@runtime_checkable
class FollowingDetector(FaceDetector, Protocol):
    """A detector that can follow a face from frame to frame and look for smaller ones; those of this package can."""

    def scaled(self, frame: np.ndarray) -> np.ndarray:
        """The frame, (H, W, 3) uint8, made as small as it may be without a change in what `detect` finds."""
        ...

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> list[FaceDetection]:
        """The faces around `box`, (4,), in `frame`, (H, W, 3) uint8, for a part of the cost of a whole search."""
        ...

    def finer(self) -> FaceDetector:
        """A slower detector of the same kind that finds smaller faces."""
        ...


def check_frames(frames: np.ndarray) -> None:
    """Check the frames given to a detector.

    Raises:
        ValueError: If they are not (T, H, W, 3) uint8.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"frames must be (T, H, W, 3) uint8 RGB, got {frames.dtype} of shape {frames.shape}: "
            "put the channels last and convert to uint8."
        )


def scale_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """The frame, (H, W, 3) uint8, as (height, width, 3) uint8, averaged over the pixels that it merges."""
    if frame.shape[:2] == (height, width):
        return frame
    # Pillow first averages whole blocks of pixels, which takes a quarter of the time and differs by a few levels.
    picture = Image.fromarray(np.ascontiguousarray(frame))
    scaled: np.ndarray = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0))
    return scaled


def region_around(box: np.ndarray, scale: float, frame: np.ndarray) -> tuple[int, int, int, int]:
    """A square around a box, `scale` times its longer side and cut off at the edges of the frame.

    Returns:
        x0, y0, x1, y1 in whole pixels; x1 <= x0 or y1 <= y0 where the box lies outside of the frame.
    """
    center = (box[:2] + box[2:]) / 2
    reach = max(box[2] - box[0], box[3] - box[1]) * scale / 2
    x0, y0 = np.floor(np.maximum(center - reach, 0)).astype(int).tolist()
    x1, y1 = np.ceil(np.minimum(center + reach, frame.shape[1::-1])).astype(int).tolist()
    return x0, y0, x1, y1


def detect_turned(detector: FaceDetector, frame: np.ndarray, quarter_turns: int) -> list[FaceDetection]:
    """The faces that are seen when `frame`, (H, W, 3) uint8, is turned counterclockwise by so many quarters.

    Boxes and landmarks are those of the frame as it is.
    """
    # Turning what is searched anyway costs a hundredth of turning a frame of 3840x2160.
    picture = detector.scaled(frame) if isinstance(detector, FollowingDetector) else frame
    height, width = picture.shape[:2]
    unscale = np.array([frame.shape[1] / width, frame.shape[0] / height])
    turned = np.ascontiguousarray(np.rot90(picture, quarter_turns))
    found = []
    for face in detector.detect(turned[None])[0]:
        corners = _turn_back(face.box.reshape(2, 2), quarter_turns, height, width) * unscale
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        landmarks = face.landmarks
        if landmarks is not None:
            landmarks = _turn_back(landmarks, quarter_turns, height, width) * unscale
        found.append(FaceDetection(box, face.score, landmarks))
    return found


def _turn_back(points: np.ndarray, quarter_turns: int, height: int, width: int) -> np.ndarray:
    """Points (N, 2) of `numpy.rot90(frame, quarter_turns)` in the pixels of the (height, width) frame."""
    x, y = points[:, 0], points[:, 1]
    if quarter_turns == 1:
        return np.stack([width - y, x], axis=1)
    if quarter_turns == 2:
        return np.stack([width - x, height - y], axis=1)
    return np.stack([y, height - x], axis=1)
