# SPDX-License-Identifier: Apache-2.0
"""Pruning of CenterFace: the torch module against onnxruntime, the pruned weights against least squares."""

import itertools

import numpy as np
import pytest
import torch
from graph_network import OUTPUTS, GraphNetwork, as_batch
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
