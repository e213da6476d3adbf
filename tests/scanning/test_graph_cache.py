# SPDX-License-Identifier: Apache-2.0
"""Graphs of a checkpoint of one's own are written once, and written again where they are damaged."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import cached_assets_path

from deepfake_video.scanning import graph_cache, graph_export
from deepfake_video.scanning.graph_cache import find_cached_graphs, load_with_cached_graphs
from deepfake_video.scanning.graph_export import write_graphs
from deepfake_video.scanning.graphs import GraphsError
from deepfake_video.scanning.results import ModelIdentity
from drawn_faces import save_tiny_model


IDENTITY = ModelIdentity(id="model")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A checkpoint with its graphs in its own folder."""
    frames = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 256, "frame_aggregation": "mean-logit"}
    folder = Path(save_tiny_model(tmp_path_factory.mktemp("model"), backbone="timm/test_efficientnet", **frames))
    write_graphs(folder, folder / "onnx")
    return folder


@pytest.fixture
def writes(made, tmp_path, monkeypatch) -> list[Path]:
    """Where graphs were written; the cache is in a folder of the test."""
    written: list[Path] = []

    def write(checkpoint: Path, target: Path) -> None:
        written.append(target)
        # What the export gave before, since it takes seconds.
        shutil.copytree(made / "onnx", target, dirs_exist_ok=True)

    monkeypatch.setattr(graph_export, "write_graphs", write)
    own = partial(cached_assets_path, assets_dir=tmp_path / "assets")
    monkeypatch.setattr(graph_cache, "cached_assets_path", own)
    return written


def test_they_are_written_once(made, writes):
    clip = np.zeros((1, 2, 3, 32, 32), np.float32)
    first, second = (load_with_cached_graphs(made, IDENTITY).compute_logits(clip) for _ in range(2))
    assert writes == [find_cached_graphs(made)]
    np.testing.assert_array_equal(first.logits, second.logits)


def test_the_graphs_in_the_folder_of_the_checkpoint_are_not_used(made, writes):
    assert find_cached_graphs(made) != made / "onnx"
    assert not list(find_cached_graphs(made).iterdir())


def test_damaged_ones_are_written_again(made, writes):
    load_with_cached_graphs(made, IDENTITY)
    (find_cached_graphs(made) / "head.onnx").write_bytes(b"")
    load_with_cached_graphs(made, IDENTITY)
    assert len(writes) == 2


def test_another_checkpoint_has_others(made, writes, tmp_path):
    other = Path(shutil.copytree(made, tmp_path / "other"))
    with (other / "config.json").open("a") as stream:
        stream.write("\n")
    assert find_cached_graphs(other) != find_cached_graphs(made)


def test_without_a_cache_they_are_written_for_this_time(made, writes, monkeypatch):
    def refuse(*parts: str) -> None:
        raise OSError

    monkeypatch.setattr(graph_cache, "cached_assets_path", refuse)
    assert load_with_cached_graphs(made, IDENTITY).identity.id == "model"
    assert not writes[0].exists()


def test_what_is_no_checkpoint_is_named(tmp_path, writes):
    with pytest.raises(GraphsError, match=r"config\.json cannot be read"):
        load_with_cached_graphs(tmp_path, IDENTITY)
