# SPDX-License-Identifier: Apache-2.0
"""Finding faces in single frames: the detector protocol, its MTCNN backend, and searches near a known face.

MTCNN: Zhang et al. 2016, https://arxiv.org/abs/1604.02878, in the implementation and with the weights of
facenet-pytorch (MIT). It is imported on first use only, so that whoever brings boxes of their own can do without.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np


if TYPE_CHECKING:
    import torch


INSTALL_COMMAND = "pip install facenet-pytorch==2.5.3"

# The region searched for a known face, in sides of its box, the side in pixels that it is scaled to, and the smallest
# face there. On 60 real videos this loses no face that a whole search finds; the boxes' median IoU is .94 to .96.
_REGION_SCALE = 2.0
_REGION_SIDE = 128
_REGION_MIN_FACE = 48


@dataclass(frozen=True, eq=False)
class FaceDetection:
    """One face in one frame.

    `box` is (4,) x0, y0, x1, y1 in pixels of the frame and may reach outside of it; `score` lies in 0..1;
    `landmarks` are (5, 2) x, y: the eyes, the nose and the corners of the mouth, where the detector gives them.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None = None

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


@dataclass(frozen=True, kw_only=True)
class MTCNNDetector:
    """MTCNN from facenet-pytorch, on frames brought to a size at which it is fast and finds faces.

    A frame is scaled down until its long side is `max_side` pixels, or up until it is `min_side`; `min_face_size`
    counts pixels of that scaled frame. The networks are loaded on first use, kept by the module (an instance holds
    settings only) and shared between threads. Faces below a score of 0.7 are dropped by MTCNN itself.
    """

    min_face_size: int = 40
    max_side: int = 640
    min_side: int = 256
    device: str = "cpu"

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        """The faces of each of the `frames`, (T, H, W, 3) uint8 RGB, largest first.

        Raises `ValueError` for another kind of array and `ImportError` where facenet-pytorch is not installed.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be (T, H, W, 3) uint8 RGB, got {frames.dtype} of shape {frames.shape}: "
                "put the channels last and convert to uint8."
            )
        # One by one: a batch is no faster on a CPU, and only one scaled frame exists at a time.
        return [self._detect_one(frame) for frame in frames]

    def scaled(self, frame: np.ndarray) -> torch.Tensor:
        """The frame, (H, W, 3) uint8, at the size at which it is searched, (h, w, 3) uint8."""
        height, width = frame.shape[:2]
        scale = min(max(height, width, self.min_side), self.max_side) / max(height, width)
        return scale_frame(frame, max(1, round(height * scale)), max(1, round(width * scale)))

    def _detect_one(self, frame: np.ndarray) -> list[FaceDetection]:
        height, width = frame.shape[:2]
        if max(height, width) == 0:
            return []
        scaled = self.scaled(frame)
        if min(scaled.shape[:2]) <= self.min_face_size:  # MTCNN has no scale to search and raises
            return []
        import torch

        with torch.autocast(torch.device(self.device).type, enabled=False):
            boxes, scores, landmarks = _load_mtcnn(self.min_face_size, self.device).detect(scaled, landmarks=True)
        if boxes is None:
            return []
        unscale = np.array([width / scaled.shape[1], height / scaled.shape[0]])
        return [
            FaceDetection(
                np.asarray(box, np.float64) * np.tile(unscale, 2), float(score), np.asarray(points) * unscale
            )
            for box, score, points in zip(boxes, scores, landmarks, strict=True)
        ]


@lru_cache(maxsize=8)
def _load_mtcnn(min_face_size: int, device: str) -> Any:
    import torch

    try:
        facenet_pytorch = importlib.import_module("facenet_pytorch")
    except ModuleNotFoundError as error:
        raise ImportError(f"Finding faces needs facenet-pytorch, install it with: {INSTALL_COMMAND}") from error
    mtcnn = facenet_pytorch.MTCNN(keep_all=True, min_face_size=min_face_size, device=torch.device(device))
    # Pooling runs on vectors where the channels of a pixel lie together: a third less time, the same boxes.
    return mtcnn.eval().float().requires_grad_(False).to(memory_format=torch.channels_last)


def scale_frame(frame: np.ndarray, height: int, width: int) -> torch.Tensor:
    """The frame as (height, width, 3) uint8, averaged over the pixels that it merges.

    The channels lie apart in memory: MTCNN is a tenth faster with that.
    """
    import torch
    from torchvision.transforms.v2 import functional as F

    pixels: torch.Tensor = torch.from_numpy(np.require(frame, requirements=["C", "W"])).permute(2, 0, 1)
    if pixels.shape[1:] != (height, width):
        pixels = F.resize(pixels, [height, width], antialias=True)
    return pixels.contiguous().permute(1, 2, 0)


def detect_near(detector: MTCNNDetector, frame: np.ndarray, box: np.ndarray) -> list[FaceDetection]:
    """The faces in the neighbourhood of `box` in `frame`, (H, W, 3) uint8, for a fifth of a whole search's cost."""
    height, width = frame.shape[:2]
    center = (box[:2] + box[2:]) / 2
    reach = max(box[2] - box[0], box[3] - box[1]) * _REGION_SCALE / 2
    x0, y0 = np.floor(np.maximum(center - reach, 0)).astype(int)
    x1, y1 = np.ceil(np.minimum(center + reach, (width, height))).astype(int)
    if x1 <= x0 or y1 <= y0:
        return []
    close_up = replace(detector, max_side=_REGION_SIDE, min_side=_REGION_SIDE, min_face_size=_REGION_MIN_FACE)
    return [face.transformed(1.0, (x0, y0)) for face in close_up.detect(frame[None, y0:y1, x0:x1])[0]]


def detect_turned(detector: FaceDetector, frame: np.ndarray, quarter_turns: int) -> list[FaceDetection]:
    """The faces that are seen when `frame`, (H, W, 3) uint8, is turned counterclockwise by so many quarters.

    The boxes are those of the frame as it is; there are no landmarks.
    """
    # Turning what is searched anyway costs a hundredth of turning a frame of 3840x2160.
    picture = detector.scaled(frame).numpy() if isinstance(detector, MTCNNDetector) else frame
    height, width = picture.shape[:2]
    unscale = np.tile([frame.shape[1] / width, frame.shape[0] / height], 2)
    turned = np.ascontiguousarray(np.rot90(picture, quarter_turns))
    return [
        FaceDetection(_turn_back(face.box, quarter_turns, height, width) * unscale, face.score)
        for face in detector.detect(turned[None])[0]
    ]


def _turn_back(box: np.ndarray, quarter_turns: int, height: int, width: int) -> np.ndarray:
    """A box of `numpy.rot90(frame, quarter_turns)` in the pixels of the (height, width) frame."""
    x0, y0, x1, y1 = box
    if quarter_turns == 1:
        return np.array([width - y1, x0, width - y0, x1])
    if quarter_turns == 2:
        return np.array([width - x1, height - y1, width - x0, height - y0])
    return np.array([y0, height - x1, y1, height - x0])
