# SPDX-License-Identifier: Apache-2.0
"""Optimise a loaded network for inference: it computes the same function, and is no longer saved."""

import hashlib
import importlib.util
import os
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import cached_assets_path
from torch import nn

from ..common.errors import UsageError
from ..modeling_deepfake import FRAMES_PER_PASS, DeepfakeForVideoClassification
from ..timm_backbones import is_timm
from ..version import __version__


Dtype = Literal["float32", "bfloat16"]
Engine = Literal["torch", "onnx"]
# Modules that convolve with their weights as they are stored, and not with normalised ones, for instance.
_PLAIN_CONVOLUTIONS = {"Conv2d", "Conv2dSame", "DeepfakeSamePadConv2d"}
# Height and width in pixels of the example frame that shows the order of the layers.
_EXAMPLE_SIZE = 64


def prepare_for_inference(
    network: DeepfakeForVideoClassification, *, dtype: Dtype = "float32", engine: Engine = "torch"
) -> None:
    """
    Optimise a network in evaluation mode in place. Afterwards it must not be saved or trained.

    Batch norms are folded into the convolutions before them, and convolutions use the channels-last memory format.

    Args:
        network: A loaded network.
        dtype: Precision of the frame encoder. The recurrent part and the classifier stay in float32.
        engine: Library that runs the frame encoder if no gradient is needed. `"onnx"` is onnxruntime on the CPU.

    Raises:
        UsageError: If the engine is not installed, or does not support the precision.
    """
    backbone = network.deepfake.frame_encoder.backbone
    encoder: nn.Module | None = None
    size = network.config.image_size
    if not is_timm(network.config.backbone):
        # Only timm has networks that accept a single size.
        size = min(size, _EXAMPLE_SIZE)
    fold_batch_norms(backbone, torch.zeros(1, network.config.num_channels, size, size))
    for module in backbone.modules():
        # A kernel of one pixel has the same layout in both formats; these are most of the weights.
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.to(memory_format=torch.channels_last)
    if engine == "onnx":
        if dtype != "float32":
            raise UsageError(f"the engine onnx computes in float32 only, not in {dtype}.")
        encoder = OnnxFrameEncoder(backbone)
    elif dtype != "float32":
        encoder = _CastFrameEncoder(backbone, getattr(torch, dtype))
    if encoder is not None:
        setattr(network.deepfake, "frame_encoder", encoder)  # noqa: B010


@torch.no_grad()
def fold_batch_norms(module: nn.Module, example: torch.Tensor) -> None:
    """
    Fold each batch norm into the convolution before it, in place and without a copy of the weights.

    Args:
        module: A module in evaluation mode.
        example: An input. It shows the order in which the layers run; timm's networks register them in another order.
    """
    places = {child: (parent, name) for parent in module.modules() for name, child in parent.named_children()}
    for norm, conv in _followed_convolutions(module, example).items():
        # The output of the convolution's parent may have other readers, such as a shortcut.
        if places[norm][0] is not places[conv][0]:
            continue
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        bias = -mean if conv.bias is None else conv.bias - mean
        conv.weight.mul_(scale.view(-1, 1, 1, 1))
        conv.bias = nn.Parameter(bias * scale + norm.bias)
        # A batch norm of timm may contain the activation that follows it.
        parent, name = places[norm]
        setattr(parent, name, nn.Identity() if type(norm) is nn.BatchNorm2d else norm.get_submodule("act"))


def _followed_convolutions(module: nn.Module, example: torch.Tensor) -> dict[nn.BatchNorm2d, nn.Conv2d]:
    """For each batch norm the convolution whose output it reads, if both run once."""
    made: list[tuple[torch.Tensor, nn.Conv2d]] = []
    read: list[tuple[nn.BatchNorm2d, torch.Tensor]] = []
    hooks = []
    for child in module.modules():
        if isinstance(child, nn.Conv2d) and type(child).__name__ in _PLAIN_CONVOLUTIONS:
            hooks.append(child.register_forward_hook(lambda conv, _, output: made.append((output, conv))))
        elif type(child) is nn.BatchNorm2d or (isinstance(child, nn.BatchNorm2d) and hasattr(child, "act")):
            hooks.append(child.register_forward_pre_hook(lambda norm, inputs: read.append((norm, inputs[0]))))
    try:
        module(example)
    finally:
        for hook in hooks:
            hook.remove()
    makers = {id(output): conv for output, conv in made}
    runs = Counter([*(conv for _, conv in made), *(norm for norm, _ in read)])
    pairs = {norm: makers[id(tensor)] for norm, tensor in read if id(tensor) in makers}
    return {norm: conv for norm, conv in pairs.items() if runs[norm] == runs[conv] == 1 and norm.affine}


class _CastFrameEncoder(nn.Module):
    """A frame encoder that computes in a shorter data type and returns float32."""

    def __init__(self, backbone: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone = backbone.to(dtype)
        self.dtype = dtype

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunks = frames.to(self.dtype, memory_format=torch.channels_last).split(FRAMES_PER_PASS)
        return torch.cat([self.backbone(chunk) for chunk in chunks]).float()


class OnnxFrameEncoder(nn.Module):
    """
    A frame encoder, (N, C, H, W) to (N, num_features), that runs with onnxruntime, with one graph per frame size.

    With gradients enabled, as for Grad-CAM, torch computes instead.

    Args:
        backbone: The backbone to export.

    Raises:
        UsageError: If a package is missing.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        if missing:
            raise UsageError(f"--engine onnx needs {', '.join(missing)}: pip install 'deepfake-video[export]'.")
        self.backbone = backbone
        self._sessions: dict[tuple[int, int], Any] = {}

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            return self.backbone(frames)
        height, width = frames.shape[-2:]
        if (height, width) not in self._sessions:
            self._sessions[height, width] = _open_session(self.backbone, height, width)
        session = self._sessions[height, width]
        chunks = frames.contiguous().split(FRAMES_PER_PASS)
        return torch.cat([torch.from_numpy(session.run(None, {"frames": chunk.numpy()})[0]) for chunk in chunks])


def _open_session(backbone: nn.Module, height: int, width: int) -> Any:
    """Open the graph in the user's cache. A graph that is missing or does not load is exported again."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def open_graph(path: Path) -> Any:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    cached: Path | None = None
    try:
        cached = cached_assets_path("deepfake-video", "onnx", f"{_graph_key(backbone)}-{height}x{width}")
        return open_graph(cached / "frame_encoder.onnx")
    except Exception:  # onnxruntime has no common class of errors for a missing or damaged file
        if cached and not os.access(cached, os.W_OK):
            cached = None
    with tempfile.TemporaryDirectory(prefix="export-", dir=cached) as folder, torch.inference_mode(False):
        path = Path(folder, "frame_encoder.onnx")
        _export_graph(backbone, height, width, path)
        # Several processes may do this at once, so the graph is moved to its place as a whole.
        return open_graph(path.replace(cached / path.name) if cached else path)


def _export_graph(backbone: nn.Module, height: int, width: int, path: Path) -> None:
    from ..hub.onnx_export import write_graph

    # Exporting with dynamic heights and widths takes minutes.
    free = ("frames", None, None, None)
    write_graph(backbone, torch.zeros(2, 3, height, width), path, names=("frames", "features"), free=free)


def _graph_key(backbone: nn.Module) -> str:
    """Hash of everything that determines the graph: layers, weights and the versions of the exporter."""
    provider = type(backbone).__module__.partition(".")[0]
    versions = [__version__, *map(version, ("torch", provider, "onnx", "onnxscript"))]
    digest = hashlib.sha256(f"{versions} {backbone}".encode())
    for name, module in backbone.named_modules():
        # The text of a network does not contain all of them, such as a padding of another name.
        settings = {key: value for key, value in vars(module).items() if isinstance(value, int | float | str | tuple)}
        digest.update(f"{name} {settings}".encode())
    for key, tensor in backbone.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:32]
