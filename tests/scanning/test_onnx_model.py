# SPDX-License-Identifier: Apache-2.0
"""Graphs beside a checkpoint answer as torch does, without torch, and only for the files that they were made of."""

import functools
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.hub.checkpoint import read_checkpoint
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.hub.packaged import DEFAULT_CHECKPOINT
from deepfake_video.model_presets import PRESETS
from deepfake_video.scanning.graph_export import write_graphs
from deepfake_video.scanning.graphs import GraphsError, read_manifest
from deepfake_video.scanning.models import describe, load_model
from deepfake_video.scanning.onnx_model import OnnxModel, _read_weights, load_onnx_model
from deepfake_video.scanning.results import FrameRule, ModelIdentity
from drawn_faces import save_tiny_model


RuntimeException = pytest.importorskip(
    "onnxruntime.capi.onnxruntime_pybind11_state", reason="onnxruntime is not installed"
).RuntimeException
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra `export` is not installed",
)
IDENTITY = ModelIdentity(id="model")
# The smallest backbone there is, since what is exported takes its time.
SMALL = {"backbone": "timm/test_efficientnet", "image_size": 32}
FRAMES = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 256}
NETWORKS = {
    "frames": {**FRAMES, "frame_aggregation": "mean-probability"},
    "lstm": {"bidirectional": True, "pooling": "attention", "temperature": 1.7, "fake_bias": -0.4},
    "gru": {"rnn_type": "gru", "rnn_input": "logits", "num_hidden_layers": 2, "pooling": "max"},
    "per frame": {"recurrence": "per-frame", "pooling": "last", "classifier_hidden_sizes": [8]},
}
# Whatever of these a scan imported would take longer than the scan.
HEAVY = {"accelerate", "facenet_pytorch", "onnx", "timm", "torch", "torchmetrics", "torchvision", "transformers"}
SCORE_WITHOUT_TORCH = """
import json, sys
from pathlib import Path
import numpy as np
from deepfake_video.clip_sampling import ClipSampler
from deepfake_video.scanning.onnx_model import load_onnx_model
from deepfake_video.scanning.results import ModelIdentity

model = load_onnx_model(Path(sys.argv[1]), ModelIdentity(id="default"))
frames = np.random.default_rng(0).integers(0, 256, (20, 300, 300, 3), dtype=np.uint8)
answer = model.compute_logits(model.pixel_values(frames))
print(json.dumps({"logits": answer.logits.tolist(), "modules": sorted(sys.modules)}))
"""


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Callable[[str], Path]:
    """The checkpoint of a network with its graphs, which no test changes."""

    @functools.cache
    def export(name: str) -> Path:
        folder = Path(save_tiny_model(tmp_path_factory.mktemp("exported") / "model", **SMALL, **NETWORKS[name]))
        write_graphs(folder, folder / "onnx")
        return folder

    return export


@pytest.fixture(scope="module")
def checkpoint(exported) -> Path:
    return exported("frames")


@pytest.fixture
def own_copy(checkpoint, tmp_path) -> Path:
    """The checkpoint as a folder of the test's own."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_are_those_of_torch_with_and_without_masked_frames(name, exported):
    folder = exported(name)
    model, network = load_onnx_model(folder, IDENTITY), read_checkpoint(folder).network
    pixels = np.random.default_rng(0).standard_normal((3, 5, 3, 32, 32), dtype=np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [1, 0, 0, 1, 1]], dtype=bool)
    features = model.frame_features(pixels)
    for hidden in (None, mask):
        with torch.inference_mode():
            expected = network(
                torch.from_numpy(pixels), frame_mask=None if hidden is None else torch.from_numpy(hidden)
            )
        found = model.classify_features(features, hidden)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
        np.testing.assert_allclose(found.frame_logits, expected.frame_logits, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_those_of_torch(dtype, checkpoint, tmp_path):
    stored = read_checkpoint(checkpoint)
    save_hub_folder(stored.network.to(dtype), stored.processor, tmp_path / "model")
    write_graphs(tmp_path / "model", tmp_path / "model/onnx")
    model, network = load_onnx_model(tmp_path / "model", IDENTITY), read_checkpoint(tmp_path / "model").network
    pixels = np.random.default_rng(0).standard_normal((2, 3, 3, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)).logits
    np.testing.assert_allclose(model.compute_logits(pixels).logits, expected, atol=1e-5)


def test_every_bfloat16_is_read_exactly_and_other_types_are_refused(tmp_path):
    values = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    values = values[~values.isnan()].unflatten(0, (2, -1))
    read = _read_weights(safetensors.torch.save({"weight": values}), tmp_path / "model.safetensors")
    assert read["weight"].dtype == np.float32
    np.testing.assert_array_equal(read["weight"], values.float())
    with pytest.raises(GraphsError, match=r"does not read F8_E4M3 \(weight\); use --engine torch"):
        _read_weights(safetensors.torch.save({"weight": torch.ones(2).to(torch.float8_e4m3fn)}), tmp_path / "x")


def test_a_clip_without_a_real_frame_is_refused(checkpoint):
    model = load_onnx_model(checkpoint, IDENTITY)
    with pytest.raises(ValueError, match="excludes every frame"):
        model.classify_features(np.zeros((1, 2, 256), np.float32), np.zeros((1, 2), bool))


def test_several_threads_give_the_same_bits(checkpoint):
    pixels = np.random.default_rng(0).standard_normal((1, 11, 3, 32, 32), dtype=np.float32)
    one, three = (load_onnx_model(checkpoint, IDENTITY, threads=threads).compute_logits(pixels) for threads in (1, 3))
    np.testing.assert_array_equal(one.logits, three.logits)


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_stored_of_a_preset_is_what_its_configuration_says(name):
    config, processor = DeepfakeConfig.from_preset(name, temperature=1.5), DeepfakeVideoProcessor.from_preset(name)
    description = describe(config, processor)
    assert description.labels[description.fake_index] == "fake"
    assert description.fake_index == config.label2id["fake"]
    follows = config.frame_aggregation != "features" and config.num_labels == 2
    assert description.frame_rule == FrameRule(
        aggregation=config.frame_aggregation if follows else None, temperature=1.5, fake_bias=config.fake_bias
    )
    assert (description.is_trained, description.num_features) == (config.is_trained, config.num_features)
    assert description.configuration == json.loads(json.dumps(config.to_diff_dict()))
    assert description.preprocessing == json.loads(json.dumps(processor.choices()))


def test_the_graphs_hold_no_weights(checkpoint):
    content = (checkpoint / "onnx" / "frame_encoder.onnx").read_bytes()
    network = read_checkpoint(checkpoint).network
    weights = network.deepfake.frame_encoder.backbone.conv_stem.weight.detach().numpy()
    assert weights.tobytes() not in content
    manifest = read_manifest(checkpoint / "onnx")
    assert "deepfake.frame_encoder.backbone.conv_stem.weight" in manifest.weights["frame_encoder.onnx"]


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "video_preprocessor_config.json",
        "model.safetensors",
        "onnx/frame_encoder.onnx",
        "onnx/head.onnx",
    ],
)
def test_graphs_are_refused_beside_another_file_than_they_were_made_of(own_copy, name):
    with (own_copy / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(GraphsError, match=f"{Path(name).name} has changed since .*scoring.json was written"):
        load_onnx_model(own_copy, IDENTITY)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "onnx/head.onnx", "onnx/scoring.json"])
def test_a_missing_file_is_named(own_copy, name):
    (own_copy / name).unlink()
    with pytest.raises(GraphsError, match=Path(name).name):
        load_onnx_model(own_copy, IDENTITY)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"graphs_version": 1}', '{"graphs_version": 0}', "[" * 100_000, '{"graphs_version": 1, "é": 1}'],
)
def test_a_damaged_description_is_refused(own_copy, content):
    (own_copy / "onnx" / "scoring.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(GraphsError, match=r"is damaged|have version (0|None)"):
        load_onnx_model(own_copy, IDENTITY)


def test_a_wrong_value_of_the_description_is_named(own_copy):
    file = own_copy / "onnx" / "scoring.json"
    content = json.loads(file.read_text())
    content["description"]["temperature"] = [1.0]
    file.write_text(json.dumps(content))
    with pytest.raises(
        GraphsError, match=r"scoring\.json is damaged \(description: temperature: a number from 0\.001"
    ):
        load_onnx_model(own_copy, IDENTITY)


def test_frames_of_another_size_than_the_graphs_are_refused(own_copy):
    file = own_copy / "onnx" / "scoring.json"
    content = json.loads(file.read_text())
    content["description"]["preprocessing"]["size"] = {"height": 48, "width": 40}
    file.write_text(json.dumps(content))
    with pytest.raises(GraphsError, match=r"takes frames of 32x32 pixels .* makes 40x48; use --engine torch"):
        load_onnx_model(own_copy, IDENTITY)


def test_too_little_memory_is_a_memory_error(checkpoint, monkeypatch):
    model = load_onnx_model(checkpoint, IDENTITY)
    # The message and the class of onnxruntime, whose allocator would need more than there is.
    monkeypatch.setattr(
        model,
        "_encode",
        lambda frames: raise_error(RuntimeException("Failed to allocate memory for requested buffer")),
    )
    clip = np.zeros((1, 2, 3, 32, 32), np.float32)
    with pytest.raises(MemoryError, match="Failed to allocate memory"):
        model.frame_features(clip)
    monkeypatch.setattr(model, "_encode", lambda frames: raise_error(RuntimeException("another defect")))
    with pytest.raises(RuntimeException, match="another defect"):
        model.frame_features(clip)


def test_too_little_memory_of_torch_is_a_memory_error(checkpoint, monkeypatch):
    model = load_model(str(checkpoint), device="cpu")
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    clip, features = np.zeros((1, 2, 3, 32, 32), np.float32), np.zeros((1, 2, 256), np.float32)
    for name, compute in (
        ("get_frame_features", lambda: model.frame_features(clip)),
        ("classify_features", lambda: model.classify_features(features)),
        ("forward", lambda: model.compute_logits(clip)),
        ("grad_cam", lambda: model.grad_cam(clip)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(model.network, name, lambda *values: raise_error(error))
            with pytest.raises(MemoryError, match="CUDA out of memory"):
                compute()


def raise_error(error):
    raise error


def test_without_onnxruntime_the_way_out_is_named(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(GraphsError, match="pip install onnxruntime"):
        load_onnx_model(checkpoint, IDENTITY)


@pytest.fixture(scope="module")
def packaged() -> OnnxModel:
    return load_onnx_model(DEFAULT_CHECKPOINT, ModelIdentity(id="default"))


@pytest.mark.slow
def test_a_network_of_the_size_of_the_packaged_one_can_be_exported(tmp_path):
    network = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("efficientnet-lite2-frames", is_trained=True))
    save_hub_folder(network, DeepfakeVideoProcessor.from_preset("efficientnet-lite2-frames"), tmp_path / "model")
    write_graphs(tmp_path / "model", tmp_path / "graphs")
    model = load_onnx_model(tmp_path / "model", IDENTITY, graphs=tmp_path / "graphs")
    frames = np.random.default_rng(0).integers(0, 256, (3, 240, 210, 3), dtype=np.uint8)
    expected = load_model(str(tmp_path / "model")).compute_logits(model.pixel_values(frames))
    np.testing.assert_allclose(
        softmax(model.compute_logits(model.pixel_values(frames)).logits), softmax(expected.logits), atol=1e-4
    )


def test_the_packaged_checkpoint_has_its_graphs(packaged):
    model = load_model(None)
    assert packaged.identity == model.identity
    assert packaged.description == describe(model.network.config, model.processor)


def test_the_packaged_checkpoint_scores_as_with_torch(packaged):
    model = load_model(None)
    size = packaged.description.image_size
    frames = np.random.default_rng(0).integers(0, 256, (20, size + 31, size - 7, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model.network(torch.from_numpy(model.pixel_values(frames))).logits.softmax(-1).numpy()
    np.testing.assert_allclose(
        softmax(packaged.compute_logits(packaged.pixel_values(frames)).logits), expected, atol=1e-4
    )


def test_scoring_by_graphs_imports_neither_torch_nor_transformers():
    command = [sys.executable, "-c", SCORE_WITHOUT_TORCH, str(DEFAULT_CHECKPOINT)]
    # Elsewhere than in the checkout, whose modules would hide those of the same names.
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(sys.prefix))
    answer = json.loads(done.stdout)
    assert np.isfinite(answer["logits"]).all()
    assert not HEAVY & {name.partition(".")[0] for name in answer["modules"]}
