# SPDX-License-Identifier: Apache-2.0
"""Make a loaded network fast: the same function, in another form that is never saved."""

import hashlib
import importlib.util
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import cached_assets_path
from torch import nn

from .. import __version__
from ..modeling_deepfake import FRAMES_PER_PASS, DeepfakeForVideoClassification


Dtype = Literal["float32", "bfloat16"]
Engine = Literal["torch", "onnx"]


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
    fold_batch_norms(backbone)
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
def fold_batch_norms(module: nn.Module) -> None:
    """
    Change each convolution that a batch norm of the same parent directly follows, so that it does both, in place.

    In torchvision's networks neighbours by registration are neighbours in the forward pass too. The weights change
    where they lie, so that there is no second copy of them.
    """
    for parent in list(module.modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                mean, variance = child.get_buffer("running_mean"), child.get_buffer("running_var")
                scale = child.weight * torch.rsqrt(variance + child.eps)
                bias = -mean if before.bias is None else before.bias - mean
                before.weight.mul_(scale.view(-1, 1, 1, 1))
                before.bias = nn.Parameter(bias * scale + child.bias)
                setattr(parent, name, nn.Identity())
            before = child


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
    from ..conversion.onnx_export import write_graph

    # Tracing with free heights and widths takes minutes.
    free = ("frames", None, None, None)
    write_graph(backbone, torch.zeros(2, 3, height, width), path, names=("frames", "features"), free=free)


def _graph_key(backbone: nn.Module) -> str:
    """Hash of all that decides about the graph: layers, weights, and what writes it."""
    versions = [__version__, *map(version, ("torch", "torchvision", "onnx", "onnxscript"))]
    digest = hashlib.sha256(f"{versions} {backbone}".encode())
    for name, module in backbone.named_modules():
        # Not all of them stand in the text of a network, the padding of another naming does not.
        settings = {key: value for key, value in vars(module).items() if isinstance(value, int | float | str | tuple)}
        digest.update(f"{name} {settings}".encode())
    for key, tensor in backbone.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:32]
