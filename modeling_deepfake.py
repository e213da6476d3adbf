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
"""PyTorch model: a convolutional frame encoder, a recurrent temporal encoder and a classifier."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    ModelOutput,
    auto_docstring,
    can_return_tuple,
    logging,
)

from .configuration_deepfake import DeepfakeConfig
from .frame_masks import average_frames, check_clips, check_mask
from .grad_cam import GradCam, grad_cam
from .timm_backbones import build_timm_backbone, is_timm
from .torchvision_backbones import load_torchvision_weights, use_same_padding


logger = logging.get_logger(__name__)

# Frames per backbone call if no gradient is needed, which bounds the memory for long clips.
FRAMES_PER_PASS = 32


def describe_invalid_weights(weights: Mapping[str, torch.Tensor]) -> str | None:
    """
    Describe the first weight with which no score can be computed: NaN, infinite, or a negative variance.

    Args:
        weights: Tensors by name; those on the meta device are not checked.

    Returns:
        A clause that names the weight; `None` if all are valid.
    """
    for name, tensor in weights.items():
        if tensor.is_meta or not tensor.numel() or not tensor.is_floating_point():
            continue
        # Minimum and maximum reveal non-finite values, and unlike a mask need no memory.
        lowest, highest = tensor.aminmax()
        if not torch.isfinite(torch.stack((lowest, highest))).all():
            return f"the weights contain NaN or infinity in {name}"
        if name.endswith("running_var") and lowest < 0:
            return f"the weights contain negative variances in {name}"
    return None


@auto_docstring(custom_intro="Output of [`DeepfakeForVideoClassification`].")
@dataclass
class DeepfakeVideoClassifierOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
        Cross entropy of the video logits before calibration.
    logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
        Calibrated video logits: divided by `config.temperature`, `config.fake_bias` added to the fake logit. Their
        softmax holds the probabilities, and a video is called fake at a fake probability of 0.5 or above.
    frame_logits (`torch.FloatTensor` of shape `(batch_size, num_frames, num_labels)`):
        The classifier applied to each frame's hidden state, calibrated like the video logits; 0 where a frame is
        masked. With `frame_aggregation="mean-logit"` their mean is `logits`; `"mean-probability"` calibrates after
        the mean.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        Frame features of shape `(batch_size, num_frames, num_features)` and the hidden states of the temporal
        encoder of shape `(batch_size, num_frames, output_size)`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    frame_logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


class DeepfakeFrameEncoder(nn.Module):
    """A torchvision or timm network without its classifier: from `(N, C, H, W)` to features `(N, num_features)`."""

    def __init__(self, config: DeepfakeConfig) -> None:
        super().__init__()
        # Pretrained weights are loaded after construction (`from_backbone_pretrained`); here they would be
        # overwritten.
        # CODEPATH: timm in the EfficientNet-Lite2 and Xception frame classifiers, torchvision in the older systems.
        if is_timm(config.backbone):
            backbone = build_timm_backbone(
                config.backbone, image_size=config.image_size, drop_path_rate=config.drop_path_rate
            )
        else:
            backbone = torchvision.models.get_model(config.backbone, weights=None)
            setattr(backbone, "classifier" if hasattr(backbone, "classifier") else "fc", nn.Identity())
        # CODEPATH: "same" in weights from efficientnet_pytorch and timm's tf_ variants, "torch" elsewhere.
        if config.conv_padding == "same":
            use_same_padding(backbone, config.conv_padding_image_size)
        # CODEPATH: "none" in DeepfakeBench's EfficientNet-B4 only.
        if config.stem_padding == "none":
            stem = backbone.features[0][0]
            stem_args = (stem.in_channels, stem.out_channels, stem.kernel_size, stem.stride)
            backbone.features[0][0] = nn.Conv2d(*stem_args, bias=False)
        # CODEPATH: set for weights from efficientnet_pytorch (1e-3), None elsewhere.
        if config.batch_norm_eps is not None:
            for module in backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = float(config.batch_norm_eps)
        self.backbone = backbone

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.backbone(frames)
        # With channels-last memory, convolutions on a CPU take two thirds to nine tenths of the time.
        chunks = frames.contiguous(memory_format=torch.channels_last).split(FRAMES_PER_PASS)
        return torch.cat([self.backbone(chunk) for chunk in chunks])


class DeepfakeTemporalEncoder(nn.Module):
    """
    The recurrent part: from frame features `(B, T, num_features)` to hidden states `(B, T, output_size)`.

    Valid frames are moved to the front before the RNN runs, so that masked frames are not steps of the RNN.
    """

    def __init__(self, config: DeepfakeConfig) -> None:
        super().__init__()
        self.recurrence = config.recurrence
        # CODEPATH: "logits" in an RNN over the scores of a frame classifier, "features" in the published systems.
        reads_logits = config.rnn_input == "logits"
        self.frame_classifier = nn.Linear(config.num_features, config.num_labels) if reads_logits else nn.Identity()
        self.rnn: nn.LSTM | nn.GRU | None = None
        # CODEPATH: "none" in frame classifiers, "lstm" in the published systems.
        if config.rnn_type != "none":
            rnn_classes: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
            self.rnn = rnn_classes[config.rnn_type](
                config.num_labels if reads_logits else config.num_features,
                config.hidden_size,
                config.num_hidden_layers,
                batch_first=True,
                dropout=config.rnn_dropout,
                bidirectional=config.bidirectional,
            )

    def forward(self, frame_features: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        if self.rnn is None:
            return frame_features
        frame_features = self.frame_classifier(frame_features)
        if self.recurrence == "per-frame":
            # (batch_size, num_frames, num_features) -> (batch_size * num_frames, 1, num_features): one step each
            steps = self.rnn(frame_features.flatten(0, 1).unsqueeze(1))[0]
            return steps.view(*frame_features.shape[:2], -1)
        if frame_mask is None:
            return self.rnn(frame_features)[0]
        if torch.compiler.is_exporting():
            raise ValueError("torch.export cannot follow a frame_mask through a recurrent layer; export without one.")
        # A stable sort puts the valid frames of each clip first and keeps their order.
        order = torch.argsort(frame_mask.to(torch.uint8), dim=1, descending=True, stable=True)
        moved = frame_features.gather(1, order.unsqueeze(-1).expand_as(frame_features))
        packed = pack_padded_sequence(moved, frame_mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=moved.shape[1])[0]
        back = order.argsort(1).unsqueeze(-1).expand_as(states)
        return states.gather(1, back)


class DeepfakePooler(nn.Module):
    """Pools hidden states `(B, T, D)` with their mask `(B, T)` to one vector per clip `(B, D)`."""

    def __init__(self, config: DeepfakeConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        # CODEPATH: "attention" in the deployed EfficientNet-B0 + Bi-LSTM, which has these weights.
        if config.pooling == "attention":
            self.dense = nn.Linear(config.output_size, config.attention_hidden_size)
            self.score = nn.Linear(config.attention_hidden_size, 1)

    def forward(self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        if frame_mask is None:
            frame_mask = hidden_states.new_ones(hidden_states.shape[:2], dtype=torch.bool)
        valid = frame_mask.unsqueeze(-1)  # (batch_size, num_frames, 1)
        if self.pooling == "last":
            positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)
            last = torch.where(frame_mask, positions, -1).amax(1)
            return hidden_states.gather(1, last.view(-1, 1, 1).expand(-1, 1, hidden_states.shape[-1])).squeeze(1)
        if self.pooling == "max":
            return hidden_states.masked_fill(~valid, torch.finfo(hidden_states.dtype).min).amax(1)
        if self.pooling == "mean":
            return hidden_states.masked_fill(~valid, 0.0).sum(1) / valid.sum(1)
        scores = self.score(torch.tanh(self.dense(hidden_states)))
        weights = scores.masked_fill(~valid, torch.finfo(scores.dtype).min).softmax(dim=1)
        return (weights * hidden_states.masked_fill(~valid, 0.0)).sum(1)


class DeepfakeClassifier(nn.Module):
    """Linear layers with an activation between them: `(..., output_size)` to logits `(..., num_labels)`."""

    def __init__(self, config: DeepfakeConfig) -> None:
        super().__init__()
        sizes = [config.output_size, *config.classifier_hidden_sizes]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))
        activation = config.classifier_activation
        self.activation = nn.Identity() if activation == "none" else ACT2FN[activation]
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(sizes[-1], config.num_labels)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            hidden_states = self.activation(layer(hidden_states))
        return self.out_proj(self.dropout(hidden_states))


@auto_docstring
class DeepfakePreTrainedModel(PreTrainedModel):
    config_class = DeepfakeConfig
    base_model_prefix = "deepfake"
    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)
    # Recomputing a batch norm under checkpointing would update its running statistics twice.
    supports_gradient_checkpointing = False
    # The loss is the mean over a batch. Otherwise Trainer assumes from the **kwargs of `forward` that it is divided by
    # `num_items_in_batch`, and adds up the losses of accumulated steps and of processes instead of averaging them.
    accepts_loss_kwargs = False
    _no_split_modules = ["DeepfakeFrameEncoder", "DeepfakeTemporalEncoder"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            # He et al., 2015; a depthwise convolution feeds one channel each, which torch's fan_out leaves out.
            fan_out = module.out_channels // module.groups * math.prod(module.kernel_size)
            init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        elif isinstance(module, (nn.LSTM, nn.GRU)):
            for name, parameter in module.named_parameters():
                if "weight" in name:
                    init.xavier_uniform_(parameter)
                else:
                    bias = torch.zeros_like(parameter)
                    if isinstance(module, nn.LSTM) and "bias_ih" in name:
                        # An open forget gate lets gradients through long clips (Jozefowicz et al., 2015).
                        bias[module.hidden_size : 2 * module.hidden_size] = 1.0
                    init.copy_(parameter, bias)
        elif callable(compute := getattr(module, "init_non_persistent_buffers", None)):
            # timm computes these buffers; no checkpoint holds them.
            compute()

    def save_pretrained(self, save_directory: str | PathLike[str], *args: Any, **kwargs: Any) -> None:
        r"""[`PreTrainedModel.save_pretrained`]; shards replace a single file of weights, which would be preferred."""
        super().save_pretrained(save_directory, *args, **kwargs)
        single, index = (Path(save_directory) / name for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))
        if single.is_file() and index.is_file() and index.stat().st_mtime_ns > single.stat().st_mtime_ns:
            single.unlink()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        r"""
        [`PreTrainedModel.from_pretrained`], which refuses weights that give no score.

        If weights are missing or have another shape, they are random, and a warning says so; `config.is_trained` is
        then `False` and the calibration is left out, because both describe the stored weights.

        Raises:
            ValueError: If a weight is NaN or infinite, or a variance is negative.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        config = model.config
        if problem := describe_invalid_weights(model.state_dict()):
            raise ValueError(f"{config.name_or_path}: {problem}; the file is damaged, or its training diverged.")
        random = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
        if random:
            config.is_trained, config.temperature, config.fake_bias = False, 1.0, 0.0
            logger.warning(
                f"{config.name_or_path}: {len(random)} weights are random, because they are missing or have another "
                f"shape, such as {random[0]}. is_trained was set to false and the calibration was reset."
            )
        return (model, info) if wants_info else model

    @classmethod
    def from_backbone_pretrained(cls, config: DeepfakeConfig, weights: str = "DEFAULT") -> "DeepfakePreTrainedModel":
        """
        Create a model with the backbone weights that torchvision or timm publishes and randomly initialised weights
        elsewhere.

        Args:
            config ([`DeepfakeConfig`]):
                Its `backbone` names the weights.
            weights (`str`, *optional*, defaults to `"DEFAULT"`):
                Member of torchvision's weights enum of that backbone, such as `"IMAGENET1K_V1"`; or timm's tag of the
                weights, such as `"in1k"`, if the name of a timm backbone does not contain it.

        Raises:
            ValueError: If there are no such weights for the backbone.
            OSError: If they are not in the cache and cannot be downloaded.
        """
        # CODEPATH: as in DeepfakeFrameEncoder.
        if is_timm(config.backbone):
            name = config.backbone if weights == "DEFAULT" else f"{config.backbone}.{weights}"
            state_dict = build_timm_backbone(name, image_size=config.image_size, pretrained=True).state_dict()
        else:
            state_dict = load_torchvision_weights(config.backbone, weights)
        model = cls(config)
        backbone = model.base_model.frame_encoder.backbone
        own = set(backbone.state_dict())
        backbone.load_state_dict({key: value for key, value in state_dict.items() if key in own})
        return model


@auto_docstring(custom_intro="Frame encoder, temporal encoder and pooling, without a classifier.")
class DeepfakeModel(DeepfakePreTrainedModel):
    def __init__(self, config: DeepfakeConfig) -> None:
        # Fields can be assigned after the configuration was checked, so it is checked again here.
        config.validate()
        super().__init__(config)
        self.frame_encoder = DeepfakeFrameEncoder(config)
        self.temporal_encoder = DeepfakeTemporalEncoder(config)
        self.pooler = DeepfakePooler(config)
        self.post_init()

    def get_frame_features(
        self, pixel_values_videos: torch.Tensor, frame_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Compute the features of each frame, over which the windows of a timeline can slide.

        Args:
            pixel_values_videos (`torch.Tensor` of shape `(batch_size, num_frames, num_channels, height, width)`):
                Normalised frames.
            frame_mask (`torch.BoolTensor` of shape `(batch_size, num_frames)`, *optional*):
                True for valid frames. Masked frames are not computed; their features are 0.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_frames, num_features)`.

        Raises:
            ValueError: If the shapes do not fit, or a clip has no valid frame.
        """
        frame_mask = check_clips(pixel_values_videos, frame_mask, self.config.num_channels)
        # (batch_size, num_frames, channels, height, width) -> (batch_size * num_frames, channels, height, width)
        frames = pixel_values_videos.flatten(0, 1)
        if frame_mask is None:
            features = self.frame_encoder(frames)
        elif torch.compiler.is_exporting():
            # The number of valid frames is unknown, so masked ones are computed, too.
            features = self.frame_encoder(frames).masked_fill(~frame_mask.flatten().unsqueeze(-1), 0.0)
        else:
            valid = frame_mask.flatten()
            encoded = self.frame_encoder(frames[valid])
            features = encoded.new_zeros(len(frames), encoded.shape[-1])
            features[valid] = encoded
        return features.view(*pixel_values_videos.shape[:2], -1)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values_videos: torch.FloatTensor,
        frame_mask: torch.BoolTensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        r"""
        frame_mask (`torch.BoolTensor` of shape `(batch_size, num_frames)`, *optional*):
            True for valid frames. Masked frames never influence the output.
        """
        frame_features = self.get_frame_features(pixel_values_videos, frame_mask)
        return self.encode_features(frame_features, frame_mask, **kwargs)

    def encode_features(
        self, frame_features: torch.Tensor, frame_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """
        Apply the temporal encoder and the pooling to frame features.

        Args:
            frame_features (`torch.Tensor` of shape `(batch_size, num_frames, num_features)`):
                Result of [`get_frame_features`], or a window of it.
            frame_mask (`torch.BoolTensor` of shape `(batch_size, num_frames)`, *optional*):
                True for valid frames.

        Returns:
            `BaseModelOutputWithPooling`, its `last_hidden_state` of shape `(batch_size, num_frames, output_size)` and
            its `pooler_output` of shape `(batch_size, output_size)`.

        Raises:
            ValueError: If the shapes do not fit, or a clip has no valid frame.
        """
        frame_mask = check_mask(frame_mask, frame_features.shape[:2])
        last_hidden_state = self.temporal_encoder(frame_features, frame_mask)
        output_hidden_states = kwargs.get("output_hidden_states")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return BaseModelOutputWithPooling(
            last_hidden_state=last_hidden_state,
            pooler_output=self.pooler(last_hidden_state, frame_mask),
            hidden_states=(frame_features, last_hidden_state) if output_hidden_states else None,
        )


@auto_docstring(
    custom_intro="""
    Real or fake: [`DeepfakeModel`] with a classifier for the clip and for each frame.
    The `video-classification` pipeline scores only the main face. `deepfake-video predict` scores every person and
    returns the highest score; both agree if the video shows one person.
    """
)
class DeepfakeForVideoClassification(DeepfakePreTrainedModel):
    def __init__(self, config: DeepfakeConfig) -> None:
        # As in DeepfakeModel; this comes before Transformers acts on the fields.
        config.validate()
        super().__init__(config)
        self.num_labels = config.num_labels
        self.deepfake = DeepfakeModel(config)
        self.classifier = DeepfakeClassifier(config)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        r"""[`PreTrainedModel.from_pretrained`], with a warning if the checkpoint was never trained."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if not model.config.is_trained:
            logger.warning(
                f"{model.config.name_or_path}: random weights (is_trained is false); scores are meaningless."
            )
        return loaded

    def get_frame_features(
        self, pixel_values_videos: torch.Tensor, frame_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute the features of each frame, see [`DeepfakeModel.get_frame_features`]."""
        return self.deepfake.get_frame_features(pixel_values_videos, frame_mask)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values_videos: torch.FloatTensor,
        frame_mask: torch.BoolTensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> DeepfakeVideoClassifierOutput:
        r"""
        frame_mask (`torch.BoolTensor` of shape `(batch_size, num_frames)`, *optional*):
            True for valid frames. Masked frames never influence the output.
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            Class of each clip, an id of `config.id2label`; by default, 0 is real and 1 is fake.
        """
        frame_features = self.get_frame_features(pixel_values_videos, frame_mask)
        return self.classify_features(frame_features, frame_mask, labels=labels, **kwargs)

    def classify_features(
        self,
        frame_features: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> DeepfakeVideoClassifierOutput:
        """
        Classify frame features. This is fast enough to repeat for each window of a timeline.

        Args:
            frame_features (`torch.Tensor` of shape `(batch_size, num_frames, num_features)`):
                Result of [`get_frame_features`], or a window of it.
            frame_mask (`torch.BoolTensor` of shape `(batch_size, num_frames)`, *optional*):
                True for valid frames.
            labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Class of each clip, an id of `config.id2label`, for the loss.

        Raises:
            ValueError: If the shapes do not fit, or a clip has no valid frame.
        """
        frame_mask = check_mask(frame_mask, frame_features.shape[:2])
        outputs = self.deepfake.encode_features(frame_features, frame_mask, **kwargs)
        frame_logits = self.classifier(outputs.last_hidden_state)
        # CODEPATH: "features" in the recurrent systems, the other two in frame classifiers.
        if self.config.frame_aggregation == "features":
            video_logits = self.classifier(outputs.pooler_output)
        else:
            video_logits = average_frames(frame_logits, frame_mask, self.config.frame_aggregation)
        frame_logits = self.calibrate(frame_logits)
        if frame_mask is not None:
            frame_logits = frame_logits.masked_fill(~frame_mask.unsqueeze(-1), 0.0)

        # A loss of other code, such as that of Trainer with label smoothing, is computed from the calibrated logits.
        is_trained_further = video_logits.requires_grad and (self.training or labels is not None)
        calibration = (self.config.temperature, self.config.fake_bias)
        if is_trained_further and calibration != (1, 0) and not torch.compiler.is_compiling():
            logger.warning_once(
                "A calibrated model is trained: temperature {:.4g} and fake_bias {:.4g} fit its former weights "
                "and shift every score; call model.reset_calibration() first.".format(*calibration)
            )
        loss = None
        if labels is not None:
            weights = self.config.class_weights
            weight = None if weights is None else video_logits.new_tensor(weights, dtype=torch.float32)
            loss = nn.functional.cross_entropy(video_logits.float(), labels.view(-1).to(video_logits.device), weight)
        return DeepfakeVideoClassifierOutput(
            loss=loss,
            logits=self.calibrate(video_logits),
            frame_logits=frame_logits,
            hidden_states=outputs.hidden_states,
        )

    def grad_cam(self, pixel_values_videos: torch.Tensor, label: str = "fake") -> GradCam:
        """
        Compute Grad-CAM (Selvaraju et al., 2017) of one clip: the parts of each frame that raise the logit of a label.

        The model must be in evaluation mode. The cost is one forward pass, and a backward pass without the backbone.

        Args:
            pixel_values_videos (`torch.Tensor` of shape `(1, num_frames, num_channels, height, width)`):
                One clip.
            label (`str`, *optional*, defaults to `"fake"`):
                One of `config.label2id`.

        Returns:
            `GradCam`, its `maps` an array of shape `(num_frames, h, w)` in the resolution of the last feature map.

        Raises:
            ValueError: If the input is not one clip, the label is unknown, the model is in training mode, or the
                backbone does not end in feature maps, as in vision transformers.

        Example:

        >>> clip = face_clips("clip.mp4", "my-model")[0]
        >>> model = DeepfakeForVideoClassification.from_pretrained("my-model")
        >>> cam = model.grad_cam(clip.pixel_values_videos)
        >>> len(cam.maps) == clip.pixel_values_videos.shape[1], bool(cam.maps.min() >= 0)
        (True, True)
        """
        if label not in self.config.label2id:
            raise ValueError(f"label must be one of {', '.join(self.config.label2id)}, got {label!r}.")
        return grad_cam(self, pixel_values_videos, self.config.label2id[label])

    def reset_calibration(self) -> None:
        """
        Set the temperature of the configuration to 1 and its fake bias to 0. Call it before fine-tuning: a calibration
        fits the weights that it was measured with, and the loss does not contain it.

        Example:

        >>> model = DeepfakeForVideoClassification.from_pretrained("my-model")
        >>> model.reset_calibration()
        >>> model.config.temperature, model.config.fake_bias
        (1.0, 0.0)
        """
        self.config.temperature, self.config.fake_bias = 1.0, 0.0

    def calibrate(self, logits: torch.Tensor) -> torch.Tensor:
        """Apply the temperature and the fake bias of the configuration to logits `(..., num_labels)`."""
        logits = logits / self.config.temperature
        # CODEPATH: not 0 in checkpoints that were calibrated on held-out videos, 0 elsewhere.
        if self.config.fake_bias:
            bias = [self.config.fake_bias * (self.config.id2label[i] == "fake") for i in range(self.num_labels)]
            logits = logits + logits.new_tensor(bias)
        return logits


@auto_docstring(
    custom_intro="""
    Real or fake for single pictures: [`DeepfakeForVideoClassification`] of clips of one frame, for the
    `image-classification` pipeline. The weights are the same.
    """
)
class DeepfakeForImageClassification(DeepfakeForVideoClassification):
    input_modalities = ("image",)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values_videos: torch.FloatTensor,
        labels: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> DeepfakeVideoClassifierOutput:
        r"""
        pixel_values_videos (`torch.FloatTensor` of shape `(batch_size, 1, num_channels, height, width)`):
            The pictures, each as a clip of one frame.
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            Class of each picture, an id of `config.id2label`; by default, 0 is real and 1 is fake.
        """
        # CODEPATH: a recurrent network that is reset at each frame judges single frames too.
        if self.config.rnn_type != "none" and self.config.recurrence == "sequence":
            raise ValueError(
                "This checkpoint judges a sequence of frames and cannot judge a picture: use the video-classification "
                "pipeline, or a checkpoint that judges frames one by one."
            )
        if pixel_values_videos.ndim == 5 and pixel_values_videos.shape[1] != 1:
            raise ValueError(f"A picture is a clip of one frame, got {pixel_values_videos.shape[1]} frames.")
        return super().forward(pixel_values_videos, labels=labels, **kwargs)


# Saving copies this code next to the weights, so that a folder can be loaded without this package.
DeepfakeConfig.register_for_auto_class()
DeepfakeModel.register_for_auto_class("AutoModel")
DeepfakeForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
DeepfakeForImageClassification.register_for_auto_class("AutoModelForImageClassification")

__all__ = [
    "DeepfakeForImageClassification",
    "DeepfakeForVideoClassification",
    "DeepfakeModel",
    "DeepfakePreTrainedModel",
    "DeepfakeVideoClassifierOutput",
]
