# SPDX-License-Identifier: Apache-2.0
"""Pruning of CenterFace: the torch module against onnxruntime, the pruned weights against least squares."""

import itertools

import distil
import numpy as np
import pytest
import torch
from graph_network import OUTPUTS, GraphNetwork, as_batch
from hard_faces import HardFace, draw_faces, is_found
from PIL import Image
from prune import Moments, measure, narrow, weigh_faces

from deepfake_video import face_centerface


onnxruntime = pytest.importorskip("onnxruntime")
GRAPH = face_centerface._find_graph()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def run(path, image: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(list(OUTPUTS), {"image": as_batch(image).numpy()})


@torch.no_grad()
def test_torch_computes_what_onnxruntime_computes(image):
    values = GraphNetwork(GRAPH)(as_batch(image))
    for name, expected in zip(OUTPUTS, run(GRAPH, image), strict=True):
        np.testing.assert_allclose(values[name].numpy(), expected, atol=1e-4)


@torch.no_grad()
def test_a_narrowed_graph_is_saved_and_computes_the_same(image, tmp_path):
    original, network = GraphNetwork(GRAPH), GraphNetwork(GRAPH)
    block = network.blocks()[4]
    width = len(network.weight(block.depthwise.inputs[1]))
    narrow(network, block, measure(original, network, block, [image]), width - 16)
    network.save(tmp_path / "narrow.onnx")
    expected = network(as_batch(image))
    for name, found in zip(OUTPUTS, run(tmp_path / "narrow.onnx", image), strict=True):
        np.testing.assert_allclose(found, expected[name].numpy(), atol=1e-4)


def test_removed_channels_and_weights_are_those_of_least_squares():
    random = np.random.default_rng(0)
    channels = random.normal(size=(500, 4)) @ random.normal(size=(4, 4)) + 0.5
    wanted = channels @ random.normal(size=(4, 2)) + random.normal(size=2)
    known = np.column_stack([channels, np.ones(len(channels))])
    moments = Moments(*(torch.from_numpy(side.T @ known) for side in (known, wanted)))
    kept, fitted = moments.choose(moments.fit(torch.zeros(2, 5, dtype=torch.double)), 3)

    def fit(columns: tuple[int, ...]) -> tuple[float, np.ndarray]:
        solution, error, *_ = np.linalg.lstsq(known[:, [*columns, 4]], wanted, rcond=None)
        return float(error.sum()), solution.T

    fits = {columns: fit(columns) for columns in itertools.combinations(range(4), 3)}
    best = min(fits, key=lambda columns: fits[columns][0])
    assert tuple(kept.tolist()) == best
    np.testing.assert_allclose(fitted.numpy(), fits[best][1], rtol=1e-2, atol=1e-3)


def test_faces_weigh_more_than_their_surroundings():
    astronaut = pytest.importorskip("skimage.data").astronaut()[:256, 96:352]
    with torch.no_grad():
        weights = weigh_faces(GraphNetwork(GRAPH)(as_batch(astronaut)), 256, 256)[0, 0]
    # The face lies at about (124, 120), and the corners show the background.
    assert weights[120, 124] == 1
    assert weights[0, 0] == weights[-1, -1] == pytest.approx(0.1)


def test_the_offset_is_added_to_the_logits_of_the_heat(image, tmp_path):
    pytest.importorskip("skimage.data")
    portrait, output = tmp_path / "portrait.png", tmp_path / "trained.onnx"
    Image.fromarray(image).save(portrait)
    words = [str(GRAPH), str(GRAPH), str(portrait), "--steps", "0", "--heat-offset", "0.5", "--output", str(output)]
    assert distil.main(words) == 0
    (before, *others), (after, *same) = (run(path, image) for path in (GRAPH, output))
    np.testing.assert_allclose(after, 1 / (1 + (1 / before - 1) * np.exp(-0.5)), rtol=1e-4)
    for expected, found in zip(others, same, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_face_counts_as_found_only_at_its_place():
    astronaut = pytest.importorskip("skimage.data").astronaut()[:256, 96:352]
    detector = face_centerface.CenterFaceDetector()
    # The face lies at about (124, 120) and is about 110 pixels high.
    assert is_found(detector, HardFace(astronaut, np.array([124, 120]), 120, ()))
    assert not is_found(detector, HardFace(astronaut, np.array([40, 40]), 120, ()))
    assert not is_found(detector, HardFace(astronaut, np.array([124, 120]), 40, ()))


def test_hard_faces_are_of_the_stated_sizes_angles_and_brightness(tmp_path, monkeypatch):
    monkeypatch.setattr("hard_faces.NUM_FACES", 40)
    files = [tmp_path / f"{number:02}.png" for number in range(40)]
    for file in files:
        Image.new("RGB", (50, 50), (250, 0, 0)).save(file)
    faces = list(draw_faces(files))
    assert {group for face in faces for group in face.groups} == {
        *("upright", "turned", "brightness 1", "brightness 0.4", "brightness 0.2", "up to 64 px", "above 64 px"),
    }
    for face in faces:
        red = (face.frame[..., 0] > 0) & (face.frame[..., 1] == 0)
        if "upright" in face.groups:
            assert red.sum() == face.side**2
        rows, columns = np.nonzero(red)
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], face.center, atol=1)
        factor = next(float(group.split()[1]) for group in face.groups if group.startswith("brightness"))
        assert face.frame[..., 0].max() == pytest.approx(250 * factor, abs=1)
