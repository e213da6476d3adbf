# SPDX-License-Identifier: Apache-2.0
"""The face clips of a video or photo as a model receives them, for research and for your own models."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..clip_sampling import Clip
from ..common.files import as_paths
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..video_errors import VideoLimits
from .clip_reading import ReadVideo, read_video
from .models import load_processor, pixel_values
from .settings import ScanSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceClip:
    """
    The clip of one face as a model receives it; T is the number of frames.

    If the face was found in fewer frames than a clip has, some frames are repeated. The clip of a photo has one frame.

    Attributes:
        pixel_values_videos: Tensor of shape (1, T, C, H, W), float32, normalised: the input of the model.
        frame_indices: Array of shape (T,), int64: index of each frame in the video, from 0.
        times_s: Array of shape (T,), float64: when each frame is shown, in seconds from the start of the container.
        boxes: Array of shape (T, 4), float64: x0, y0, x1, y1 of the detected face in pixels of the frame as a player
            shows it, without the margin of the crop. `None` if the model scores whole frames.
        track_id: Number of the face; 0 is the main face. `None` for whole frames.
        coverage: Share of the sampled frames in which the face was detected. `None` for whole frames.
    """

    pixel_values_videos: torch.Tensor
    frame_indices: np.ndarray
    times_s: np.ndarray
    boxes: np.ndarray | None
    track_id: int | None
    coverage: float | None


def face_clips(
    video: str | Path,
    model: str | Path | DeepfakeVideoProcessor | None = None,
    *,
    num_frames: int | None = None,
    limits: VideoLimits | None = None,
) -> list[FaceClip]:
    """
    Decode a video or photo, find the faces, and preprocess one clip per face as [`scan`] does.

    Only the preprocessing of the model is loaded, not its weights.

    Args:
        video: Path or address.
        model: Model folder or Hub id, or a video processor. The packaged checkpoint by default.
        num_frames: Number of frames per clip of a video. That of the model by default.
        limits: Limits on what is read. The defaults and the environment variables by default.

    Returns:
        One clip per face, the main face first; a single clip of whole frames if the model does not crop faces.

    Raises:
        VideoError: If the file cannot be read, or if no face is found (`NoFaceFoundError`).
        UsageError: If an argument is of another type, or the preprocessing of the model cannot be loaded
            ([`ModelLoadError`]).

    Example:

        >>> from deepfake_video import face_clips
        >>> clips = face_clips("clip.mp4", num_frames=8)
        >>> clip = clips[0]
        >>> tuple(clip.pixel_values_videos.shape), clip.boxes.shape, clip.times_s.shape
        ((1, 8, 3, 224, 224), (8, 4), (8,))
    """
    (path,) = as_paths("video", [video])
    processor = model if isinstance(model, DeepfakeVideoProcessor) else load_processor(model)
    read = read_video(path, [processor], ScanSettings(num_frames=num_frames, limits=limits))
    coverages = {face.track.track_id: face.coverage for face in read.faces[0]}
    return [_face_clip(read, clip, processor, coverages) for clip in read.clips[0]]


def _face_clip(
    read: ReadVideo, clip: Clip, processor: DeepfakeVideoProcessor, coverages: dict[int, float]
) -> FaceClip:
    track = clip.track
    boxes = None
    if track is not None:
        boxes = track.boxes[np.searchsorted(track.frame_indices, clip.frame_indices)]
    return FaceClip(
        pixel_values_videos=pixel_values(processor, clip.frames),
        frame_indices=clip.frame_indices,
        times_s=np.array([read.times_s[index] for index in clip.frame_indices.tolist()]),
        boxes=boxes,
        track_id=None if track is None else track.track_id,
        coverage=None if track is None else coverages[track.track_id],
    )
