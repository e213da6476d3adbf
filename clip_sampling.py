# Copyright 2026 The deepfake-video authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Sample frames from an open video and crop them into clips. This part of the preprocessing needs only numpy."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .face_cropping import FaceCropSettings, FaceDetector, FaceTrack, crop_tracks, find_face_tracks
from .video_decoding import FrameSource, VideoDecodeError, select_frames
from .video_errors import UnsupportedVideoError


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """
    Frames of one video that are scored together.

    Attributes:
        frames: Array of shape (T, H, W, 3), uint8 RGB, resized.
        frame_indices: Array of shape (T,), the index of each frame in the video.
        track: The face that the frames show; `None` if faces are not cropped.
    """

    frames: np.ndarray
    frame_indices: np.ndarray
    track: FaceTrack | None = None


class ClipSampler:
    """
    Select the frames of a video to score and crop its clips, with the settings of a subclass.

    The settings have the same names as in [`DeepfakeVideoProcessor`], which is one of the subclasses.
    """

    num_frames: int
    frame_sampling: Any
    do_crop_faces: bool
    face_detector: Any

    def frame_indices(self, total: int, video_fps: float | None = None, **kwargs: Any) -> np.ndarray:
        """
        Select the frames of a video to score; if the video is too short, some frames are repeated.

        Args:
            total (`int`):
                Number of frames of the video.
            video_fps (`float`, *optional*):
                Frames per second of the video, required if `fps` is among the `kwargs`.
            kwargs:
                `num_frames` or `fps`, `frame_sampling` and `burst_length`, which replace the settings of the
                processor.

        Returns:
            `np.ndarray` of shape `(num_frames,)`, ascending.

        Raises:
            ValueError: If both `num_frames` and `fps` are given, if one of them is not positive, or if `fps` is given
                and the frame rate of the video is unknown.
        """
        num_frames, fps = kwargs.get("num_frames"), kwargs.get("fps")
        if fps is not None:
            if num_frames is not None:
                raise ValueError("`num_frames` and `fps` are mutually exclusive: give only one of them.")
            if video_fps is None:
                raise ValueError("Sampling by `fps` needs the clip's own rate: give `video_metadata` with `fps`.")
            if not fps > 0:
                raise ValueError(f"fps must be positive, got {fps}.")
            num_frames = max(1, int(total / video_fps * fps))
        return select_frames(
            total,
            self.num_frames if num_frames is None else num_frames,
            sampling=self._choice(kwargs, "frame_sampling"),
            burst_length=self._choice(kwargs, "burst_length"),
        )

    def read_clips(
        self,
        source: FrameSource,
        indices: np.ndarray,
        *,
        max_faces: int | None = None,
        detector: FaceDetector | None = None,
        keep_frames: bool = False,
        **kwargs: Any,
    ) -> list[Clip]:
        """
        Read the clips of a video: one per face, the main face first, or a single clip of whole frames.

        Every clip has as many frames as `indices`; if a face is detected in fewer frames, some are repeated. If it is
        detected in more, which a search of additional frames may do, the clip is spread over all of them.

        Args:
            source (`FrameSource`):
                An open [`VideoReader`] or a [`FrameArray`].
            indices (`np.ndarray` of shape `(num_frames,)`):
                Indices returned by [`frame_indices`].
            max_faces (`int`, *optional*):
                Maximum number of clips.
            detector (`FaceDetector`, *optional*):
                Face detector; the one that `face_detector` names by default.
            keep_frames (`bool`, *optional*, defaults to `False`):
                Keep whole frames in the cache of the source for later calls.
            kwargs:
                Settings that replace those of the processor.

        Raises:
            NoFaceFoundError: If faces are cropped and no face is found.
            VideoError: If no frame can be decoded.
        """
        if not self._choice(kwargs, "do_crop_faces"):
            found = source.frames(indices, keep=keep_frames)
            frames = {index: self.resize_frame(frame, **kwargs) for index, frame in found}
            shown = np.array([index for index in indices if index in frames])
            if len({frame.shape for frame in frames.values()}) > 1:
                message = (
                    "the frame size changes within the video, and the preprocessing of the model does not give all "
                    "frames one size: set do_resize and a size with height and width"
                )
                raise UnsupportedVideoError(source.name, message)
            return [_fill([frames[index] for index in shown], shown, len(indices), None)]
        tracks = find_face_tracks(source, indices, settings=self.face_settings(**kwargs), detector=detector)
        return self.crop_clips(source, tracks[:max_faces], len(indices), **kwargs)

    def crop_clips(
        self, source: FrameSource, tracks: Sequence[FaceTrack], clip_length: int, **kwargs: Any
    ) -> list[Clip]:
        """
        Crop one clip of `clip_length` frames per face track, for faces that were found before.

        Args:
            source (`FrameSource`):
                The video in which the faces were found.
            tracks (`Sequence[FaceTrack]`):
                The faces.
            clip_length (`int`):
                Number of frames per clip; if a face is detected in fewer frames, some are repeated.
            kwargs:
                Settings that replace those of the processor.
        """

        def resize(frame: np.ndarray) -> np.ndarray:
            return self.resize_frame(frame, **kwargs)

        settings = self.face_settings(**kwargs)
        try:
            crops = crop_tracks(source, tracks, settings=settings, resize=resize)
        except VideoDecodeError:
            # In a damaged file, a frame that was decoded for the search may fail the second time; it is left out.
            wanted = np.unique(np.concatenate([track.frame_indices for track in tracks]))
            decoded = np.array([index for index, _ in source.frames(wanted)])
            tracks = [track.on_frames(decoded) for track in tracks]
            if not all(len(track.frame_indices) for track in tracks):
                raise
            crops = crop_tracks(source, tracks, settings=settings, resize=resize)
        return [
            _fill(list(frames), track.frame_indices, clip_length, track)
            for frames, track in zip(crops, tracks, strict=True)
        ]

    def face_settings(self, **kwargs: Any) -> FaceCropSettings:
        """Return the face settings as [`FaceCropSettings`]; warn if the detector is not that of the processor."""
        detector = self._choice(kwargs, "face_detector")
        if detector != self.face_detector:
            _warn_of_detector(detector, self.face_detector)
        return FaceCropSettings(
            detector=detector,
            margin=self._choice(kwargs, "face_margin"),
            square=self._choice(kwargs, "face_square"),
            padding=self._choice(kwargs, "face_padding"),
            min_face_size=self._choice(kwargs, "face_min_size"),
            min_score=self._choice(kwargs, "face_min_score"),
        )

    def resize_frame(self, frame: np.ndarray, **kwargs: Any) -> np.ndarray:
        """
        Resize one frame to the input size of the network, so that large frames do not accumulate in memory.

        Args:
            frame (`np.ndarray` of shape `(H, W, 3)`):
                RGB, uint8.
            kwargs:
                Settings that replace those of the processor.
        """
        raise NotImplementedError

    def _choice(self, kwargs: dict[str, Any], name: str) -> Any:
        value = kwargs.get(name)
        return getattr(self, name) if value is None else value


@functools.cache
def _warn_of_detector(detector: str, own: str) -> None:
    logger.warning(f"Faces are detected by {detector}, but the checkpoint was made for {own}; scores may differ.")


def _fill(frames: Sequence[np.ndarray], shown: np.ndarray, length: int, track: FaceTrack | None) -> Clip:
    """Return a clip of `length` frames, spread over all of them; fewer are repeated as evenly as possible."""
    if len(frames) < length:
        kept = np.arange(length) * len(frames) // length
    else:
        kept = np.linspace(0, len(frames) - 1, length).round().astype(np.int64)
    return Clip(np.stack(frames)[kept], np.asarray(shown)[kept], track)


__all__ = ["Clip", "ClipSampler"]
