# SPDX-License-Identifier: Apache-2.0
"""Make a loaded network fast: the same function, in another form that is never saved."""

import importlib.util
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

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
    backbone.to(memory_format=torch.channels_last)
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

    In torchvision's networks neighbours by registration are neighbours in the forward pass too.
    """
    for parent in list(module.modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                statistics: Any = (child.running_mean, child.running_var, child.eps, child.weight, child.bias)
                before.weight, before.bias = fuse_conv_bn_weights(before.weight, before.bias, *statistics)
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
    import onnxruntime  # type: ignore[import-untyped]

    from ..conversion.onnx_export import write_graph

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="deepfake-video-") as folder, torch.inference_mode(False):
        path = Path(folder, "frame_encoder.onnx")
        # Tracing with free heights and widths takes minutes.
        free = ("frames", None, None, None)
        write_graph(backbone, torch.zeros(2, 3, height, width), path, names=("frames", "features"), free=free)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
