# SPDX-License-Identifier: Apache-2.0
"""The plan of a conversion: the input file, the output folder, and the settings that the weights do not determine."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..common.files import make_paths, refuse_standard_output
from ..common.plans import check_fields
from ..common.text import quoted
from .errors import ConversionOptionError
from .published import PRESET_NAMES


Recurrence = Literal["sequence", "per-frame"]
Pooling = Literal["last", "mean", "max", "attention"]
Activation = Literal["relu", "gelu", "silu", "tanh", "none"]
Padding = Literal["torch", "same"]
FrameAggregation = Literal["mean-probability", "mean-logit"]
FrameSampling = Literal["even", "first", "bursts"]
ChannelOrder = Literal["rgb", "bgr"]
Faces = Literal["auto", "none"]
Triple = tuple[float, float, float]

# Lowest and highest value.
_RANGES: dict[str, tuple[float, float]] = {
    "image_size": (2, 4096),
    "padding_image_size": (1, 4096),
    "num_frames": (1, 4096),
    "face_margin": (0.5, 5),
}
_CHOICES = (
    "preset",
    "recurrence",
    "pooling",
    "attention_activation",
    "fake_index",
    "activation",
    "padding",
    "frame_aggregation",
    "frame_sampling",
    "channel_order",
    "antialias",
    "faces",
    *_RANGES,
    "image_mean",
    "image_std",
)


@dataclass(frozen=True, kw_only=True)
class ConversionPlan:
    """
    The plan of a conversion, for [`convert`].

    `None` leaves a choice to the keys of the checkpoint, the preset, and the defaults, in this order.

    Args:
        checkpoint: Legacy checkpoint: `.pt`, `.pth`, `.tar`, `.ckpt` or `.safetensors`.
        output: Model folder to write; `None` converts and compares without writing.
        overwrite: Replace the model folder at `output`.
        dry_run: Convert and compare without writing.
        key: Set of weights to convert if the file contains several, such as an average over training.
        backbone: timm network of the file, as `"timm/NAME"`, if it is not detected.
        head_order: Names of the head's linear layers, first to last; required if neither their shapes nor the file
            determines their order.
        preset: Published system that the file belongs to; one of `deepfake_video.conversion.published.PRESET_NAMES`.
        recurrence: `"sequence"` if the RNN runs over the frames; `"per-frame"` if it starts anew at each frame, as it
            does if the program forgot `batch_first`.
        as_sequence: Run a per-frame RNN over the frames: a different function than the published one.
        pooling: Pooling over the frames after an RNN.
        attention_activation: Activation between the two layers of an attention pooling; only tanh can be converted.
        fake_index: Logit that means fake; for a single sigmoid, 1 if it is the probability of fake and 0 if of real.
        activation: Activation between the linear layers of the head.
        padding: Convolution padding of an EfficientNet: that of torch, or TensorFlow's "same".
        padding_image_size: Image size in pixels that fixes "same" padding; `None` pads according to each frame.
        frame_aggregation: How a frame classifier averages its frames.
        image_size: Height and width of the frames in pixels.
        num_frames: Frames per video.
        frame_sampling: How these frames are selected.
        channel_order: Order of the colour channels.
        antialias: Whether frames are resized with antialiasing, as by Pillow; OpenCV's `cv2.resize` does without.
        image_mean: Mean per channel, in this order, of pixel values from 0 to 1.
        image_std: Standard deviation per channel, likewise.
        faces: `"auto"` crops each frame to the face, `"none"` uses whole frames.
        face_margin: Side of the crop relative to the side of the face box.
        repo_id: Hub repository, as `user/name`, for the model card.
        license: Hub identifier of the license of the weights, for the model card; never guessed.
        base_model: Hub model that the weights were trained from, for the model card.
        datasets: Hub data sets that they were trained on, for the model card.

    Raises:
        UsageError: If a value is invalid.

    Example:

        >>> from pathlib import Path
        >>> from deepfake_video import ConversionPlan
        >>> plan = ConversionPlan(checkpoint=Path("model.pt"), output=Path("my-model"), pooling="mean", fake_index=1)
        >>> plan.options()
        {'pooling': 'mean', 'fake_index': 1}
    """

    checkpoint: Path
    output: Path | None = None
    overwrite: bool = False
    dry_run: bool = False
    key: str | None = None
    backbone: str | None = None
    head_order: tuple[str, ...] | None = None
    preset: str | None = None
    recurrence: Recurrence | None = None
    as_sequence: bool = False
    pooling: Pooling | None = None
    attention_activation: Activation | None = None
    fake_index: Literal[0, 1] | None = None
    activation: Activation | None = None
    padding: Padding | None = None
    padding_image_size: int | None = None
    frame_aggregation: FrameAggregation | None = None
    image_size: int | None = None
    num_frames: int | None = None
    frame_sampling: FrameSampling | None = None
    channel_order: ChannelOrder | None = None
    antialias: bool | None = None
    image_mean: Triple | None = None
    image_std: Triple | None = None
    faces: Faces | None = None
    face_margin: float | None = None
    repo_id: str | None = None
    license: str | None = None
    base_model: str | None = None
    datasets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        make_paths(self, "checkpoint", "output")
        check_fields(self)
        if self.output is not None:
            refuse_standard_output(self.output)
        if self.preset is not None and self.preset not in PRESET_NAMES:
            raise ConversionOptionError(
                f"--preset must be one of {', '.join(PRESET_NAMES)}, got {quoted(self.preset)}."
            )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConversionOptionError(f"{option(name)} must lie between {low} and {high}, got {value}.")
        for name, lowest in (("image_mean", -1e3), ("image_std", 1e-6)):
            values = getattr(self, name)
            if values is not None and not _are_three(values, lowest):
                raise ConversionOptionError(
                    f"{option(name)} must be three finite numbers between {lowest:g} and 1000, got {tuple(values)}."
                )
        if self.backbone is not None:
            from .timm_layouts import check_backbone_option

            check_backbone_option(self.backbone)
        if self.repo_id is not None:
            from ..hub.push import check_repo_id

            check_repo_id(self.repo_id)

    def options(self) -> dict[str, Any]:
        """Return the choices that are not `None`, by name."""
        chosen = {name: getattr(self, name) for name in _CHOICES if getattr(self, name) is not None}
        return {**chosen, "as_sequence": True} if self.as_sequence else chosen


def option(name: str) -> str:
    """Return the command-line option of a choice."""
    return f"--{name.replace('_', '-')}"


def _are_three(values: Triple, lowest: float) -> bool:
    return len(values) == 3 and all(math.isfinite(value) and lowest <= value <= 1e3 for value in values)
