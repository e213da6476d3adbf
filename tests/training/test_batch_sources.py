# SPDX-License-Identifier: Apache-2.0
"""The number of processes that draw pairs."""

import pytest

from deepfake_video.common import processors
from deepfake_video.training.batch_sources import choose_workers


@pytest.mark.parametrize(
    ("cores", "device", "expected"),
    [(16, "cuda", 15), (64, "cuda", 16), (1, "cuda", 1), (8, "mps", 7), (64, "cpu", 2), (1, "cpu", 2)],
)
def test_a_gpu_is_fed_by_every_core_but_one(monkeypatch, cores, device, expected):
    monkeypatch.setattr(processors, "cores_per_process", lambda: cores)
    assert choose_workers(device) == expected
