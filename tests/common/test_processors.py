# SPDX-License-Identifier: Apache-2.0
"""The number of usable cores, with the control groups of a container replaced by files."""

import os

import pytest

from deepfake_video.common import processors
from deepfake_video.common.processors import cores_per_process, usable_cores


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "_CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000\n", 2),  # docker run --cpus 2
        ("150000 100000\n", 2),  # a core and a half
        ("10000 100000\n", 1),
        ("6400000 100000\n", 12),  # more than the affinity allows
        ("max 100000\n", 12),
        ("", 12),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(groups, content, expected):
    (groups / "cpu.max").write_text(content)
    assert usable_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [(300000, 3), (-1, 12)])
def test_the_quota_of_version_1_limits_the_cores(groups, quota, expected):
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores() == expected


def test_without_affinity_all_cores_count(groups, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7


@pytest.mark.parametrize(("processes", "expected"), [("1", 12), ("5", 2), ("64", 1)])
def test_processes_of_torchrun_share_the_cores(groups, monkeypatch, processes, expected):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert cores_per_process() == expected
