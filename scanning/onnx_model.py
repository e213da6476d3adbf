# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that runs in onnxruntime, with the graphs stored next to it, without torch and Transformers."""

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors

from ..hub.model_files import WEIGHTS_NAME
from .graphs import (
    ENCODER_NAME,
    GRAPHS_FOLDER,
    HEAD_NAME,
    GraphsError,
    ScoringDescription,
    read_manifest,
    read_sources,
)
from .memory import memory_errors
from .preprocessing import Preprocessing
from .results import ModelIdentity
from .scoring_model import ClipLogits


if TYPE_CHECKING:
    from ..grad_cam import GradCam
    from .models import LoadedModel

# Frames that pass the network at once. More take more memory and are no faster; one at a time is slower for some.
FRAMES_PER_PASS = 2
# Types of safetensors that weights may have.
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "u1",
    "BOOL": "?",
}


class OnnxModel:
    """
    A checkpoint that is ready to score: the [`ScoringModel`] that runs in onnxruntime. Several threads can share it.

    Args:
        description: Settings that scoring requires in addition to the weights.
        encoder: Session of the frame encoder.
        head: Session of the part after the frame encoder.
        identity: Name and hash of the weights.
        folder: The folder of the checkpoint.
        threads: Number of frames that are processed at the same time, one thread each.

    Raises:
        UnsupportedChoiceError: If the preprocessing needs torch.
    """

    def __init__(
        self,
        description: ScoringDescription,
        encoder: Any,
        head: Any,
        identity: ModelIdentity,
        folder: Path,
        threads: int = 1,
    ) -> None:
        self.description = description
        self.processor = Preprocessing.from_choices(description.preprocessing)
        self.identity = identity
        self.folder = folder
        self._encoder, self._head = encoder, head
        # Without work the threads of a pool sleep, unlike those of onnxruntime, which wait by counting.
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    @property
    def engine(self) -> str:
        """Inference library."""
        return "onnx"

    @property
    def device(self) -> str:
        """Device type."""
        return "cpu"

    @property
    def fake_index(self) -> int:
        """Index of the fake logit."""
        return self.description.fake_index

    def pixel_values(self, crops: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Preprocess one clip: frames `(h, w, 3)` uint8, already sampled and cropped, to `(1, T, C, H, W)`."""
        return self.processor.pixel_values(crops)

    @memory_errors()
    def frame_features(self, pixel_values: np.ndarray) -> np.ndarray:
        """
        Compute the features of each frame, over which the windows of a timeline slide.

        Args:
            pixel_values: Array of shape (B, T, C, H, W), float32.

        Returns:
            Array of shape (B, T, D), float32.
        """
        frames = pixel_values.reshape(-1, *pixel_values.shape[2:])
        chunks = [frames[first : first + FRAMES_PER_PASS] for first in range(0, len(frames), FRAMES_PER_PASS)]
        run = map if self._pool is None else self._pool.map
        features = np.concatenate(list(run(self._encode, chunks)))
        return features.reshape(*pixel_values.shape[:2], -1)

    @memory_errors()
    def classify_features(self, features: np.ndarray, mask: np.ndarray | None = None) -> ClipLogits:
        """
        Compute the logits of clips from the features of their frames.

        Args:
            features: Array of shape (B, T, D), float32.
            mask: Array of shape (B, T), bool: True for valid frames; all frames are valid by default.

        Raises:
            ValueError: If a clip has no valid frame.
        """
        if mask is None or mask.all():
            return ClipLogits(*self._head.run(["logits", "frame_logits"], {"features": features}))
        counts = mask.sum(1)
        if not counts.all():
            raise ValueError("mask excludes every frame of a clip; at least one frame must be valid.")
        num_labels = len(self.description.labels)
        logits = np.zeros((len(features), num_labels), np.float32)
        frame_logits = np.zeros((*mask.shape, num_labels), np.float32)
        # A masked frame is no step of a recurrent network either: what is left of a clip is a shorter one.
        for count in np.unique(counts):
            rows = np.flatnonzero(counts == count)
            kept = features[rows][mask[rows]].reshape(len(rows), count, -1)
            part = self.classify_features(kept)
            logits[rows] = part.logits
            frame_logits[mask & (counts == count)[:, None]] = part.frame_logits.reshape(-1, num_labels)
        return ClipLogits(logits, frame_logits)

    def compute_logits(self, pixel_values: np.ndarray) -> ClipLogits:
        """Compute the logits of clips `(B, T, C, H, W)` float32."""
        return self.classify_features(self.frame_features(pixel_values))

    def grad_cam(self, pixel_values: np.ndarray) -> "GradCam":
        """See [`ScoringModel.grad_cam`]: the first call loads torch and the network, which takes seconds."""
        return self._with_torch.grad_cam(pixel_values)

    @functools.cached_property
    def _with_torch(self) -> "LoadedModel":
        from .models import load_with_torch

        return load_with_torch(self)

    def _encode(self, frames: np.ndarray) -> np.ndarray:
        features: np.ndarray = self._encoder.run(["features"], {"frames": np.ascontiguousarray(frames)})[0]
        return features


def load_onnx_model(
    checkpoint: Path, identity: ModelIdentity, *, graphs: Path | None = None, threads: int = 1
) -> OnnxModel:
    """
    Load a checkpoint with its graphs. A graph can compute anything, so load only graphs that this package wrote.

    Args:
        checkpoint: The folder of the checkpoint.
        identity: Identity of the checkpoint in results, to which the hash is added.
        graphs: The folder of the graphs; `onnx` in the checkpoint folder by default.
        threads: Number of frames that are processed at the same time.

    Raises:
        GraphsError: If onnxruntime is missing, there are no graphs, or a file has changed since the graphs were
            written, the weights have a type that numpy cannot hold, or the frames another size than the graphs.
        UnsupportedChoiceError: If the preprocessing needs torch.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise GraphsError("onnxruntime is not installed: pip install onnxruntime")
    graphs = checkpoint / GRAPHS_FOLDER if graphs is None else graphs
    manifest = read_manifest(graphs)
    _check_size(manifest.description, checkpoint)
    contents = read_sources(checkpoint, graphs, manifest)
    stored = _read_weights(contents[WEIGHTS_NAME], checkpoint / WEIGHTS_NAME)
    try:
        encoder, head = (
            open_session(contents[graph], {key: stored[key] for key in manifest.weights[graph]})
            for graph in (ENCODER_NAME, HEAD_NAME)
        )
    except Exception as error:  # what onnxruntime raises has no common class
        raise GraphsError(f"{graphs}: onnxruntime cannot load the graphs ({str(error)[:200]}).") from error
    identity = replace(identity, weights_sha256=manifest.sha256[WEIGHTS_NAME])
    return OnnxModel(manifest.description, encoder, head, identity, checkpoint, threads)


def _check_size(description: ScoringDescription, checkpoint: Path) -> None:
    """Refuse a processor whose frames are not those of the graphs, which take one size."""
    processor, side = Preprocessing.from_choices(description.preprocessing), description.image_size
    if (processor.height, processor.width) != (side, side):
        raise GraphsError(
            f"{checkpoint}: the onnx engine takes frames of {side}x{side} pixels (image_size), but the processor "
            f"makes {processor.width}x{processor.height}; use --engine torch."
        )


def _read_weights(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file; bfloat16, which numpy lacks, as float32, which is exact."""
    weights = {}
    for name, tensor in safetensors.deserialize(content):
        kind = tensor["dtype"]
        if kind not in _DTYPES:
            raise GraphsError(f"{path}: the onnx engine does not read {kind} ({name}); use --engine torch.")
        values = np.frombuffer(tensor["data"], _DTYPES[kind])
        if kind == "BF16":
            # The upper half of the bits of a float32.
            values = (values.astype("<u4") << 16).view("<f4")
        weights[name] = values.reshape(tensor["shape"])
    return weights


def open_session(graph: bytes, weights: Mapping[str, np.ndarray]) -> Any:
    """
    Open an onnxruntime session on the CPU that runs in the calling thread and does not spin while waiting.

    Args:
        graph: An ONNX file.
        weights: Tensors that the graph does not contain; floating-point tensors are passed in float32.
    """
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Only errors: it warns of recurrent networks whose clips have another length than the traced one, which is meant.
    options.log_severity_level = 3
    for kind in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{kind}.allow_spinning", "0")
    if weights:
        values = [
            onnxruntime.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(value, np.float32 if value.dtype.kind == "f" else None)
            )
            for value in weights.values()
        ]
        options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
