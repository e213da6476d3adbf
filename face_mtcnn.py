# SPDX-License-Identifier: Apache-2.0
"""The face detector MTCNN.

Zhang et al. 2016, https://arxiv.org/abs/1604.02878, in the implementation and with the weights of facenet-pytorch
(MIT). facenet-pytorch and torch are imported on first use.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .face_detection import FaceDetection, check_frames, region_around


if TYPE_CHECKING:
    import torch

INSTALL_COMMAND = "pip install facenet-pytorch==2.5.3"

# Side of the region that is searched for a known face, relative to its box, the side in pixels to which it is scaled,
# and the smallest face in it. On 60 real videos this misses no face that a full search finds; the median IoU of the
# boxes is .94 to .96.
_REGION_SCALE = 2.0
_REGION_SIDE = 128
_REGION_MIN_FACE = 48
# Settings of `finer`: smallest face, and longer side of the frame, in pixels.
_FINE_SIDE, _FINE_FACE = 1280, 20


@dataclass(frozen=True, kw_only=True)
class MTCNNDetector:
    """MTCNN from facenet-pytorch, on frames scaled to a suitable size.

    A frame is scaled down until its long side is `max_side` pixels, or up until it is `min_side`; `min_face_size`
    counts pixels of that scaled frame. The networks are loaded on first use, kept in the module and shared between
    threads; an instance contains only settings. Faces below a score of 0.7 are dropped by MTCNN itself.
    """

    min_face_size: int = 40
    max_side: int = 640
    min_side: int = 256
    device: str = "cpu"

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        """Detect the faces of each frame, (T, H, W, 3) uint8 RGB, the largest first.

        Raises:
            ValueError: If the array has another shape or type.
            ImportError: If facenet-pytorch is not installed.
        """
        check_frames(frames)
        # One by one: a batch is no faster on a CPU, and only one scaled frame exists at a time.
        return [self._detect_one(frame) for frame in frames]

    def scaled(self, frame: np.ndarray) -> np.ndarray:
        """Return the frame, (H, W, 3) uint8, at the size at which it is searched, (h, w, 3) uint8."""
        scaled: np.ndarray = self._scaled(frame).numpy()
        return scaled

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> list[FaceDetection]:
        """Detect the faces around `box` in `frame`, (H, W, 3) uint8, at a fifth of the cost of a full search."""
        x0, y0, x1, y1 = region_around(box, _REGION_SCALE, frame)
        if x1 <= x0 or y1 <= y0:
            return []
        close_up = replace(self, max_side=_REGION_SIDE, min_side=_REGION_SIDE, min_face_size=_REGION_MIN_FACE)
        return [face.moved((x0, y0)) for face in close_up.detect(frame[None, y0:y1, x0:x1])[0]]

    def finer(self) -> MTCNNDetector:
        """Return a detector for faces of 20 pixels in frames of up to 1280 pixels."""
        return replace(self, max_side=max(_FINE_SIDE, self.max_side), min_face_size=_FINE_FACE)

    def _scaled(self, frame: np.ndarray) -> torch.Tensor:
        height, width = frame.shape[:2]
        scale = min(max(height, width, self.min_side), self.max_side) / max(height, width)
        return _scale(frame, max(1, round(height * scale)), max(1, round(width * scale)))

    def _detect_one(self, frame: np.ndarray) -> list[FaceDetection]:
        height, width = frame.shape[:2]
        if max(height, width) == 0:
            return []
        scaled = self._scaled(frame)
        if min(scaled.shape[:2]) <= self.min_face_size:  # MTCNN would have no scale to search and raise an error
            return []
        mtcnn = _load_mtcnn(self.min_face_size, self.device)
        import torch

        with torch.autocast(torch.device(self.device).type, enabled=False):
            boxes, scores, landmarks = mtcnn.detect(scaled, landmarks=True)
        if boxes is None:
            return []
        unscale = np.array([width / scaled.shape[1], height / scaled.shape[0]])
        return [
            FaceDetection(
                np.asarray(box, np.float64) * np.tile(unscale, 2),
                float(score),
                np.asarray(points, np.float64) * unscale,
            )
            for box, score, points in zip(boxes, scores, landmarks, strict=True)
        ]


@lru_cache(maxsize=8)
def _load_mtcnn(min_face_size: int, device: str) -> Any:
    import torch

    try:
        facenet_pytorch = importlib.import_module("facenet_pytorch")
    except ModuleNotFoundError as error:
        raise ImportError(f"Detecting faces with MTCNN requires facenet-pytorch: {INSTALL_COMMAND}") from error
    mtcnn = facenet_pytorch.MTCNN(keep_all=True, min_face_size=min_face_size, device=torch.device(device))
    # Pooling is vectorised in the channels-last format: a third less time, the same boxes.
    return mtcnn.eval().float().requires_grad_(False).to(memory_format=torch.channels_last)


def _scale(frame: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Resize the frame to (height, width, 3) uint8, bilinearly with antialiasing.

    The result is channels-first in memory, with which MTCNN is a tenth faster.
    """
    import torch
    from torchvision.transforms.v2 import functional as F

    pixels: torch.Tensor = torch.from_numpy(np.require(frame, requirements=["C", "W"])).permute(2, 0, 1)
    if pixels.shape[1:] != (height, width):
        pixels = F.resize(pixels, [height, width], antialias=True)
    return pixels.contiguous().permute(1, 2, 0)
