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
"""Configuration of the deepfake video classifiers: all settings that determine the network and its output."""

import difflib
import functools
import math
from collections.abc import Callable
from dataclasses import fields
from os import PathLike
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import auto_docstring, logging

from .model_presets import BACKBONE_FEATURES, PRESETS
from .timm_backbones import PREFIX as TIMM_PREFIX
from .timm_backbones import check_timm_name, is_timm, timm_num_features


logger = logging.get_logger(__name__)

# Where the Auto classes find this code in a folder or Hub repository; saving alone would name the saved class only.
AUTO_MAP = {
    "AutoConfig": "configuration_deepfake.DeepfakeConfig",
    "AutoModel": "modeling_deepfake.DeepfakeModel",
    "AutoModelForVideoClassification": "modeling_deepfake.DeepfakeForVideoClassification",
    "AutoModelForImageClassification": "modeling_deepfake.DeepfakeForImageClassification",
}

# Upper bounds far above any published detector; a configuration beyond them is a mistake or an attack on memory.
TEMPERATURE_RANGE = (1e-3, 1e3)
_INTEGER_RANGES = {
    "num_channels": (3, 3),
    "image_size": (1, 4096),
    "num_frames": (1, 10_000),
    "hidden_size": (1, 8192),
    "num_hidden_layers": (0, 16),
    "attention_hidden_size": (1, 8192),
    "conv_padding_image_size": (1, 4096),
}
_FLOAT_RANGES = {
    "rnn_dropout": (0.0, 1.0),
    "classifier_dropout": (0.0, 1.0),
    "drop_path_rate": (0.0, 0.99),
    "temperature": TEMPERATURE_RANGE,
    "fake_bias": (-1e4, 1e4),
    "batch_norm_eps": (1e-12, 1.0),
    "initializer_range": (0.0, 10.0),
}
# Fields that fit the labels of a checkpoint, with their defaults.
_OF_LABELS: dict[str, Any] = {"temperature": 1.0, "fake_bias": 0.0, "class_weights": None}
_DTYPES = ("float32", "float16", "bfloat16", "float64")
# Keys that Transformers itself writes into, or reads from, a configuration.
_TRANSFORMERS_KEYS = {
    "auto_map",
    "attn_implementation",
    "custom_pipelines",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "quantization_config",
    "tie_word_embeddings",
    "torch_dtype",
    "use_cache",
}


def _raise_value_errors(cls: type) -> type:
    """Raise one ValueError with one sentence instead of the nested, multi-line errors of `@strict`."""

    def wrap(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def wrapper(self: Any, *args: Any) -> None:
            try:
                method(self, *args)
            except StrictDataclassError as error:
                sentence = str(error.__cause__ or error)
                raise ValueError(sentence if len(sentence) <= 600 else f"{sentence[:600]}…") from error

        return wrapper

    cls.__setattr__ = wrap(cls.__setattr__)  # type: ignore[method-assign]
    cls.validate = wrap(cls.validate)  # type: ignore[attr-defined]
    return cls


@auto_docstring(custom_intro="Configuration of a deepfake video classifier.")
@_raise_value_errors
@strict
class DeepfakeConfig(PreTrainedConfig):
    r"""
    backbone (`str`, *optional*, defaults to `"efficientnet_b0"`):
        Name of the network that turns a frame into features. From torchvision: a ResNeXt, `efficientnet_b0` to
        `efficientnet_b7`, or `shufflenet_v2_x0_5` for tests. From timm: `timm/` and the name of any of its
        architectures, such as `timm/tf_efficientnet_lite2`.
    image_size (`int`, *optional*, defaults to 224):
        Height and width, in pixels, of the frames that the checkpoint was made for. `forward` takes any size.
    num_frames (`int`, *optional*, defaults to 20):
        Frames per clip that the checkpoint was made for. `forward` takes any number.
    num_channels (`int`, *optional*, defaults to 3):
        Colour channels of a frame; the backbones take 3.
    conv_padding (`str`, *optional*, defaults to `"torch"`):
        `"torch"` pads convolutions as torchvision does; `"same"` as TensorFlow does (EfficientNet only), which
        weights from efficientnet_pytorch and timm's `tf_` variants were trained with.
    conv_padding_image_size (`int`, *optional*):
        With `conv_padding="same"`: the image size that fixes the padding once for all inputs, as
        efficientnet_pytorch does. `None` computes it from each input.
    stem_padding (`str`, *optional*, defaults to `"default"`):
        `"none"` leaves the first convolution unpadded, as DeepfakeBench's EfficientNet-B4 does.
    batch_norm_eps (`float`, *optional*):
        Epsilon of every batch norm of the backbone. `None` keeps torchvision's own (1e-5; 1e-3 from b5 on).
    drop_path_rate (`float`, *optional*, defaults to 0.0):
        Stochastic depth of a timm backbone in training. Torchvision's networks have their own.
    rnn_type (`str`, *optional*, defaults to `"lstm"`):
        `"lstm"`, `"gru"`, or `"none"` for a frame classifier.
    rnn_input (`str`, *optional*, defaults to `"features"`):
        Input of the RNN for each frame: its `"features"`, or the `"logits"` of a frame classifier.
    hidden_size (`int`, *optional*, defaults to 256):
        Hidden size of the RNN in each direction. Without an RNN it is the width of the backbone's features.
    num_hidden_layers (`int`, *optional*, defaults to 1):
        Layers of the RNN; 0 without an RNN.
    bidirectional (`bool`, *optional*, defaults to `False`):
        Whether the RNN also reads the clip backwards.
    recurrence (`str`, *optional*, defaults to `"sequence"`):
        `"sequence"` runs the RNN over the frames of a clip; `"per-frame"` resets its state at each frame, as the
        published ResNeXt50 + LSTM checkpoints do.
    rnn_dropout (`float`, *optional*, defaults to 0.0):
        Dropout between the layers of the RNN.
    frame_aggregation (`str`, *optional*, defaults to `"features"`):
        How frames are combined: `"features"` pools hidden states and classifies them; `"mean-probability"`
        and `"mean-logit"` classify each frame and average.
    pooling (`str`, *optional*, defaults to `"mean"`):
        With `frame_aggregation="features"`: `"last"`, `"mean"`, `"max"` or `"attention"` over the valid frames.
        `"attention"` has weights and is refused with any other aggregation.
    attention_hidden_size (`int`, *optional*, defaults to 128):
        Width of the attention pooling.
    classifier_hidden_sizes (`list[int]`, *optional*, defaults to `[]`):
        Widths of the linear layers before the last one.
    classifier_activation (`str`, *optional*, defaults to `"relu"`):
        Activation between the classifier's layers: `"relu"`, `"gelu"`, `"silu"`, `"tanh"` or `"none"`.
    classifier_dropout (`float`, *optional*, defaults to 0.0):
        Dropout before the last linear layer.
    class_weights (`list[float]`, *optional*):
        Weight of each class in the loss.
    temperature (`float`, *optional*, defaults to 1.0):
        Calibrated temperature that divides the logits (Guo et al., 2017); ignored by the loss.
    fake_bias (`float`, *optional*, defaults to 0.0):
        Calibrated bias that is added to the fake logit after the temperature, so that a video is called fake at a
        probability of 0.5 or above; ignored by the loss.
    is_trained (`bool`, *optional*, defaults to `True`):
        `False` marks weights that were never trained; every tool then warns that scores are meaningless.
    initializer_range (`float`, *optional*, defaults to 0.02):
        Standard deviation of the initial weights of linear layers.

    Example:

    ```python
    >>> from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification

    >>> config = DeepfakeConfig.from_preset("efficientnet-b0-bilstm")
    >>> model = DeepfakeForVideoClassification(config)
    ```"""

    model_type = "deepfake_video"
    # Trainer then collects the logits alone, as every `compute_metrics` expects; `ignore_keys=[]` collects all.
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["frame_logits"]

    backbone: str = "efficientnet_b0"
    image_size: int = 224
    num_frames: int = 20
    num_channels: int = 3
    conv_padding: Literal["torch", "same"] = "torch"
    conv_padding_image_size: int | None = None
    stem_padding: Literal["default", "none"] = "default"
    batch_norm_eps: float | int | None = None
    drop_path_rate: float | int = 0.0
    rnn_type: Literal["lstm", "gru", "none"] = "lstm"
    rnn_input: Literal["features", "logits"] = "features"
    hidden_size: int = 256
    num_hidden_layers: int = 1
    bidirectional: bool = False
    recurrence: Literal["sequence", "per-frame"] = "sequence"
    rnn_dropout: float | int = 0.0
    frame_aggregation: Literal["features", "mean-probability", "mean-logit"] = "features"
    pooling: Literal["last", "mean", "max", "attention"] = "mean"
    attention_hidden_size: int = 128
    classifier_hidden_sizes: list[int] | tuple[int, ...] = ()
    classifier_activation: Literal["none", "relu", "gelu", "silu", "tanh"] = "relu"
    classifier_dropout: float | int = 0.0
    class_weights: list[float | int] | tuple[float | int, ...] | None = None
    temperature: float | int = 1.0
    fake_bias: float | int = 0.0
    is_trained: bool = True
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        self._warn_about_unknown_keys(kwargs)
        for dtype in (self.dtype, kwargs.get("torch_dtype")):  # type: ignore[has-type]
            # Transformers takes whatever attribute of torch has this name.
            if (
                dtype is not None
                and str(dtype).removeprefix("" if isinstance(dtype, str) else "torch.") not in _DTYPES
            ):
                raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, got {_shorten(dtype)}.")
        # Transformers would suggest a regression here, which does not fit the task either.
        if kwargs.get("num_labels") == 1:
            raise ValueError("num_labels must be 2 or more: real, fake, and any others.")
        if self.id2label is None and kwargs.get("num_labels") in (None, 2):  # type: ignore[has-type]
            self.id2label = {0: "real", 1: "fake"}
        if self.id2label is not None:
            self._check_label_ids(self.id2label)
            if self.label2id is None:  # type: ignore[has-type]
                self.label2id = {label: int(index) for index, label in self.id2label.items()}
        if self.problem_type is None:  # type: ignore[has-type]
            # If this were unset, the loss function of Transformers would guess it from the first batch and store the
            # guess.
            self.problem_type = "single_label_classification"
        stored = kwargs.pop("auto_map", None)
        super().__post_init__(auto_map=stored if isinstance(stored, dict) else AUTO_MAP.copy(), **kwargs)
        if self.return_dict is False:
            logger.warning(
                "return_dict is false, with which a pipeline of Transformers fails: 'tuple' object has no attribute "
                "'logits'. Remove it from config.json, or set model.config.return_dict = True."
            )

    @classmethod
    def from_preset(cls, name: str, **kwargs: Any) -> "DeepfakeConfig":
        """
        Create the configuration of a published system. `is_trained` is `False`; set it after training the weights.

        Args:
            name (`str`):
                `"resnext50-lstm"`, `"efficientnet-b0-bilstm"`, `"efficientnet-b0-frames"`,
                `"efficientnet-lite2-frames"`, `"xception-frames"`, or `"tiny"` for tests.
            kwargs:
                Fields to change.

        Raises:
            ValueError: If there is no preset of that name.
        """
        if name not in PRESETS:
            raise ValueError(
                f"There is no preset {name!r}{_nearest(name, PRESETS)}; choose from {', '.join(PRESETS)}."
            )
        return cls(**{**PRESETS[name], "is_trained": False, **kwargs})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        r"""
        [`PreTrainedConfig.from_dict`]. The calibration and the class weights of `config_dict` fit its labels: if
        `num_labels`, `id2label` or `label2id` change the number of labels or the id of "fake", they are left out with
        a warning.
        """
        if kwargs.keys().isdisjoint(("num_labels", "id2label", "label2id")):
            return super().from_dict(config_dict, **kwargs)
        stored = super().from_dict(config_dict.copy())
        made = super().from_dict({**config_dict, **_OF_LABELS}, **kwargs)
        config = made[0] if isinstance(made, tuple) else made
        fitted = {name: getattr(stored, name) for name in _OF_LABELS if name not in kwargs}
        if cls._places_of_fake(config) == cls._places_of_fake(stored):
            for name, value in fitted.items():
                setattr(config, name, value)
        elif left_out := [name for name, value in fitted.items() if value != _OF_LABELS[name]]:
            logger.warning(
                f"{', '.join(left_out)} of the checkpoint fit its labels {_shorten(stored.id2label)} and are left out "
                f"for the labels {_shorten(config.id2label)}."
            )
        return made

    @staticmethod
    def _places_of_fake(config: "DeepfakeConfig") -> list[bool]:
        # By number, since the order of the entries in a dictionary says nothing.
        return [label == "fake" for _, label in sorted((config.id2label or {}).items())]

    @property
    def num_features(self) -> int:
        """Width D of the features of one frame."""
        return timm_num_features(self.backbone) if is_timm(self.backbone) else BACKBONE_FEATURES[self.backbone]

    @property
    def num_directions(self) -> int:
        """2 for a bidirectional RNN, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Width of the hidden states that the temporal encoder returns for each frame."""
        return self.num_features if self.rnn_type == "none" else self.hidden_size * self.num_directions

    def save_pretrained(self, save_directory: str | PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        r"""[`PreTrainedConfig.save_pretrained`]; the folder refers to the code that is saved with it, to no other."""
        # A folder from elsewhere can name the code of another repository, which its copies would then run.
        for name in ("auto_map", "custom_pipelines"):
            stored: Any = getattr(self, name, None)
            if isinstance(stored, dict):
                setattr(self, name, {key: place for key, place in stored.items() if "--" not in str(place)})
        self.auto_map = {**AUTO_MAP, **(getattr(self, "auto_map", None) or {})}
        super().save_pretrained(save_directory, push_to_hub, **kwargs)

    def validate_numbers(self) -> None:
        """Check that every number is finite and within a sensible range."""
        for name, (low, high) in {**_INTEGER_RANGES, **_FLOAT_RANGES}.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{name} must lie between {low} and {high}, got {value}.")
        if len(self.classifier_hidden_sizes) > 8 or not all(
            1 <= size <= 8192 for size in self.classifier_hidden_sizes
        ):
            raise ValueError(
                "classifier_hidden_sizes must be at most 8 widths between 1 and 8192, "
                f"got {_shorten(self.classifier_hidden_sizes)}."
            )
        if self.fake_bias and "fake" not in (self.label2id or {}):
            raise ValueError(f'fake_bias needs a label named "fake", got {_shorten(self.label2id)}.')
        if self.class_weights is not None:
            if len(self.class_weights) != self.num_labels:
                raise ValueError(
                    f"class_weights needs one weight for each of the {self.num_labels} labels, "
                    f"got {len(self.class_weights)}."
                )
            if not all(math.isfinite(weight) and weight >= 0 for weight in self.class_weights):
                raise ValueError(f"class_weights must be finite and not negative, got {_shorten(self.class_weights)}.")

    def validate_attention(self) -> None:
        """Check that no attention kernel is named, which Transformers would download and import."""
        if self._attn_implementation not in (None, "eager"):
            raise ValueError(
                'attn_implementation must be "eager", because the networks have no attention; got '
                f"{_shorten(self._attn_implementation)}."
            )

    def validate_backbone(self) -> None:
        """Check that the backbone exists and supports its padding options."""
        if is_timm(self.backbone):
            check_timm_name(self.backbone)
            # This builds the network without allocating memory, which shows whether it can be built and how large it
            # is.
            timm_num_features(self.backbone)
        elif self.backbone not in BACKBONE_FEATURES:
            raise ValueError(
                f"backbone {_shorten(self.backbone)} is unknown{_nearest(self.backbone, BACKBONE_FEATURES)}; "
                f"choose from {', '.join(BACKBONE_FEATURES)}, or {TIMM_PREFIX!r} followed by the name of a timm "
                "network."
            )
        elif self.drop_path_rate:
            raise ValueError(f"drop_path_rate is supported only by timm backbones, not by {self.backbone}.")
        is_efficientnet = self.backbone.startswith("efficientnet")
        if not is_efficientnet and (self.conv_padding != "torch" or self.stem_padding != "default"):
            raise ValueError(
                f"conv_padding and stem_padding are supported only by torchvision's EfficientNets, not by "
                f"{self.backbone}."
            )
        if self.conv_padding_image_size is not None and self.conv_padding != "same":
            raise ValueError('conv_padding_image_size requires conv_padding="same".')

    def validate_temporal_encoder(self) -> None:
        """Check that the sizes of the RNN are consistent."""
        if self.rnn_type == "none":
            chosen = (self.num_hidden_layers, self.bidirectional, self.recurrence, self.rnn_input)
            if chosen != (0, False, "sequence", "features"):
                raise ValueError(
                    'rnn_type="none" requires num_hidden_layers=0, bidirectional=False, recurrence="sequence" and '
                    f'rnn_input="features"; got {", ".join(map(repr, chosen))}.'
                )
            if self.hidden_size != self.num_features:
                raise ValueError(
                    f'With rnn_type="none" hidden_size must equal the feature width of {self.backbone}, '
                    f"{self.num_features}, got {self.hidden_size}."
                )
        elif self.num_hidden_layers < 1:
            raise ValueError(f"rnn_type={self.rnn_type!r} needs at least one hidden layer, got num_hidden_layers=0.")
        elif self.num_hidden_layers == 1 and self.rnn_dropout:
            raise ValueError("rnn_dropout acts between the layers of the RNN and requires num_hidden_layers >= 2.")

    def validate_pooling(self) -> None:
        """Check that the pooling has weights only if it influences the logits."""
        if self.pooling == "attention" and self.frame_aggregation != "features":
            raise ValueError(
                'pooling="attention" requires frame_aggregation="features"; with '
                f"{self.frame_aggregation!r}, the weights of the pooling would not influence the logits."
            )

    def validate_labels(self) -> None:
        """Check that there are two or more distinct labels, numbered from 0."""
        if self.id2label is None or len(self.id2label) > 1000:
            raise ValueError(f"id2label must name 2 to 1000 labels, got {_shorten(self.id2label)}.")
        self._check_label_ids(self.id2label)
        if self.label2id != {label: index for index, label in self.id2label.items()}:
            raise ValueError(
                f"label2id must be the inverse of id2label {_shorten(self.id2label)}, got {_shorten(self.label2id)}."
            )
        if self.problem_type != "single_label_classification":
            raise ValueError(f'problem_type must be "single_label_classification", got {self.problem_type!r}.')

    @staticmethod
    def _check_label_ids(id2label: dict[Any, Any]) -> None:
        if len(id2label) < 2:
            raise ValueError(f"id2label must name 2 to 1000 labels, got {_shorten(id2label)}.")
        ids = [str(index) for index in id2label]
        if sorted(ids, key=lambda index: (len(index), index)) != [str(index) for index in range(len(ids))]:
            raise ValueError(f"The ids of id2label must be 0 to {len(ids) - 1}, got {_shorten(id2label)}.")
        labels = list(id2label.values())
        if not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
            raise ValueError(f"The labels of id2label must be different strings, got {_shorten(id2label)}.")

    def _warn_about_unknown_keys(self, kwargs: dict[str, Any]) -> None:
        known = {field.name for field in fields(self)}
        unknown = [key for key in kwargs if key not in _TRANSFORMERS_KEYS and not key.startswith("_")]
        if unknown:
            hints = "; ".join(f"{_shorten(key)}{_nearest(key, known)}" for key in unknown[:5])
            logger.warning(f"DeepfakeConfig ignores unknown fields: {hints}.")


def _nearest(name: Any, names: Any) -> str:
    found = difflib.get_close_matches(str(name)[:80], list(names), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


__all__ = ["DeepfakeConfig"]
