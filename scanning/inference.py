# SPDX-License-Identifier: Apache-2.0
"""Make a loaded network fast: the same function, in another form that is never saved."""

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

from ..modeling_deepfake import FRAMES_PER_PASS, DeepfakeForVideoClassification
from ..timm_backbones import is_timm
from ..version import __version__


Dtype = Literal["float32", "bfloat16"]
Engine = Literal["torch", "onnx"]
# Those whose forward pass is a convolution with the weights as they are stored: not, say, with normalised ones.
_PLAIN_CONVOLUTIONS = {"Conv2d", "Conv2dSame", "DeepfakeSamePadConv2d"}
# Height and width of the frame that shows the order of the layers, in pixels.
_EXAMPLE_SIZE = 64


def prepare_for_inference(
    network: DeepfakeForVideoClassification, *, dtype: Dtype = "float32", engine: Engine = "torch"
) -> None:
    """
    Change a network in evaluation mode in place: afterwards it is fast, and no longer to be saved or trained.

    Batch norms become part of the convolutions before them, and the channels of a pixel lie together in memory.

    Args:
        network: As it was loaded.
        dtype: Of the frame encoder; the recurrent part and the classifier stay in float32.
        engine: What runs the frame encoder where no gradient is asked for; "onnx" is onnxruntime on the CPU.

    Raises:
        ValueError: If the engine is not installed, or does not go with the type.
    """
    backbone = network.deepfake.frame_encoder.backbone
    encoder: nn.Module | None = None
    size = network.config.image_size
    if not is_timm(network.config.backbone):
        # Only timm has networks that refuse other sizes than their own.
        size = min(size, _EXAMPLE_SIZE)
    fold_batch_norms(backbone, torch.zeros(1, network.config.num_channels, size, size))
    for module in backbone.modules():
        # A kernel of one pixel lies in memory alike in both orders: those are most of the weights, and stay.
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.to(memory_format=torch.channels_last)
    if engine == "onnx":
        if dtype != "float32":
            raise ValueError(f"the engine onnx computes in float32 only, not in {dtype}.")
        encoder = OnnxFrameEncoder(backbone)
    elif dtype != "float32":
        encoder = _CastFrameEncoder(backbone, getattr(torch, dtype))
    if encoder is not None:
        setattr(network.deepfake, "frame_encoder", encoder)  # noqa: B010


@torch.no_grad()
def fold_batch_norms(module: nn.Module, example: torch.Tensor) -> None:
    """
    Change each convolution whose output goes to a batch norm, so that it does both, in place.

    The weights change where they lie, so that there is no second copy of them.

    Args:
        module: In evaluation mode.
        example: An input. The order of the layers is that in which they run on it, since timm's networks do not
            register them in that order.
    """
    places = {child: (parent, name) for parent in module.modules() for name, child in parent.named_children()}
    for norm, conv in _followed_convolutions(module, example).items():
        # What leaves the parent of a convolution may be read elsewhere too, by a shortcut for instance.
        if places[norm][0] is not places[conv][0]:
            continue
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        bias = -mean if conv.bias is None else conv.bias - mean
        conv.weight.mul_(scale.view(-1, 1, 1, 1))
        conv.bias = nn.Parameter(bias * scale + norm.bias)
        # A batch norm of timm may hold the activation behind it.
        parent, name = places[norm]
        setattr(parent, name, nn.Identity() if type(norm) is nn.BatchNorm2d else norm.get_submodule("act"))


def _followed_convolutions(module: nn.Module, example: torch.Tensor) -> dict[nn.BatchNorm2d, nn.Conv2d]:
    """By each batch norm the convolution whose output it reads, where both run once."""
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
    """A frame encoder that computes in a shorter type and answers in float32."""

    def __init__(self, backbone: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone = backbone.to(dtype)
        self.dtype = dtype

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        chunks = frames.to(self.dtype, memory_format=torch.channels_last).split(FRAMES_PER_PASS)
        return torch.cat([self.backbone(chunk) for chunk in chunks]).float()


class OnnxFrameEncoder(nn.Module):
    """
    A frame encoder `(N, C, H, W)` to `(N, num_features)` that onnxruntime runs, with one graph a size of frames.

    Grad-CAM needs gradients, which onnxruntime does not give: under `torch.enable_grad` torch computes.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(f"the engine onnx needs {', '.join(missing)}: pip install 'deepfake-video[export]'.")
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
    """A session of the graph in the user's cache; a graph that is not there, or does not load, is exported."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def open_graph(path: Path) -> Any:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    cached: Path | None = None
    try:
        cached = cached_assets_path("deepfake-video", "onnx", f"{_graph_key(backbone)}-{height}x{width}")
        return open_graph(cached / "frame_encoder.onnx")
    except Exception:  # what onnxruntime raises for a missing or damaged file has no common class
        if cached and not os.access(cached, os.W_OK):
            cached = None
    with tempfile.TemporaryDirectory(prefix="export-", dir=cached) as folder, torch.inference_mode(False):
        path = Path(folder, "frame_encoder.onnx")
        _export_graph(backbone, height, width, path)
        # Several processes may do this at once: a graph appears whole or not at all.
        return open_graph(path.replace(cached / path.name) if cached else path)


def _export_graph(backbone: nn.Module, height: int, width: int, path: Path) -> None:
    from ..hub.onnx_export import write_graph

    # Tracing with free heights and widths takes minutes.
    free = ("frames", None, None, None)
    write_graph(backbone, torch.zeros(2, 3, height, width), path, names=("frames", "features"), free=free)


def _graph_key(backbone: nn.Module) -> str:
    """Hash of all that decides about the graph: layers, weights, and what writes it."""
    provider = type(backbone).__module__.partition(".")[0]
    versions = [__version__, *map(version, ("torch", provider, "onnx", "onnxscript"))]
    digest = hashlib.sha256(f"{versions} {backbone}".encode())
    for name, module in backbone.named_modules():
        # Not all of them stand in the text of a network, the padding of another naming does not.
        settings = {key: value for key, value in vars(module).items() if isinstance(value, int | float | str | tuple)}
        digest.update(f"{name} {settings}".encode())
    for key, tensor in backbone.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:32]
