# SPDX-License-Identifier: Apache-2.0
"""Choices for all tests."""

import os
from functools import partial

import pytest
from huggingface_hub import cached_assets_path
from hypothesis import HealthCheck, settings

from deepfake_video.scanning import graph_cache


# Worker processes of pytest-xdist share the cores. torch is imported later and would use all of them in each worker.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says more about what else the machine does than about what is tested.
settings.register_profile("without a clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("without a clock")


@pytest.fixture(scope="module", autouse=True)
def _own_graph_cache(tmp_path_factory):
    """Keep the graphs that tests write out of the user's cache, where other tests would find them."""
    folder = tmp_path_factory.mktemp("assets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_cache, "cached_assets_path", partial(cached_assets_path, assets_dir=folder))
        yield
