# SPDX-License-Identifier: Apache-2.0
"""Scans on a cluster, as far as they can be tested without one; `.ci/slow/ray_cluster.py` starts one."""

import importlib.util
import json
import os
import time
from pathlib import Path

import pytest

from deepfake_video import ScanPlan, ScanSettings
from deepfake_video.common.errors import UsageError
from deepfake_video.common.packages import MissingPackageError
from deepfake_video.scanning import cluster
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.store import ResultStore, write_part
from deepfake_video.scanning.workers import examine_in_worker
from drawn_faces import write_people


@pytest.fixture
def video(tmp_path) -> str:
    return str(write_people(tmp_path / "clip.mp4", seconds=1))


def die_of_bad_names(path: str):
    if Path(path).name.startswith("bad"):
        os._exit(1)
    return examine_in_worker(path)


def stored(folder: Path) -> dict[str, str]:
    lines = [line for file in folder.glob("results-*.jsonl") for line in file.read_text().splitlines()]
    return {result["path"]: result["status"] for result in map(json.loads, lines)}


def test_a_video_that_kills_its_process_is_a_row_and_the_next_one_is_scored(video, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "examine_in_worker", die_of_bad_names)
    output = tmp_path / "run"
    output.mkdir()
    worker = cluster._Worker(os.getcwd(), str(output), [], "cpu", ScanSettings())
    statuses = [json.loads(worker({"path": path})["result"])["status"] for path in ("bad.mp4", video, "none.mp4")]
    worker.close()
    assert statuses == ["unreadable", "ok", "not_found"]
    assert stored(output) == {"bad.mp4": "unreadable", video: "ok", "none.mp4": "not_found"}


def test_a_video_that_was_scored_twice_is_stored_once_and_kept(video, tmp_path):
    output = tmp_path / "run"
    detector = Detector(device="cpu")
    with ResultStore(output, function=detector.describe()) as store:
        store.begin([video])
        for _ in range(2):
            write_part(output, detector.score(video), began_ns=time.time_ns())
        store.finish([video])
    assert len((output / "results.jsonl").read_text().splitlines()) == 1
    with ResultStore(output, function=detector.describe()) as store:
        assert list(store.begin([video])) == [video]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ray": "local"}, "--ray needs --output"),
        ({"ray": "local", "output": "run", "report": "report.html"}, "--ray gives no pictures"),
        ({"ray": "local", "output": "run", "gpus_per_worker": -1.0}, "GPUs per worker"),
        ({"gpus_per_worker": 0.5}, "--gpus-per-worker needs --ray"),
    ],
)
def test_a_plan_that_no_cluster_can_follow_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        ScanPlan(sources=["videos/"], **options)


def test_ray_is_named_with_its_extra_if_it_is_missing(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    with pytest.raises(MissingPackageError, match=r"needs ray: pip install 'deepfake-video\[cluster\]'"):
        cluster.require_ray()
