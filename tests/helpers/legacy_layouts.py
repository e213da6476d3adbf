# SPDX-License-Identifier: Apache-2.0
"""
The networks whose checkpoints people hold, written once more as their projects wrote them, with plain torch.

Nothing here is shared with the converter: these modules compute what its output is compared with. Weights are random,
and batch-norm statistics are far from 0 and 1, so that a wrong epsilon or padding shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn import functional


# Tan and Le (2019): repeats, kernel, stride, expansion, output channels of each stage; width and depth of b0 to b7.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_SCALES = [(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1)]
_SIZES = [224, 240, 260, 300, 380, 456, 528, 600]


def _round_channels(channels: int, width: float) -> int:
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


class PaddedConv(nn.Conv2d):
    """`size`: pads for that input size as TensorFlow does; `None`: for each input; `"torch"`: as torch does."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, size: Any, **kwargs: Any) -> None:
        super().__init__(inputs, outputs, kernel, stride, **kwargs)
        self.size = size

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if self.size == "torch":
            return functional.conv2d(input, self.weight, self.bias, stride, kernel // 2, 1, self.groups)
        pads = []
        for actual in (input.shape[3], input.shape[2]):
            size = self.size or actual
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(input, pads))


class PyTorchBlock(nn.Module):
    """A block of efficientnet_pytorch."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, ratio: int, size: Any, eps: float) -> None:
        super().__init__()
        hidden = inputs * ratio
        if ratio != 1:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps)
        self._depthwise_conv = PaddedConv(hidden, hidden, kernel, stride, size=size, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps)
        self._se_reduce = nn.Conv2d(hidden, max(1, inputs // 4), 1)
        self._se_expand = nn.Conv2d(max(1, inputs // 4), hidden, 1)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.silu(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        hidden = functional.silu(self._bn1(self._depthwise_conv(hidden)))
        squeezed = functional.adaptive_avg_pool2d(hidden, 1)
        squeezed = self._se_expand(functional.silu(self._se_reduce(squeezed)))
        hidden = self._bn2(self._project_conv(torch.sigmoid(squeezed) * hidden))
        return hidden + x if self.skips else hidden


class PyTorchEfficientNet(nn.Module):
    """efficientnet_pytorch's network; `size` fixes its padding."""

    def __init__(self, variant: int = 0, size: Any = "native") -> None:
        super().__init__()
        width, depth = _SCALES[variant]
        size = _SIZES[variant] if size == "native" else size
        channels = _round_channels(32, width)
        self._conv_stem = PaddedConv(3, channels, 3, 2, size=size, bias=False)
        self._bn0 = nn.BatchNorm2d(channels, 1e-3)
        size = -(-size // 2) if size else size
        blocks = []
        for repeats, kernel, stride, ratio, outputs in _STAGES:
            outputs = _round_channels(outputs, width)
            for index in range(math.ceil(repeats * depth)):
                step = stride if index == 0 else 1
                blocks.append(PyTorchBlock(channels, outputs, kernel, step, ratio, size, 1e-3))
                size = -(-size // step) if size else size
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self.num_features = _round_channels(1280, width)
        self._conv_head = nn.Conv2d(channels, self.num_features, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(self.num_features, 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.silu(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = functional.silu(self._bn1(self._conv_head(x)))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self._fc(x) if hasattr(self, "_fc") else x


class TimmBlock(nn.Module):
    """A block of timm: depthwise separable without expansion, inverted residual with it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, ratio: int, size: Any, eps: float) -> None:
        super().__init__()
        hidden = inputs * ratio
        depthwise = PaddedConv(hidden, hidden, kernel, stride, size=size, groups=hidden, bias=False)
        squeeze = nn.Module()
        squeeze.conv_reduce = nn.Conv2d(hidden, max(1, inputs // 4), 1)
        squeeze.conv_expand = nn.Conv2d(max(1, inputs // 4), hidden, 1)
        if ratio == 1:
            self.conv_dw, self.bn1, self.se = depthwise, nn.BatchNorm2d(hidden, eps), squeeze
            self.conv_pw, self.bn2 = nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps)
        else:
            self.conv_pw, self.bn1 = nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden, eps)
            self.conv_dw, self.bn2, self.se = depthwise, nn.BatchNorm2d(hidden, eps), squeeze
            self.conv_pwl, self.bn3 = nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not hasattr(self, "bn3"):
            hidden = self._squeeze(functional.silu(self.bn1(self.conv_dw(x))))
            hidden = self.bn2(self.conv_pw(hidden))
        else:
            hidden = functional.silu(self.bn1(self.conv_pw(x)))
            hidden = self._squeeze(functional.silu(self.bn2(self.conv_dw(hidden))))
            hidden = self.bn3(self.conv_pwl(hidden))
        return hidden + x if self.skips else hidden

    def _squeeze(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.se.conv_expand(functional.silu(self.se.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(scale)


class TimmEfficientNet(nn.Module):
    """timm's network: `tf_efficientnet_bN` with `tf=True`, else `efficientnet_bN`."""

    def __init__(self, variant: int = 0, *, tf: bool = True) -> None:
        super().__init__()
        width, depth = _SCALES[variant]
        size, eps = (None, 1e-3) if tf else ("torch", 1e-5)
        channels = _round_channels(32, width)
        self.conv_stem = PaddedConv(3, channels, 3, 2, size=size, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, eps)
        stages = []
        for repeats, kernel, stride, ratio, outputs in _STAGES:
            outputs = _round_channels(outputs, width)
            blocks = []
            for index in range(math.ceil(repeats * depth)):
                blocks.append(TimmBlock(channels, outputs, kernel, 1 if index else stride, ratio, size, eps))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.num_features = _round_channels(1280, width)
        self.conv_head = nn.Conv2d(channels, self.num_features, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(self.num_features, eps)
        self.classifier = nn.Linear(self.num_features, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(functional.silu(self.bn1(self.conv_stem(x))))
        return functional.silu(self.bn2(self.conv_head(x))).mean((2, 3))


class ResNextLstm(nn.Module):
    """Layout A, with its mistake: the fourth argument of nn.LSTM is `bias`, and `batch_first` is missing."""

    def __init__(self, pooling: str = "last") -> None:
        super().__init__()
        self.model = nn.Sequential(*list(torchvision.models.resnext50_32x4d(weights=None).children())[:-2])
        self.lstm = nn.LSTM(2048, 2048, 1, False)
        self.linear1 = nn.Linear(2048, 2)
        self.pooling = pooling

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._one(clip.unsqueeze(0)) for clip in clips])

    def _one(self, clip: torch.Tensor) -> torch.Tensor:
        features = functional.adaptive_avg_pool2d(self.model(clip.flatten(0, 1)), 1)
        hidden, _ = self.lstm(features.view(1, clip.shape[1], 2048))
        return self.linear1(hidden[:, -1] if self.pooling == "last" else hidden.mean(1))


class SequenceModel(nn.Module):
    """A backbone, an RNN over the frames, a pooling and a head; layouts name their parts differently."""

    def __init__(
        self,
        names: tuple[str, str, str],
        backbone: nn.Module,
        rnn: nn.Module,
        head: nn.Module,
        pooling: str,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.names, self.pooling = names, pooling
        for name, module in zip(names, (backbone, rnn, head), strict=True):
            setattr(self, name, module)
        if attention is not None:
            self.attention = attention

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        backbone, rnn, head = (getattr(self, name) for name in self.names)
        features = backbone(clips.flatten(0, 1))
        if features.ndim == 4:
            features = functional.adaptive_avg_pool2d(features, 1).flatten(1)
        hidden, _ = rnn(features.view(*clips.shape[:2], -1))
        if self.pooling == "attention":
            return head((self.attention(hidden).softmax(1) * hidden).sum(1))
        pool = {"last": lambda: hidden[:, -1], "mean": lambda: hidden.mean(1), "max": lambda: hidden.amax(1)}
        return head(pool[self.pooling]())


class FrameModel(nn.Module):
    """A classifier of single frames (its parts named by the layout); answers (B, T, outputs)."""

    def __init__(self, run: Callable[[FrameModel, torch.Tensor], torch.Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, module in parts.items():
            setattr(self, name, module)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.run(self, clips.flatten(0, 1)).view(*clips.shape[:2], -1)


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        build: Makes the legacy network.
        flags: What the converter must be told.
        family: What the converter must recognise.
        fake: Which logit, or side of the sigmoid, means fake.
        mean_logit: Whether frames are averaged as logits.
    """

    build: Callable[[], nn.Module]
    flags: dict[str, Any]
    family: str
    fake: int = 1
    mean_logit: bool = False
    processor: dict[str, Any] = field(default_factory=dict)


def _vision_features(variant: int = 0) -> nn.Module:
    return getattr(torchvision.models, f"efficientnet_b{variant}")(weights=None).features


def _resnext(native: bool) -> nn.Module:
    network = torchvision.models.resnext50_32x4d(weights=None)
    network.fc = nn.Identity()
    return network if native else nn.Sequential(*list(network.children())[:-2])


def _bilstm() -> nn.Module:
    backbone = nn.Sequential(_vision_features(), nn.AdaptiveAvgPool2d(1))
    head = nn.Sequential(nn.Linear(512, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 1))
    rnn = nn.LSTM(1280, 256, 2, batch_first=True, bidirectional=True)
    return SequenceModel(("feature_extractor", "lstm", "classifier"), backbone, rnn, head, "last")


def _bilstm_attention() -> nn.Module:
    attention = nn.Sequential(nn.Linear(512, 128), nn.Tanh(), nn.Linear(128, 1))
    rnn = nn.LSTM(1280, 256, 2, batch_first=True, bidirectional=True)
    names = ("feature_extractor", "lstm", "classifier")
    return SequenceModel(names, _vision_features(), rnn, nn.Linear(512, 1), "attention", attention)


def _gru_attention() -> nn.Module:
    attention = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))
    rnn = nn.GRU(1280, 16, batch_first=True)
    return SequenceModel(("features", "gru", "fc"), _vision_features(), rnn, nn.Linear(16, 1), "attention", attention)


def _bilstm_mean() -> nn.Module:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = _vision_features()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.features(x)

    rnn = nn.LSTM(1280, 256, 1, batch_first=True, bidirectional=True)
    head = nn.Sequential(nn.Dropout(0.3), nn.Linear(512, 1))
    return SequenceModel(("feature_extractor", "temporal_model", "classifier"), Features(), rnn, head, "mean")


def _clone() -> nn.Module:
    backbone = nn.Sequential(_vision_features(), nn.AdaptiveAvgPool2d(1))
    rnn = nn.LSTM(1280, 1280, 1, batch_first=True)
    return SequenceModel(("model", "lstm", "linear1"), backbone, rnn, nn.Linear(1280, 2), "last")


def _resnext_generic() -> nn.Module:
    rnn = nn.LSTM(2048, 256, 2, batch_first=True, bidirectional=True)
    return SequenceModel(("cnn", "lstm", "classifier"), _resnext(native=False), rnn, nn.Linear(512, 2), "mean")


def _resnext_gru() -> nn.Module:
    rnn = nn.GRU(2048, 64, 3, batch_first=True, bias=False)
    head = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 2))
    return SequenceModel(("backbone", "gru", "fc"), _resnext(native=True), rnn, head, "max")


def _frames(variant: int = 0) -> nn.Module:
    backbone = PyTorchEfficientNet(variant)
    backbone._fc = nn.Sequential(nn.Dropout(0.4), nn.Linear(backbone.num_features, 1))
    return FrameModel(lambda self, x: self.backbone(x), backbone=backbone)


def _polimi(variant: int = 0) -> nn.Module:
    network = PyTorchEfficientNet(variant)
    head = nn.Linear(network.num_features, 1)
    return FrameModel(lambda self, x: self.classifier(self.efficientnet(x)), efficientnet=network, classifier=head)


def _deepfakebench(variant: int = 4) -> nn.Module:
    network = PyTorchEfficientNet(variant)
    stem = network._conv_stem
    network._conv_stem = nn.Conv2d(3, stem.out_channels, 3, 2, bias=False)
    backbone = FrameModel(lambda self, x: x, efficientnet=network, last_layer=nn.Linear(network.num_features, 2))
    run = lambda self, x: self.backbone.last_layer(self.backbone.efficientnet(x))  # noqa: E731
    return FrameModel(run, backbone=backbone)


def _self_blended() -> nn.Module:
    network = PyTorchEfficientNet(4)
    network._fc = nn.Linear(network.num_features, 2)
    return FrameModel(lambda self, x: self.net(x), net=network)


def _selimsef(variant: int = 0) -> nn.Module:
    encoder = TimmEfficientNet(variant)
    head = nn.Linear(encoder.num_features, 1)
    return FrameModel(lambda self, x: self.fc(self.encoder(x)), encoder=encoder, fc=head)


def _timm_torch() -> nn.Module:
    network = TimmEfficientNet(0, tf=False)
    del network.classifier
    return FrameModel(lambda self, x: self.head(self.net(x)), net=network, head=nn.Linear(1280, 2))


def _torchvision() -> nn.Module:
    network = torchvision.models.efficientnet_b0(weights=None)
    network.classifier[1] = nn.Linear(1280, 1)
    return FrameModel(lambda self, x: self.model(x), model=network)


_A = {"preset": "resnext50-lstm"}
_RNN = {"recurrence": "sequence", "fake_index": 1}
CASES: dict[str, Case] = {
    "A resnext50-lstm": Case(ResNextLstm, {**_A, "pooling": "last"}, "resnext50-lstm", fake=0),
    "A, mean pooling": Case(lambda: ResNextLstm("mean"), {**_A, "pooling": "mean"}, "resnext50-lstm", fake=0),
    "B efficientnet-b0-bilstm": Case(
        _bilstm, {"preset": "efficientnet-b0-bilstm", "fake_index": 0}, "efficientnet-b0-bilstm", fake=0
    ),
    "B with attention": Case(_bilstm_attention, _RNN, "efficientnet-b0-bilstm-attention"),
    "C efficientnet-b0-frames": Case(_frames, {"fake_index": 1}, "efficientnet-b0-frames"),
    "D icpr2020dfdc": Case(_polimi, {"fake_index": 1}, "icpr2020dfdc", mean_logit=True),
    "D DeepfakeBench": Case(lambda: _deepfakebench(0), {"fake_index": 1}, "deepfakebench"),
    "D selimsef": Case(_selimsef, {"fake_index": 1, "padding": "same"}, "selimsef-dfdc"),
    "D torchvision frames": Case(_torchvision, {"fake_index": 1}, "torchvision-frames"),
    "D timm, torch padding": Case(_timm_torch, {"fake_index": 1, "padding": "torch"}, "assorted"),
    "D gru, attention": Case(_gru_attention, {**_RNN, "attention_activation": "tanh"}, "assorted"),
    "D bilstm, mean": Case(_bilstm_mean, {**_RNN, "pooling": "mean"}, "assorted"),
    "D b0-lstm clone": Case(_clone, {**_RNN, "pooling": "last"}, "assorted"),
    "D resnext, children": Case(_resnext_generic, {**_RNN, "pooling": "mean"}, "assorted"),
    "D resnext, gru, native": Case(
        _resnext_gru, {**_RNN, "pooling": "max", "activation": "tanh", "fake_index": 0}, "assorted", fake=0
    ),
}
# The sizes in which their projects published them; slow.
FULL_SIZE: dict[str, Case] = {
    "D icpr2020dfdc, b4": Case(lambda: _polimi(4), {"fake_index": 1}, "icpr2020dfdc", mean_logit=True),
    "D DeepfakeBench, b4": Case(_deepfakebench, {"preset": "deepfakebench"}, "deepfakebench"),
    "D self-blended images": Case(_self_blended, {"preset": "self-blended-images"}, "self-blended-images"),
    "D selimsef, b7": Case(lambda: _selimsef(7), {"fake_index": 1, "padding": "same"}, "selimsef-dfdc"),
}


def build(case: Case, seed: int = 0) -> nn.Module:
    """
    The network with random weights and perturbed statistics.

    Signals must neither grow nor die on the way: a network whose answer hardly depends on its input hides mistakes.
    """
    torch.manual_seed(seed)
    network = case.build().eval()
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if name.endswith(("_se_expand", "conv_expand", "fc2")):
                    # Open gates: at 0.5 each, sixteen of them in a row would let nothing through.
                    nn.init.constant_(module.bias, 0.5)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.75, 1.25)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        for module in network.modules():
            if isinstance(module, torchvision.models.resnet.Bottleneck):
                # Sixteen full residuals in a row would saturate the RNN behind them.
                module.bn3.weight.mul_(0.3)
        residuals = [module for module in network.modules() if getattr(module, "skips", False)]
        for module in residuals:
            # b7 has five times as many as b0.
            last = (
                module._bn2
                if isinstance(module, PyTorchBlock)
                else module.bn3
                if hasattr(module, "bn3")
                else module.bn2
            )
            last.weight.mul_(min(1.0, 9 / len(residuals)))
    return network


@torch.inference_mode()
def fake_probability(network: nn.Module, case: Case, clips: torch.Tensor) -> torch.Tensor:
    """What the legacy program answers: the fake probability of each clip (B,)."""
    answer = network(clips)
    if answer.ndim == 3 and case.mean_logit:
        answer = answer.mean(1)
    if answer.shape[-1] == 2:
        probability = answer.softmax(-1)[..., case.fake]
    else:
        probability = torch.sigmoid(answer[..., 0] if case.fake == 1 else -answer[..., 0])
    return probability.mean(1) if probability.ndim == 2 else probability


@torch.inference_mode()
def fake_margin(network: nn.Module, case: Case, clips: torch.Tensor) -> torch.Tensor:
    """The logit of that probability, fake over real (B,), where clips are judged as a whole; else its log odds."""
    answer = network(clips)
    if answer.ndim == 3 and not case.mean_logit:
        probability = fake_probability(network, case, clips).double()
        return (probability / (1 - probability)).log().float()
    answer = answer.mean(1) if answer.ndim == 3 else answer
    if answer.shape[-1] == 2:
        return answer[:, case.fake] - answer[:, 1 - case.fake]
    return answer[:, 0] if case.fake == 1 else -answer[:, 0]


def clips(batch_size: int, size: int = 75, num_frames: int = 3, seed: int = 1) -> torch.Tensor:
    """Clips (B, T, 3, H, W) of an odd size, where paddings differ most."""
    generator = torch.Generator().manual_seed(seed + batch_size)
    coarse = torch.randn(batch_size * num_frames, 3, 9, 9, generator=generator)
    smooth = functional.interpolate(coarse, (size, size), mode="bilinear")
    noise = torch.randn(smooth.shape, generator=generator)
    return (smooth + 0.3 * noise).unflatten(0, (batch_size, num_frames))
