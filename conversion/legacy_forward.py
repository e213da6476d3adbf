# SPDX-License-Identifier: Apache-2.0
"""
Runs the network of a legacy file on the keys of the file.

The parity check compares it with the converted network, so it shares no code with the conversion: no key is mapped and
no tensor is changed. Kernel sizes, widths and groups come from the shapes of the weights, strides from the papers (Xie
et al., 2017; Tan and Le, 2019).
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn
from torch.nn import functional

from ..timm_backbones import build_timm_backbone, is_timm
from .choices import Choices
from .layout import Layout


_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_REPEATS = (1, 2, 2, 3, 3, 4, 1)
_DEPTHS = {"b0": 1.0, "b1": 1.1, "b2": 1.2, "b3": 1.4, "b4": 1.8, "b5": 2.2, "b6": 2.6, "b7": 3.1}
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "none": lambda inputs: inputs,
}


@contextlib.contextmanager
def without_onednn() -> Iterator[None]:
    """
    Run RNNs with torch's own kernels, which both networks of the parity check use.

    Those of oneDNN make two more copies of the weights, and the error of their tanh exceeds the tolerance.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.backends.mkldnn.flags(enabled=False):
            yield


class LegacyNetwork:
    """
    The network of a legacy file.

    Args:
        tensors: Tensors of the file by key.
        layout: Their layout.
        choices: How the legacy program ran them.
        dtype: Data type of the computation.
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        layout: Layout,
        choices: Choices,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # Rounded to float32, the data type of the converted folder.
        self.tensors = {key: value.float().to(dtype) for key, value in tensors.items() if value.is_floating_point()}
        self.layout = layout
        self.choices = choices
        is_large = layout.backbone[-2:] in ("b5", "b6", "b7")
        self.eps = choices.get("batch_norm_eps") or (1e-3 if is_large else 1e-5)
        self.same = choices.get("padding") == "same"
        self.nominal: int | None = None

    @torch.inference_mode()
    def __call__(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Run the network.

        Args:
            clips: Frames (B, T, 3, H, W).

        Returns:
            Frame features (B, T, D), and logits (B, 2) for real and fake that are equivalent to the legacy output.
        """
        # All frames at once, as in our network: equal weights then give equal bits, and networks that amplify
        # rounding pass too.
        features = self._features(clips.flatten(0, 1)).view(*clips.shape[:2], -1)
        return features, self._logits(features)

    def _logits(self, features: torch.Tensor) -> torch.Tensor:
        if self.layout.rnn is None:
            frame_logits = self._two_logits(self._head(features))
            if self.choices["frame_aggregation"] == "mean-logit":
                return frame_logits.mean(1)
            # The log of the mean probability, without underflow.
            return frame_logits.double().log_softmax(-1).logsumexp(1) - math.log(frame_logits.shape[1])
        return self._two_logits(self._head(self._pool(self._recur(features))))

    def _features(self, frames: torch.Tensor) -> torch.Tensor:
        if is_timm(self.layout.backbone):
            return self._timm(frames)
        self.nominal = self.choices.get("padding_image_size")
        run = self._efficientnet if self.layout.backbone.startswith("efficientnet") else self._resnext
        return functional.adaptive_avg_pool2d(run(frames), 1).flatten(1)

    def _timm(self, frames: torch.Tensor) -> torch.Tensor:
        """Run timm's own network, in which these weights were trained."""
        network = build_timm_backbone(self.layout.backbone, image_size=self.choices["image_size"]).to(frames.dtype)
        names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
        weights = {name: self.tensors[self.layout.prefix + name] for name in names}
        network.load_state_dict(weights, strict=False, assign=True)
        return torch.as_tensor(network.eval()(frames))

    def _conv(self, name: str, inputs: torch.Tensor, stride: int = 1, *, pads: bool = True) -> torch.Tensor:
        key = self.layout.prefix + name
        weight, bias = self.tensors[f"{key}.weight"], self.tensors.get(f"{key}.bias")
        kernel, groups = weight.shape[-1], inputs.shape[1] // weight.shape[1]
        padding = (kernel - 1) // 2
        if self.same or not pads:
            if pads:
                height, width = (self.nominal, self.nominal) if self.nominal else inputs.shape[-2:]
                inputs = functional.pad(inputs, (*_same(width, kernel, stride), *_same(height, kernel, stride)))
            padding = 0
            if self.nominal:
                self.nominal = math.ceil(self.nominal / stride)
        return functional.conv2d(inputs, weight, bias, stride=stride, padding=padding, groups=groups)

    def _norm(self, name: str, inputs: torch.Tensor) -> torch.Tensor:
        leaves = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (self.tensors[f"{self.layout.prefix}{name}.{leaf}"] for leaf in leaves)
        return functional.batch_norm(inputs, mean, var, weight, bias, eps=self.eps)

    def _resnext(self, frames: torch.Tensor) -> torch.Tensor:
        native = self.layout.naming == "native"
        stem, norm = ("conv1", "bn1") if native else ("0", "1")
        hidden = functional.relu(self._norm(norm, self._conv(stem, frames, 2)))
        hidden = functional.max_pool2d(hidden, 3, 2, 1)
        for stage in range(4):
            name = f"layer{stage + 1}" if native else str(stage + 4)
            index = 0
            while f"{self.layout.prefix}{name}.{index}.conv1.weight" in self.tensors:
                hidden = self._bottleneck(f"{name}.{index}", hidden, 2 if stage and not index else 1)
                index += 1
        return hidden

    def _bottleneck(self, name: str, inputs: torch.Tensor, stride: int) -> torch.Tensor:
        hidden = functional.relu(self._norm(f"{name}.bn1", self._conv(f"{name}.conv1", inputs)))
        hidden = functional.relu(self._norm(f"{name}.bn2", self._conv(f"{name}.conv2", hidden, stride)))
        hidden = self._norm(f"{name}.bn3", self._conv(f"{name}.conv3", hidden))
        if f"{self.layout.prefix}{name}.downsample.0.weight" in self.tensors:
            inputs = self._norm(f"{name}.downsample.1", self._conv(f"{name}.downsample.0", inputs, stride))
        return functional.relu(hidden + inputs)

    def _efficientnet(self, frames: torch.Tensor) -> torch.Tensor:
        stem, stem_norm, head, head_norm = {
            "torchvision": ("0.0", "0.1", "8.0", "8.1"),
            "efficientnet_pytorch": ("_conv_stem", "_bn0", "_conv_head", "_bn1"),
            "timm": ("conv_stem", "bn1", "conv_head", "bn2"),
        }[self.layout.naming]
        hidden = self._conv(stem, frames, 2, pads=self.choices["stem_padding"] != "none")
        hidden = functional.silu(self._norm(stem_norm, hidden))
        for names, stride in self._blocks():
            hidden = self._inverted_residual(names, hidden, stride)
        return functional.silu(self._norm(head_norm, self._conv(head, hidden)))

    def _blocks(self) -> Iterator[tuple[dict[str, tuple[str, str]], int]]:
        """Yield the names of the parts of each block, and its stride."""
        flat = 0
        for stage, (repeats, stage_stride) in enumerate(zip(_REPEATS, _STRIDES, strict=True)):
            for index in range(math.ceil(repeats * _DEPTHS[self.layout.backbone[-2:]])):
                place = f"{stage + 1}.{index}.block", f"_blocks.{flat}", f"blocks.{stage}.{index}"
                yield self._parts(*place, expands=stage > 0), stage_stride if index == 0 else 1
                flat += 1

    def _parts(self, torchvision: str, flat: str, timm: str, *, expands: bool) -> dict[str, tuple[str, str]]:
        if self.layout.naming == "efficientnet_pytorch":
            return {
                "expand": (f"{flat}._expand_conv", f"{flat}._bn0") if expands else ("", ""),
                "depthwise": (f"{flat}._depthwise_conv", f"{flat}._bn1"),
                "squeeze": (f"{flat}._se_reduce", f"{flat}._se_expand"),
                "project": (f"{flat}._project_conv", f"{flat}._bn2"),
            }
        if self.layout.naming == "timm":
            first = int(expands)
            return {
                "expand": (f"{timm}.conv_pw", f"{timm}.bn1") if expands else ("", ""),
                "depthwise": (f"{timm}.conv_dw", f"{timm}.bn{1 + first}"),
                "squeeze": (f"{timm}.se.conv_reduce", f"{timm}.se.conv_expand"),
                "project": (f"{timm}.{'conv_pwl' if expands else 'conv_pw'}", f"{timm}.bn{2 + first}"),
            }
        first = int(expands)
        return {
            "expand": (f"{torchvision}.0.0", f"{torchvision}.0.1") if expands else ("", ""),
            "depthwise": (f"{torchvision}.{first}.0", f"{torchvision}.{first}.1"),
            "squeeze": (f"{torchvision}.{first + 1}.fc1", f"{torchvision}.{first + 1}.fc2"),
            "project": (f"{torchvision}.{first + 2}.0", f"{torchvision}.{first + 2}.1"),
        }

    def _inverted_residual(
        self, names: Mapping[str, tuple[str, str]], inputs: torch.Tensor, stride: int
    ) -> torch.Tensor:
        hidden = inputs
        expand, expand_norm = names["expand"]
        if expand:
            hidden = functional.silu(self._norm(expand_norm, self._conv(expand, hidden)))
        depthwise, depthwise_norm = names["depthwise"]
        hidden = functional.silu(self._norm(depthwise_norm, self._conv(depthwise, hidden, stride)))
        squeeze, excite = names["squeeze"]
        scale = functional.silu(self._conv(squeeze, functional.adaptive_avg_pool2d(hidden, 1)))
        hidden = hidden * torch.sigmoid(self._conv(excite, scale))
        project, project_norm = names["project"]
        hidden = self._norm(project_norm, self._conv(project, hidden))
        return hidden + inputs if stride == 1 and hidden.shape == inputs.shape else hidden

    def _recur(self, features: torch.Tensor) -> torch.Tensor:
        rnn = self.layout.rnn
        if rnn is None:
            return features
        # With `batch_first=False`, one video (1, T, D) is T sequences of one step: per frame. Further videos of a
        # batch are further such sequences here, while the legacy program made them further steps.
        as_sequence = self.choices.as_sequence or self.choices["recurrence"] == "sequence"
        with torch.device("meta"):
            module = (nn.LSTM if rnn.kind == "lstm" else nn.GRU)(
                rnn.input_size,
                rnn.hidden_size,
                rnn.num_layers,
                bias=rnn.has_bias,
                batch_first=as_sequence,
                bidirectional=rnn.bidirectional,
            )
        module.load_state_dict({name: self.tensors[rnn.prefix + name] for name in rnn.names()}, assign=True)
        with without_onednn():
            if as_sequence:
                return torch.as_tensor(module(features)[0])
            return torch.as_tensor(module(features.flatten(0, 1).unsqueeze(0))[0]).view(*features.shape[:2], -1)

    def _pool(self, hidden: torch.Tensor) -> torch.Tensor:
        pooling = self.choices["pooling"]
        if pooling == "last":
            return hidden[:, -1]
        if pooling == "mean":
            return hidden.mean(1)
        if pooling == "max":
            return hidden.amax(1)
        first, second = self.layout.attention or ("", "")
        activation = _ACTIVATIONS[self.choices["attention_activation"]]
        weights = self._linear(second, activation(self._linear(first, hidden))).softmax(1)
        return (weights * hidden).sum(1)

    def _linear(self, module: str, inputs: torch.Tensor) -> torch.Tensor:
        return functional.linear(inputs, self.tensors[f"{module}.weight"], self.tensors.get(f"{module}.bias"))

    def _head(self, inputs: torch.Tensor) -> torch.Tensor:
        *others, last = self.layout.head.modules
        for module in others:
            inputs = _ACTIVATIONS[self.choices["activation"]](self._linear(module, inputs))
        return self._linear(last, inputs)

    def _two_logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Convert the legacy output, one value or two, to logits for real and fake."""
        fake_index = self.choices["fake_index"]
        if outputs.shape[-1] == 2:
            return torch.stack([outputs[..., 1 - fake_index], outputs[..., fake_index]], -1)
        value = outputs[..., 0]
        nothing = torch.zeros_like(value)
        return torch.stack([nothing, value] if fake_index == 1 else [value, nothing], -1)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's padding before and after, along one axis."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
