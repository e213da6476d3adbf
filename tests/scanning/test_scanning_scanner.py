# SPDX-License-Identifier: Apache-2.0
"""The public function `scan` with a plan: results, files, listener, and what ends it early."""

import csv
import errno
import gc
import os
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import write_clip
from deepfake_video import ScanPlan, ScanSettings, VideoReader, scan
from deepfake_video.cli import main
from deepfake_video.common.errors import UsageError
from deepfake_video.common.files import OutputError
from deepfake_video.scanning import detector
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.evidence import Examination
from deepfake_video.scanning.plan import ScanListener
from deepfake_video.scanning.results import ModelIdentity, TimelineEntry, VideoResult
from deepfake_video.scanning.timeline import Window
from deepfake_video.video_errors import VideoError
from drawn_faces import draw_face, save_tiny_model, write_people


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A video with a face, one without, and a file that is not a video."""
    folder = tmp_path_factory.mktemp("videos")
    write_people(folder / "a.mp4", seconds=1)
    write_clip(folder / "nobody.mp4", num_frames=4)
    (folder / "notes.txt").write_text("notes")
    return folder


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"), (MemoryError(), "not enough memory")],
)
def test_an_error_of_reading_one_video_does_not_end_the_scan(error, said, folder, model, monkeypatch):
    hash_file = VideoReader.sha256

    def fail(reader):
        if reader.name.endswith("nobody.mp4"):
            raise error
        return hash_file(reader)

    monkeypatch.setattr(VideoReader, "sha256", fail)
    sources = [folder / "nobody.mp4", folder / "a.mp4"]
    failed, scored = scan(ScanPlan(sources=sources, models=[model], device="cpu"))
    assert (failed.status, failed.fake_probability, scored.status) == ("unreadable", None, "ok")
    assert failed.message.startswith(f"{folder / 'nobody.mp4'}: ")
    assert said in failed.message


def test_an_error_of_reading_after_the_score_leaves_out_the_timeline_only(folder, model, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(detector, "ensemble_timeline", fail)
    result = scan(folder / "a.mp4", model=model, device="cpu", timeline=True)
    assert (result.status, result.timeline) == ("ok", [])
    assert any("timeline could not be computed: it cannot be read" in warning for warning in result.warnings)


@pytest.mark.parametrize("was_wanted", [True, False], ids=["report before", "no report before"])
@pytest.mark.parametrize("timeline", ["none", "failing", "whole"])
def test_a_resumed_scan_scores_again_only_what_lacks_the_pictures_of_a_report(
    timeline, was_wanted, folder, tmp_path, monkeypatch
):
    def fail(*_):
        raise VideoError("a.mp4", "it cannot be read any further")

    if timeline == "failing":
        monkeypatch.setattr(detector, "ensemble_timeline", fail)
    Image.fromarray(draw_face(0.0)).save(tmp_path / "photo.png")
    page = tmp_path / "report.html"
    plan = ScanPlan(
        sources=[folder / "a.mp4", folder / "nobody.mp4", tmp_path / "photo.png"],
        models=[save_tiny_model(tmp_path / "model", rnn_type="none", num_hidden_layers=0, hidden_size=1024)],
        settings=ScanSettings(timeline=timeline != "none"),
        output=tmp_path / "run",
    )
    with_report = replace(plan, report=page)
    first = scan(with_report if was_wanted else plan)
    assert [result.status for result in first] == ["ok", "no_face", "ok"]

    def scored_by(plan: ScanPlan) -> set[str]:
        result = scan(plan)
        return {Path(video.path).name for video in result if video.path not in result.kept}

    # Without a timeline, only a photo has pictures. Whether a failed timeline fails again is known by trying.
    missing = {"photo.png"} if timeline == "none" else {"photo.png", "a.mp4"}
    assert scored_by(with_report) == (set() if was_wanted else missing)
    made = page.read_text(encoding="utf-8").count("data:image/jpeg")
    assert scored_by(with_report) == set()
    # A still, one thumbnail and a heat map of two pictures for the photo.
    of_photo = 4
    assert (made > of_photo) if timeline == "whole" else (made == of_photo)
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == made
    assert scored_by(plan) == set()


class Recorder(ScanListener):
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.result = None

    def started(self, inputs, num_videos):
        self.events.append(f"started {num_videos}")

    def timeline_at(self, second):
        if self.events[-1] != "timeline":
            self.events.append("timeline")

    def video_done(self, result):
        self.events.append(f"done {Path(result.path).name}")

    def finished(self, result):
        self.events.append("finished")
        self.result = result


def test_a_plan_gives_one_result_per_video_and_its_files(folder, model, tmp_path):
    recorder = Recorder()
    plan = ScanPlan(
        sources=[folder], models=[model], settings=ScanSettings(timeline=True), csv=tmp_path / "results.csv"
    )
    results = scan(plan, listener=recorder)
    found = [(Path(result.path).name, result.status) for result in results]
    assert found == [
        ("a.mp4", "ok"),
        ("nobody.mp4", "no_face"),
    ]
    assert (results.num_videos, results.num_scored, results.num_skipped) == (2, 1, 1)
    assert results.failed == [results[1]]
    assert (tmp_path / "results.csv").read_text().count("\n") == 3
    assert recorder.events == ["started 2", "timeline", "done a.mp4", "done nobody.mp4", "finished"]
    assert recorder.result is results


def test_a_path_gives_the_result_that_a_plan_gives(folder, model):
    path = folder / "a.mp4"
    (expected,) = scan(ScanPlan(sources=[path], models=[model]))
    assert scan(path, model=model).fake_probability == expected.fake_probability


@pytest.mark.parametrize("form", ["as_uri", "composed"])
def test_a_single_video_is_found_by_the_names_that_a_plan_takes(form, tmp_path, model):
    path = tmp_path / "e\u0301.mp4"
    path.touch()
    name = path.as_uri() if form == "as_uri" else str(tmp_path / "\u00e9.mp4")
    (expected,) = scan(ScanPlan(sources=[name], models=[model]))
    result = scan(name, model=model)
    assert (result.path, result.status) == (expected.path, expected.status) == (str(path), "unsupported")


def test_an_interrupt_reports_and_writes_what_is_done(folder, model, tmp_path, monkeypatch):
    examine = Detector.examine

    def interrupted(self, path, **options):
        if path.endswith("nobody.mp4"):
            raise KeyboardInterrupt
        return examine(self, path, **options)

    monkeypatch.setattr(Detector, "examine", interrupted)
    recorder = Recorder()
    plan = ScanPlan(sources=[folder], models=[model], csv=tmp_path / "results.csv")
    (tmp_path / "results.csv").write_text("of a complete scan")
    with pytest.raises(KeyboardInterrupt):
        scan(plan, listener=recorder)
    assert [Path(result.path).name for result in recorder.result] == ["a.mp4"]
    assert recorder.result.num_videos == 2
    assert (tmp_path / "results.csv").read_text() == "of a complete scan"
    rows = list(csv.DictReader((tmp_path / "results.partial.csv").open(encoding="utf-8-sig")))
    assert [Path(row["path"]).name for row in rows] == ["a.mp4"]


@pytest.mark.parametrize("taken_by", ["lists", "report"])
def test_the_file_of_an_early_end_replaces_no_input_and_no_other_output(taken_by, folder, tmp_path):
    taken = tmp_path / "results.partial.csv"
    taken.write_text(f"{folder / 'a.mp4'}\n")
    other = {"lists": [taken]} if taken_by == "lists" else {"sources": [folder], "report": taken}
    with pytest.raises(UsageError, match=r"results\.partial\.csv.* is also an input or another output"):
        scan(ScanPlan(csv=tmp_path / "results.csv", **other))
    assert taken.read_text() == f"{folder / 'a.mp4'}\n"


def test_the_windows_of_earlier_videos_do_not_stay_in_memory(tmp_path, monkeypatch):
    alive: list[weakref.ref[Window]] = []
    most = []

    def examine(plan, paths, **_):
        for path in paths:
            gc.collect()
            most.append(sum(reference() is not None for reference in alive))
            entry = TimelineEntry(start_s=0.0, end_s=1.0, fake_probability=0.5, track_id=None)
            window = Window(entry=entry, frame_indices=np.arange(3), boxes=None)
            alive.append(weakref.ref(window))
            yield Examination(result=not_found(path), windows=(window,))

    monkeypatch.setattr("deepfake_video.scanning.scanner.examine_all", examine)
    paths = [tmp_path / f"{number}.mp4" for number in range(8)]
    scan(ScanPlan(sources=paths))
    assert len(most) == 8
    # The last one of the generator and that of the loop.
    assert max(most) <= 2


def not_found(path: str) -> VideoResult:
    return VideoResult(
        path=path, status="not_found", threshold=0.5, message="no", settings={}, model=ModelIdentity(id="m")
    )


def test_results_are_reported_even_if_a_file_cannot_be_written(folder, model, tmp_path, monkeypatch):
    def fail(*_):
        raise OutputError("results.csv", OSError(28, "No space left on device"))

    monkeypatch.setattr("deepfake_video.scanning.csv_table.write_csv", fail)
    recorder = Recorder()
    with pytest.raises(OutputError, match="No space left"):
        scan(ScanPlan(sources=[folder], models=[model], csv=tmp_path / "results.csv"), listener=recorder)
    assert len(recorder.result) == 2


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"workers": 0}, "number of workers must lie between 1 and 256"),
        ({"sources": "clip.mp4"}, "sources must be a list, each item text or a path, got 'clip.mp4'"),
        ({"models": "model"}, "models must be a list"),
        ({"annotate": "copy.mp4", "output": "run"}, "cannot be combined"),
        ({"output": ""}, "output is empty"),
    ],
    ids=str,
)
def test_an_invalid_plan_is_refused(choices, said):
    with pytest.raises(UsageError, match=said):
        ScanPlan(**{"sources": ["clip.mp4"], **choices})


def test_companion_files_of_a_system_are_counted_apart_from_other_files(tmp_path, model, capsys):
    write_people(tmp_path / "a.mp4", seconds=0.5)
    for name in ("._a.mp4", "._b.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")  # AppleDouble begins like this (RFC 1740)
    main(["predict", str(tmp_path), "--model", model, "--quiet"])
    assert capsys.readouterr().err.splitlines() == [
        "skipped 1 file without a video extension",
        "skipped 2 files that an operating system made, such as ._a.mp4",
    ]


def test_quiet_still_says_how_many_files_were_skipped(folder, model, capsys):
    main(["predict", str(folder), "--model", model, "--quiet"])
    assert capsys.readouterr().err == "skipped 1 file without a video extension\n"


def test_a_piped_table_breaks_neither_names_nor_messages(tmp_path, capsys):
    name = "a-video-with-a-long-name-" * 8 + ".mp4"
    (tmp_path / name).write_bytes(b"no video")
    main(["predict", str(tmp_path / name), "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[1]) <= 80
    front, back = lines[1].split()[0].split("…")
    assert name.startswith(front)
    assert name.endswith(back)
    assert sum(line.startswith(str(tmp_path / name)) for line in lines) == 1
