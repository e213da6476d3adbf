# SPDX-License-Identifier: Apache-2.0
"""Write the graphs of a checkpoint, see [`graphs`]; this requires torch, onnx and onnxscript."""

import hashlib
import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..common.files import new_folder
from ..common.packages import missing_packages
from ..hub.checkpoint import read_checkpoint
from ..hub.differences import relative_difference
from ..hub.graph_tracing import trace_graph
from ..modeling_deepfake import DeepfakeForVideoClassification
from .graphs import (
    ENCODER_NAME,
    HEAD_NAME,
    MANIFEST_NAME,
    SOURCE_NAMES,
    GraphsError,
    Manifest,
)
from .models import describe
from .onnx_model import load_onnx_model
from .results import ModelIdentity


if TYPE_CHECKING:
    import onnx

# Clips and frames of the traced input; both axes are dynamic, which requires sizes above 1.
_EXAMPLE_CLIPS, _EXAMPLE_FRAMES = 2, 4
# Tolerance of a logit, relative to the largest one or to 1; and clips and frames of the compared inputs.
_TOLERANCE = 1e-4
_COMPARED = ((1, 1), (2, 3), (1, 6))
_PREFIX = "network."


class _Frames(nn.Module):
    """`frames` (N, C, H, W) to `features` (N, D)."""

    def __init__(self, network: DeepfakeForVideoClassification) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.deepfake.frame_encoder(frames)
        return features


class _Head(nn.Module):
    """`features` (B, T, D) to `logits` (B, L) and `frame_logits` (B, T, L)."""

    def __init__(self, network: DeepfakeForVideoClassification) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs: Any = self.network.classify_features(features)
        return outputs.logits, outputs.frame_logits


def write_graphs(checkpoint: Path, target: Path) -> Manifest:
    """
    Write the graphs of a checkpoint. They appear only after onnxruntime has run them and agrees with torch.

    Args:
        checkpoint: A folder with a single file of weights.
        target: The folder to write; an existing one is replaced.

    Returns:
        The manifest, which ties the graphs to the files of the checkpoint.

    Raises:
        ModelLoadError: If the checkpoint cannot be loaded.
        GraphsError: If a package or a file of the checkpoint is missing, the checkpoint changes meanwhile, or the
            outputs of onnxruntime and torch differ.
        UnsupportedChoiceError: If the preprocessing of the checkpoint needs torch.
        OSError: If the folder cannot be written.
    """
    if missing := missing_packages("onnx", "onnxscript", "onnxruntime"):
        raise GraphsError(f"writing graphs requires {', '.join(missing)}: pip install 'deepfake-video[export]'.")
    try:
        contents = {name: (checkpoint / name).read_bytes() for name in SOURCE_NAMES}
    except OSError as error:
        raise GraphsError(f"{error.filename}: cannot be read ({error.strerror}).") from error
    model = read_checkpoint(checkpoint, name=str(checkpoint))
    graphs, weights = _trace_both(model.network)
    manifest = Manifest(
        description=describe(model.network.config, model.processor),
        weights=weights,
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in {**contents, **graphs}.items()},
    )
    with new_folder(target) as unfinished:
        for name, graph in graphs.items():
            (unfinished / name).write_bytes(graph)
        (unfinished / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        _compare(model.network, checkpoint, unfinished)
    return manifest


def _trace_both(network: DeepfakeForVideoClassification) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    """Trace both graphs; returns each graph and the keys of its weights, by name."""
    config, keys = network.config, set(network.state_dict())
    frames = torch.zeros(_EXAMPLE_CLIPS, config.num_channels, config.image_size, config.image_size)
    features = torch.zeros(_EXAMPLE_CLIPS, _EXAMPLE_FRAMES, config.num_features)
    # Optimising would merge weights into others.
    encoder = trace_graph(
        _Frames(network).eval(), frames, name="frames", outputs=["features"], free=["frames"], optimize=False
    )
    head = trace_graph(
        _Head(network).eval(),
        features,
        name="features",
        outputs=["logits", "frame_logits"],
        free=["clips", "frames"],
        optimize=False,
    )
    programs = {ENCODER_NAME: encoder, HEAD_NAME: head}
    both = {name: _without_weights(program.model_proto, keys) for name, program in programs.items()}
    return {name: graph for name, (graph, _) in both.items()}, {name: read for name, (_, read) in both.items()}


@torch.inference_mode()
def _compare(network: DeepfakeForVideoClassification, checkpoint: Path, graphs: Path) -> None:
    model = load_onnx_model(checkpoint, ModelIdentity(id=str(checkpoint)), graphs=graphs)
    generator = torch.Generator().manual_seed(0)
    size = network.config.image_size
    for clips, frames in _COMPARED:
        pixels = torch.randn(clips, frames, network.config.num_channels, size, size, generator=generator)
        expected, found = network(pixels), model.compute_logits(pixels.numpy())
        for name in ("logits", "frame_logits"):
            difference = relative_difference(torch.from_numpy(getattr(found, name)), getattr(expected, name))
            if not difference <= _TOLERANCE:
                raise GraphsError(
                    f"{checkpoint}: the {name} of onnxruntime and torch differ by {difference:.1e} (tolerance "
                    f"{_TOLERANCE:.0e}); please report this."
                )


def _without_weights(model: "onnx.ModelProto", keys: Collection[str]) -> tuple[bytes, list[str]]:
    """Take the weights of these keys out of a graph; returns the graph and the keys that it reads."""
    import onnx
    import onnxscript.optimizer

    stored = {f"{_PREFIX}{key}": key for key in keys}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in stored]
    others = [tensor for tensor in model.graph.initializer if tensor.name not in stored]
    num_inputs = len(model.graph.input)
    # Inputs have no value, so that nothing is computed from the weights and stored in their place.
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(others)
    for tensor in weights:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(value)
    model = onnxscript.optimizer.optimize(model)
    graph = model.graph
    del graph.input[num_inputs:]
    graph.ClearField("value_info")
    model.ClearField("metadata_props")
    graph.ClearField("metadata_props")
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for position, name in enumerate(node.input):
            node.input[position] = stored.get(name, name)
    for tensor in weights:
        graph.initializer.append(_placeholder(stored[tensor.name], tensor))
    return model.SerializeToString(deterministic=True), [stored[tensor.name] for tensor in weights]


def _placeholder(name: str, tensor: "onnx.TensorProto") -> "onnx.TensorProto":
    """A tensor of the same type and shape whose values are given when the graph is loaded."""
    import onnx

    empty = onnx.TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
    empty.data_location = onnx.TensorProto.EXTERNAL
    size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    for key, value in (("location", "weights"), ("offset", "0"), ("length", str(size * math.prod(tensor.dims)))):
        empty.external_data.add(key=key, value=value)
    return empty
