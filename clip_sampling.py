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
"""From an open video to the clips that are judged: the half of the preprocessing that needs numpy only."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .face_cropping import FaceCropSettings, FaceDetector, FaceTrack, crop_tracks, find_face_tracks
from .video_decoding import FrameSource, VideoDecodeError, select_frames


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """
    The frames of one video that are judged together.

    Attributes:
        frames: Array of shape (T, H, W, 3), uint8 RGB, resized.
        frame_indices: Array of shape (T,), which frame of the video each one is.
        track: The face they show; `None` where faces are not cropped.
    """

    frames: np.ndarray
    frame_indices: np.ndarray
    track: FaceTrack | None = None


class ClipSampler:
    """
    Which frames of a video are judged, and how its clips are cut out, by the choices that a subclass holds.

    The names of the choices are those of [`DeepfakeVideoProcessor`], which is one of the subclasses.
    """

    num_frames: int
    frame_sampling: Any
    do_crop_faces: bool
    face_detector: Any

    def frame_indices(self, total: int, video_fps: float | None = None, **kwargs: Any) -> np.ndarray:
        """
        Which frames of a video of `total` frames are judged; a video with fewer repeats some.

        Args:
            total (`int`):
                Frames of the video.
            video_fps (`float`, *optional*):
                Frames per second of the video, needed where `kwargs` ask for `fps`.
            kwargs:
                `num_frames` or `fps`, `frame_sampling` and `burst_length` in place of the processor's own.

        Returns:
            `np.ndarray` of shape `(num_frames,)`, ascending.

        Raises:
            ValueError: If both `num_frames` and `fps` are given, or the video's own rate is needed and unknown.
        """
        num_frames, fps = kwargs.get("num_frames"), kwargs.get("fps")
        if fps is not None:
            if num_frames is not None:
                raise ValueError("`num_frames` and `fps` exclude each other: give one of them.")
            if video_fps is None:
                raise ValueError("Sampling by `fps` needs the clip's own rate: give `video_metadata` with `fps`.")
            num_frames = max(1, int(total / video_fps * fps))
        return select_frames(
            total,
            num_frames or self.num_frames,
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
        The clips of a video: one for each face, the main face first, or one of the whole frames.

        Every clip has as many frames as `indices`; a face that is seen in fewer repeats some.

        Args:
            source (`FrameSource`):
                An open [`VideoReader`] or a [`FrameArray`].
            indices (`np.ndarray` of shape `(num_frames,)`):
                What [`frame_indices`] chose.
            max_faces (`int`, *optional*):
                Largest number of clips.
            detector (`FaceDetector`, *optional*):
                Finds the faces; `face_detector` if not given.
            keep_frames (`bool`, *optional*, defaults to `False`):
                Keep whole frames in the cache of the source for another call.
            kwargs:
                Choices in place of the processor's own.

        Raises:
            NoFaceFoundError: If faces are wanted and there is none.
            VideoError: If no frame decodes.
        """
        if not self._choice(kwargs, "do_crop_faces"):
            found = source.frames(indices, keep=keep_frames)
            frames = {index: self.resize_frame(frame, **kwargs) for index, frame in found}
            shown = np.array([index for index in indices if index in frames])
            return [_fill([frames[index] for index in shown], shown, len(indices), None)]
        tracks = find_face_tracks(source, indices, settings=self.face_settings(**kwargs), detector=detector)
        return self.crop_clips(source, tracks[:max_faces], len(indices), **kwargs)

    def crop_clips(
        self, source: FrameSource, tracks: Sequence[FaceTrack], clip_length: int, **kwargs: Any
    ) -> list[Clip]:
        """
        One clip of `clip_length` frames a track, for faces that were found before.

        Args:
            source (`FrameSource`):
                The video in which they were found.
            tracks (`Sequence[FaceTrack]`):
                The faces.
            clip_length (`int`):
                Frames of each clip; a face that is seen in fewer repeats some.
            kwargs:
                Choices in place of the processor's own.
        """

        def resize(frame: np.ndarray) -> np.ndarray:
            return self.resize_frame(frame, **kwargs)

        settings = self.face_settings(**kwargs)
        try:
            crops = crop_tracks(source, tracks, settings=settings, resize=resize)
        except VideoDecodeError:
            # In a damaged file, a frame that decoded for the search need not decode again: it is left out.
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
        """The face choices as [`FaceCropSettings`]; `kwargs` replace the processor's own, another detector loudly."""
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
        One frame `(H, W, 3)` uint8 at the size of the network's input, so that no large frames pile up.

        Args:
            frame (`np.ndarray` of shape `(H, W, 3)`):
                RGB, uint8.
            kwargs:
                Choices in place of its own.
        """
        raise NotImplementedError

    def _choice(self, kwargs: dict[str, Any], name: str) -> Any:
        value = kwargs.get(name)
        return getattr(self, name) if value is None else value


@functools.cache
def _warn_of_detector(detector: str, own: str) -> None:
    logger.warning(f"Faces are found by {detector}, but the checkpoint names {own}: scores may differ.")


def _fill(frames: Sequence[np.ndarray], shown: np.ndarray, length: int, track: FaceTrack | None) -> Clip:
    """A clip of `length` frames, repeating some evenly where there are fewer."""
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError("The size of the frames changes inside the video: set do_resize with a height and a width.")
    kept = np.arange(length) * len(frames) // length if len(frames) < length else np.arange(length)
    return Clip(np.stack(frames)[kept], np.asarray(shown)[kept], track)


__all__ = ["Clip", "ClipSampler"]
