# SPDX-License-Identifier: Apache-2.0
"""Face detection in single frames: the interface of detectors and what they have in common.

The detectors of this package are `CenterFaceDetector` (`face_centerface`) and `MTCNNDetector` (`face_mtcnn`). Any
other object with a `detect` method can be used as well.
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

    `box` is (4,) x0, y0, x1, y1 in pixels of the frame and may extend beyond it; `score` lies in [0, 1]; `landmarks`
    are (5, 2) x, y of the eyes, the nose and the corners of the mouth, or `None`.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None = None

    @property
    def quarter_turns(self) -> int | None:
        """Number of counterclockwise rotations by 90 degrees that make the face upright; `None` without landmarks."""
        if self.landmarks is None:
            return None
        x, y = (self.landmarks[3:] - self.landmarks[:2]).sum(axis=0).tolist()  # from the eyes down to the mouth
        return round(-math.atan2(x, y) / (math.pi / 2)) % 4

    def moved(self, offset: Sequence[float]) -> FaceDetection:
        """Return the same face in a frame whose coordinates are these plus `offset`, x and y in pixels."""
        shift = np.asarray(offset, dtype=np.float64)
        landmarks = None if self.landmarks is None else self.landmarks + shift
        return FaceDetection(self.box + np.tile(shift, 2), self.score, landmarks)


class FaceDetector(Protocol):
    """Protocol of a face detector."""

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        """Detect the faces of each frame, (T, H, W, 3) uint8 RGB; the list of a frame without faces is empty."""
        ...


@runtime_checkable
class FollowingDetector(FaceDetector, Protocol):
    """A detector that can also follow a face between frames and find smaller faces, like those of this package."""

    def scaled(self, frame: np.ndarray) -> np.ndarray:
        """Return the frame, (H, W, 3) uint8, downscaled as far as `detect` still returns the same faces."""
        ...

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> list[FaceDetection]:
        """Detect the faces around `box`, (4,), in `frame`, (H, W, 3) uint8; cheaper than a full search."""
        ...

    def finer(self) -> FaceDetector:
        """Return a slower detector of the same kind that finds smaller faces."""
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
    """Resize a frame, (H, W, 3) uint8, to (height, width, 3) uint8 by area averaging."""
    if frame.shape[:2] == (height, width):
        return frame
    # Pillow first averages whole blocks of pixels, which takes a quarter of the time and differs by a few levels.
    picture = Image.fromarray(np.ascontiguousarray(frame))
    scaled: np.ndarray = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0))
    return scaled


def region_around(box: np.ndarray, scale: float, frame: np.ndarray) -> tuple[int, int, int, int]:
    """Return a square around a box, `scale` times its longer side and clipped to the frame.

    Returns:
        x0, y0, x1, y1 in whole pixels; x1 <= x0 or y1 <= y0 if the box lies outside the frame.
    """
    center = (box[:2] + box[2:]) / 2
    reach = max(box[2] - box[0], box[3] - box[1]) * scale / 2
    x0, y0 = np.floor(np.maximum(center - reach, 0)).astype(int).tolist()
    x1, y1 = np.ceil(np.minimum(center + reach, frame.shape[1::-1])).astype(int).tolist()
    return x0, y0, x1, y1


def detect_turned(detector: FaceDetector, frame: np.ndarray, quarter_turns: int) -> list[FaceDetection]:
    """Detect the faces in `frame`, (H, W, 3) uint8, rotated counterclockwise by `quarter_turns` times 90 degrees.

    Boxes and landmarks refer to the frame before the rotation.
    """
    # Rotating the downscaled frame costs a hundredth of rotating a frame of 3840x2160.
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
    """Map points (N, 2) of `numpy.rot90(frame, quarter_turns)` to pixels of the (height, width) frame."""
    x, y = points[:, 0], points[:, 1]
    if quarter_turns == 1:
        return np.stack([width - y, x], axis=1)
    if quarter_turns == 2:
        return np.stack([width - x, height - y], axis=1)
    return np.stack([y, height - x], axis=1)
