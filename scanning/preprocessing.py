# SPDX-License-Identifier: Apache-2.0
"""The preprocessing of a checkpoint in numpy, with the same values as `DeepfakeVideoProcessor`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..clip_sampling import ClipSampler
from ..common.errors import UsageError
from ..frame_resizing import resize_frame


# Supported settings; checkpoints with other settings are scored with torch.
_SUPPORTED = {
    "antialias": True,
    "device": None,
    "do_center_crop": False,
    "do_normalize": True,
    "do_pad": False,
    "do_rescale": True,
    "do_resize": True,
    "resample": 2,
}


class UnsupportedChoiceError(UsageError):
    """A processor has a setting that requires torch; the message names it."""

    reason = "choice"


@dataclass(kw_only=True)
class Preprocessing(ClipSampler):
    """
    Settings of a `DeepfakeVideoProcessor` that resizes to a fixed size with antialiasing and normalises.

    Attributes:
        height: Height of the network input in pixels.
        width: Width of the network input in pixels.
        image_mean: Mean of the channels, of values from 0 to 1.
        image_std: Standard deviation of the channels, of values from 0 to 1.
        rescale_factor: Factor by which pixel values are multiplied.
        channel_order: "rgb", or "bgr" for checkpoints that were trained on OpenCV's frames.
        num_frames: Number of frames per clip.
        frame_sampling: How the frames are selected from the video.
        burst_length: Consecutive frames in a burst.
        do_crop_faces: Whether face crops are scored instead of whole frames.
        face_margin: Side of the crop relative to the side of the face box.
        face_square: Whether the crop is a square.
        face_padding: Fill of pixels outside the frame.
        face_detector: Face detector.
        face_min_size: Smallest face that the first search looks for, in pixels of the searched frame.
        face_min_score: Smallest detection score of a face.
    """

    height: int
    width: int
    image_mean: Sequence[float]
    image_std: Sequence[float]
    rescale_factor: float
    channel_order: Literal["rgb", "bgr"]
    num_frames: int
    frame_sampling: Literal["even", "first", "bursts"]
    burst_length: int
    do_crop_faces: bool
    face_margin: float
    face_square: bool
    face_padding: Literal["reflect", "zero"]
    face_detector: Literal["centerface", "mtcnn"]
    face_min_size: int
    face_min_score: float
    do_resize: bool = True

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any]) -> "Preprocessing":
        """
        Create the preprocessing from the settings of a processor.

        Args:
            choices: Result of its `choices()`: validated settings with all defaults.

        Raises:
            UnsupportedChoiceError: If a setting requires torch.
        """
        for name, value in _SUPPORTED.items():
            if choices.get(name) != value:
                raise UnsupportedChoiceError(f"{name}={choices.get(name)!r} needs torch.")
        size = {name: side for name, side in choices["size"].items() if side is not None}
        if size.keys() != {"height", "width"}:
            raise UnsupportedChoiceError(f"size={size!r} needs torch.")
        own = set(cls.__dataclass_fields__) - {"height", "width"}
        values = {name: value for name, value in choices.items() if name in own}
        for name in ("image_mean", "image_std"):
            if np.ndim(values[name]) == 0:
                values[name] = [values[name]] * 3
        return cls(**size, **values)

    def resize_frame(self, frame: np.ndarray, **kwargs: Any) -> np.ndarray:
        """See [`ClipSampler.resize_frame`]; `kwargs` may hold `do_resize`."""
        if not self._choice(kwargs, "do_resize"):
            return frame
        return resize_frame(frame, self.height, self.width)

    def pixel_values(self, frames: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """
        Preprocess one clip for the network.

        Args:
            frames: Array of shape (T, H, W, 3), uint8 RGB, already sampled and cropped; resized if necessary.

        Returns:
            Array of shape (1, T, 3, height, width), float32.
        """
        resized = np.stack([self.resize_frame(np.asarray(frame)) for frame in frames])
        if self.channel_order == "bgr":
            resized = resized[..., ::-1]
        # The operations of Transformers, so that every value is the same.
        factor = np.float32(1.0 / self.rescale_factor)
        mean, std = (np.asarray(values, np.float32) * factor for values in (self.image_mean, self.image_std))
        pixels = np.empty((1, len(resized), 3, self.height, self.width), np.float32)
        for channel in range(3):
            np.subtract(resized[..., channel], mean[channel], out=pixels[0, :, channel], dtype=np.float32)
            pixels[0, :, channel] /= std[channel]
        return pixels
