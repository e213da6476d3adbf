# SPDX-License-Identifier: Apache-2.0
"""A face track whose boxes are known."""

from collections.abc import Sequence

import numpy as np

from deepfake_video.face_cropping import FaceTrack


def track_from_boxes(boxes: np.ndarray, frame_indices: Sequence[int]) -> FaceTrack:
    """A track with one box per frame, (T, 4), or one box for all frames, (4,), in pixels of the displayed frame."""
    length = len(frame_indices)
    return FaceTrack(
        track_id=0,
        frame_indices=np.array(frame_indices, np.int64),
        boxes=np.broadcast_to(boxes, (length, 4)).astype(np.float64),
        scores=np.ones(length),
        interpolated=np.zeros(length, bool),
    )
