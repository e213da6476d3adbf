# SPDX-License-Identifier: Apache-2.0
"""Choose the device and the inference library for the models of a scan; torch is imported only if it is needed."""

import ctypes
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..common.errors import UsageError
from ..common.threads import frame_threads
from ..hub.packaged import DEFAULT_CHECKPOINT
from .graphs import GraphsError
from .locating import locate_model
from .preprocessing import UnsupportedChoiceError
from .scoring_model import ScoringModel
from .settings import ScanSettings


if TYPE_CHECKING:
    from .onnx_model import OnnxModel


def load_models(names: Sequence[str | None], *, device: str, settings: ScanSettings) -> list[ScoringModel]:
    """
    Load the models of a scan, all of them with the same engine.

    Args:
        names: Model folders or Hub ids; `None` for the packaged checkpoint, or random weights if there is none.
        device: Device of the networks, see [`resolve_device`].
        settings: The settings of the scan.

    Raises:
        ModelLoadError: If a model cannot be found or downloaded, is not a model of this package, or is damaged.
        UsageError: If the engine "onnx" is asked for, and a package is missing or it does not support the model, the
            precision or the device.
    """
    if settings.engine == "onnx":
        if device != "cpu":
            raise UsageError(f"the engine onnx runs on the CPU only, not on {device}; use --engine torch there.")
        if settings.dtype != "float32":
            raise UsageError(f"the engine onnx computes in float32 only, not in {settings.dtype}.")
    if settings.engine == "onnx" or (settings.engine == "auto" and device == "cpu" and settings.dtype == "float32"):
        try:
            return [_load_with_onnx(name, may_write=settings.engine == "onnx") for name in names]
        except (GraphsError, UnsupportedChoiceError):
            if settings.engine == "onnx":
                raise
    from .models import load_model

    return [load_model(name, device=device, dtype=settings.dtype) for name in names]


def _load_with_onnx(name: str | None, *, may_write: bool) -> "OnnxModel":
    located = locate_model(name)
    if located is None:
        raise GraphsError("no ONNX graphs are written for random weights; use --engine torch.")
    folder, identity = located
    from .onnx_model import load_onnx_model

    if folder.resolve() == DEFAULT_CHECKPOINT:
        return load_onnx_model(folder, identity, threads=frame_threads())
    # Imports the Hub's library.
    from .graph_cache import find_cached_graphs, load_with_cached_graphs

    if may_write:
        return load_with_cached_graphs(folder, identity, threads=frame_threads())
    cached = find_cached_graphs(folder)
    if cached is None:
        raise GraphsError("no usable graph cache was found.")
    return load_onnx_model(folder, identity, graphs=cached, threads=frame_threads())


def check_num_frames(models: Sequence[ScoringModel], settings: ScanSettings) -> None:
    """
    Check that each model can score the number of frames that was asked for, so that work does not fail at every video.

    Raises:
        UsageError: If the sampling of a model does not support it.
    """
    for model in models:
        try:
            model.processor.frame_indices(1, num_frames=settings.num_frames)
        except ValueError as error:
            raise UsageError(f"{model.identity.id}: {error}; choose another number of frames.") from None


def resolve_device(name: str) -> str:
    """
    Resolve "auto" to the fastest device of this machine, and check any other name.

    Args:
        name: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"` or `"auto"`.

    Raises:
        UsageError: If the device does not exist on this machine.
    """
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, exists in available.items() if exists)
    if not available.get(name.partition(":")[0], False):
        raise UsageError(f"this machine has no device {name!r}; use cpu or auto.")
    return name


def may_have_gpu() -> bool:
    """
    Return whether torch might find a GPU, without importing torch, which takes seconds.

    It might on macOS, which has Apple GPUs, and with a ROCm build. Otherwise it might only if the NVIDIA driver
    library can be loaded, which CUDA builds of torch require.
    """
    try:
        build = importlib.metadata.version("torch").partition("+")[2]
    except importlib.metadata.PackageNotFoundError:
        # It is either not installed, as in the container image, or installed without its metadata.
        return importlib.util.find_spec("torch") is not None
    if build == "cpu":
        return False
    if sys.platform == "darwin" or build.startswith("rocm"):
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
