# SPDX-License-Identifier: Apache-2.0
"""Videos that worker processes read and one process scores together get the results that they get alone."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepfake_video import VideoReader
from deepfake_video.scanning import batch, device_batch
from deepfake_video.scanning.clip_reading import ReadVideo, read_video
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.device_batch import examine_on_device
from deepfake_video.scanning.evidence import Examination
from deepfake_video.scanning.plan import ScanPlan
from deepfake_video.scanning.results import VideoResult
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import die_while_reading_a, save_tiny_model, write_people


# What a worker that reads for the packaged checkpoint must do without.
LIST_MODULES = """
import sys
from deepfake_video.scanning import device_batch
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("videos")
    write_people(folder / "a.mp4", seconds=2)
    write_people(folder / "b.mp4", seconds=2, people=2)
    (folder / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(200))
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Detector:
    model = save_tiny_model(tmp_path_factory.mktemp("model"), num_frames=4)
    return Detector([model], device="cpu", settings=ScanSettings(engine="torch"))


def in_order(examinations: Iterator[Examination]) -> list[VideoResult]:
    return sorted((examination.result for examination in examinations), key=lambda result: result.path)


def test_they_get_the_results_that_they_get_alone(videos, detector):
    for result, path in zip(in_order(examine_on_device(detector, videos, 2)), videos, strict=True):
        alone = detector.score(path)
        assert result.fake_probability == pytest.approx(alone.fake_probability, abs=1e-6)
        assert [face.fake_probability for face in result.faces] == pytest.approx(
            [face.fake_probability for face in alone.faces], abs=1e-6
        )
        assert (result.status, result.message, result.sha256, result.provenance) == (
            alone.status,
            alone.message,
            alone.sha256,
            alone.provenance,
        )


def test_a_pass_has_the_faces_of_several_videos(videos, detector, monkeypatch):
    network, passes = detector.models[0], []

    class OnDevice:
        """The model as if it were on a GPU."""

        device = "cuda"

        def __getattr__(self, name):
            return getattr(network, name)

        def compute_logits(self, pixel_values):
            passes.append(len(pixel_values))
            return network.compute_logits(pixel_values)

    read = [read_video(path, detector.processors, detector.settings) for path in videos[:2]]
    monkeypatch.setattr(detector, "models", [OnDevice()])
    detector.score_together(read)
    assert passes == [3]


def test_a_video_that_kills_its_worker_is_a_row_and_the_others_are_scored(videos, detector, monkeypatch):
    monkeypatch.setattr(device_batch, "read_in_worker", die_while_reading_a)
    results = in_order(examine_on_device(detector, videos, 2))
    assert [result.status for result in results] == ["unreadable", "ok", "decode_error"]
    assert "process that read it died" in results[0].message


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "Stale file handle"), MemoryError()])
def test_a_video_that_a_worker_cannot_read_is_a_row(videos, detector, monkeypatch, error):
    def fail(reader):
        raise error

    monkeypatch.setattr(VideoReader, "sha256", fail)
    monkeypatch.setattr(device_batch, "_worker", (detector.processors, detector.settings, False))
    assert device_batch.read_in_worker(videos[0]).error.reason == "unreadable"


def test_a_video_whose_scoring_fails_does_not_fail_the_others(videos, detector, monkeypatch):
    def fail(read):
        if any(Path(video.path).name == "a.mp4" for video in ([read] if isinstance(read, ReadVideo) else read)):
            raise ValueError("no such frame")
        return scored(read)

    scored = detector.score_clips
    monkeypatch.setattr(detector, "score_together", fail)
    monkeypatch.setattr(detector, "score_clips", fail)
    read = [
        device_batch._Read(path=path, video=read_video(path, detector.processors, detector.settings))
        for path in videos[:2]
    ]
    failed, other = in_order(device_batch._score(detector, read))
    assert (failed.status, other.status) == ("decode_error", "ok")
    assert "no such frame" in failed.message


def test_it_is_the_way_of_a_scan_on_a_gpu_unless_there_is_a_timeline(videos, detector, monkeypatch):
    used = []
    monkeypatch.setattr(device_batch, "examine_on_device", lambda *arguments: used.append(arguments[2]) or iter(()))
    on_device = SimpleNamespace(device="cuda", settings=detector.settings, examine=lambda path, **_: used.append(path))
    list(batch._examine(ScanPlan(workers=3), on_device, videos, print, 1))
    assert used.pop() == 3
    on_device.settings = replace(detector.settings, timeline=True)
    list(batch._examine(ScanPlan(), on_device, videos, print, 1))
    assert used == videos


def test_a_worker_does_not_import_torch():
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES], capture_output=True, text=True, check=True, cwd=Path(sys.prefix)
    )
    assert not {"torch", "transformers", "onnxruntime"} & set(done.stdout.split())
