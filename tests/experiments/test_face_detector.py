# SPDX-License-Identifier: Apache-2.0
"""Pruning of CenterFace: the torch module against onnxruntime, the pruned weights against least squares."""

import itertools

import numpy as np
import pytest
import torch
from graph_network import OUTPUTS, GraphNetwork, as_batch
from prune import choose_channels, narrow

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
    network = GraphNetwork(GRAPH)
    block = network.blocks()[3]
    width = len(network.weight(block.depthwise.inputs[1]))
    narrow(network, block, torch.eye(width + 1, dtype=torch.double), width - 16)
    network.save(tmp_path / "narrow.onnx")
    expected = network(as_batch(image))
    for name, found in zip(OUTPUTS, run(tmp_path / "narrow.onnx", image), strict=True):
        np.testing.assert_allclose(found, expected[name].numpy(), atol=1e-4)


def test_removed_channels_and_weights_are_those_of_least_squares():
    random = np.random.default_rng(0)
    channels = random.normal(size=(500, 4)) @ random.normal(size=(4, 4)) + 0.5
    weights, bias = random.normal(size=(2, 4)), random.normal(size=2)
    wanted = channels @ weights.T + bias
    known = np.column_stack([channels, np.ones(len(channels))])
    full = torch.from_numpy(np.column_stack([weights, bias]))
    kept, fitted = choose_channels(torch.from_numpy(known.T @ known), full, 3)

    def fit(columns: tuple[int, ...]) -> tuple[float, np.ndarray]:
        solution, error, *_ = np.linalg.lstsq(known[:, [*columns, 4]], wanted, rcond=None)
        return float(error.sum()), solution.T

    fits = {columns: fit(columns) for columns in itertools.combinations(range(4), 3)}
    best = min(fits, key=lambda columns: fits[columns][0])
    assert tuple(kept.tolist()) == best
    np.testing.assert_allclose(fitted.numpy(), fits[best][1], rtol=1e-4, atol=1e-5)
