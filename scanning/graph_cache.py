# SPDX-License-Identifier: Apache-2.0
"""Cache for the graphs of checkpoints other than the packaged one, see [`graphs`]."""

import hashlib
import os
import tempfile
from pathlib import Path

from huggingface_hub import cached_assets_path

from ..version import __version__
from .graphs import GRAPHS_VERSION, SOURCE_NAMES, GraphsError
from .onnx_model import OnnxModel, load_onnx_model
from .results import ModelIdentity


def find_cached_graphs(checkpoint: Path) -> Path | None:
    """
    Return the folder for the graphs of a checkpoint in the user's cache, whether or not they exist.

    Graphs in the folder of the checkpoint are never used, because their publisher could make them compute anything.
    Those in the cache were written by this package from weights and JSON.

    Args:
        checkpoint: The folder of the checkpoint.

    Returns:
        The folder; `None` if no cache is usable.

    Raises:
        GraphsError: If the checkpoint lacks a file that is needed.
    """
    digest = hashlib.sha256(f"{__version__} {GRAPHS_VERSION}".encode())
    for name in SOURCE_NAMES:
        try:
            digest.update(hashlib.sha256((checkpoint / name).read_bytes()).digest())
        except OSError as error:
            raise GraphsError(f"{checkpoint}: {name} cannot be read ({error.strerror}).") from error
    try:
        return cached_assets_path("deepfake-video", "graphs", digest.hexdigest()[:32])
    except (OSError, ValueError):
        return None


def load_with_cached_graphs(checkpoint: Path, identity: ModelIdentity, *, threads: int = 1) -> OnnxModel:
    """
    Load a checkpoint with the graphs in the user's cache. Missing graphs are written first, which takes seconds.

    Args:
        checkpoint: The folder of the checkpoint.
        identity: Identity of the checkpoint in results, to which the hash is added.
        threads: Number of frames that are computed at the same time.

    Raises:
        ModelLoadError: If the checkpoint cannot be loaded.
        GraphsError: If a package is missing, or the checkpoint has no graphs.
        UnsupportedChoiceError: If the preprocessing needs torch.
    """
    cached = find_cached_graphs(checkpoint)
    if cached is not None:
        try:
            return load_onnx_model(checkpoint, identity, graphs=cached, threads=threads)
        except GraphsError:
            # The graphs are missing or damaged.
            if not os.access(cached, os.W_OK):
                cached = None
    from .graph_export import write_graphs

    with tempfile.TemporaryDirectory(prefix="graphs-", ignore_cleanup_errors=True) as folder:
        graphs = Path(folder, "onnx") if cached is None else cached
        try:
            write_graphs(checkpoint, graphs)
        except OSError:
            # The disk is full, or another process has just written the same graphs.
            if cached is None:
                raise
            graphs = Path(folder, "onnx")
            write_graphs(checkpoint, graphs)
        return load_onnx_model(checkpoint, identity, graphs=graphs, threads=threads)
