# SPDX-License-Identifier: Apache-2.0
"""What `predict` writes beside its table: the folder, the page, CSV, heat maps, and what an interrupt leaves."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest
from PIL import Image

from clips import write_clip
from deepfake_video.cli import main
from deepfake_video.scanning import fingerprint, workers
from deepfake_video.scanning.annotate import annotate_video
from deepfake_video.scanning.csv_table import to_csv
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.results import ModelIdentity, TimelineEntry, VideoResult
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import die, die_of_a, redness_detector, save_tiny_model, write_changing_size, write_people


SCHEMA = json.loads((Path(workers.__file__).parent / "result.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two videos with a face, one without, and a broken one."""
    folder = tmp_path_factory.mktemp("videos")
    write_people(folder / "a.mp4", seconds=2)
    write_people(folder / "b.mp4", seconds=3)
    write_clip(folder / "nobody.mp4", num_frames=8)
    (folder / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(200))
    return folder


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def scores(results: list[dict]) -> dict[str, tuple]:
    return {
        Path(result["path"]).name: (
            result["status"],
            result["fake_probability"],
            [entry["fake_probability"] for entry in result["timeline"]],
        )
        for result in results
    }


def test_every_result_follows_the_schema(folder, model, capsys):
    main(["predict", str(folder), str(folder / "missing.mp4"), "--model", model, "--timeline", "--json", "--quiet"])
    results = json.loads(capsys.readouterr().out)
    assert {result["status"] for result in results} == {"ok", "no_face", "decode_error", "not_found"}
    for result in results:
        jsonschema.validate(result, SCHEMA)
    assert results[0]["timeline"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"fake_probability": 1.5},
        {"fake_probability": None},
        {"status": "no_face"},
        {"status": "perhaps"},
        {"media": None},
        {"surplus": 1},
        {"timeline": [{"start_s": 0}]},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_result(wrong):
    right = VideoResult(
        path="x",
        media="video",
        status="ok",
        verdict="undecided",
        verdict_reason="no error rates were measured for this checkpoint",
        label="real",
        fake_probability=0.5,
        threshold=0.5,
        frames_analyzed=4,
        settings={},
        model=ModelIdentity(id="m"),
    ).to_dict()
    jsonschema.validate(right, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**right, **wrong}, SCHEMA)


def test_a_scan_goes_on_where_it_ended(folder, model, tmp_path, capsys, monkeypatch):
    arguments = ["predict", str(folder), "--model", model, "--output", str(tmp_path / "run"), "--quiet"]
    assert main(arguments) == 1
    first = lines(tmp_path / "run")
    assert [Path(result["path"]).name for result in first] == ["a.mp4", "b.mp4", "broken.mp4", "nobody.mp4"]
    assert first[0]["timeline"]

    judged = []
    examine = Detector.examine
    monkeypatch.setattr(Detector, "examine", lambda self, path, **k: judged.append(path) or examine(self, path, **k))
    assert main(arguments) == 1
    # The hash of a file that does not open is not known, so it alone is tried again.
    assert [Path(path).name for path in judged] == ["broken.mp4"]
    assert scores(lines(tmp_path / "run")) == scores(first)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--no-timeline"], "different settings: timeline (true, now false)"),
        (["--num-frames", "5"], "different settings: num_frames (4, now 5)"),
        (["--threshold", "0.7"], "different settings: threshold (0.5, now 0.7)"),
        (["--faces", "none"], "different settings: faces (auto, now none)"),
        (["--dtype", "bfloat16"], "different settings: dtype (float32, now bfloat16)"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_other_settings_are_another_scan(folder, model, tmp_path, capsys, options, said):
    arguments = ["predict", str(folder / "a.mp4"), "--model", model, "--output", str(tmp_path / "run"), "--quiet"]
    (tmp_path / "run").mkdir()
    detector = Detector([model], device="cpu", settings=ScanSettings(timeline=True))
    (tmp_path / "run" / "run.json").write_text(json.dumps(detector.describe()))
    assert main([*arguments, *options]) == 2
    assert f"{tmp_path / 'run'} was made with {said}; choose another --output" in capsys.readouterr().err
    assert not (tmp_path / "run" / "results.jsonl").exists()


SWAPPED = {"id2label": {"0": "fake", "1": "real"}, "label2id": {"fake": 0, "real": 1}}


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("video_preprocessor_config.json", {"face_margin": 1.15}, "different settings: face_margin (1.3, now 1.15)"),
        (
            "video_preprocessor_config.json",
            {"image_mean": [0.5, 0.5, 0.5]},
            "different settings: image_mean ([0.485, ",
        ),
        ("config.json", {"temperature": 2.0}, "different settings: temperature (1.0, now 2.0)"),
        ("config.json", SWAPPED, "different settings: id2label[0] (real, now fake), id2label[1] (fake, now real)"),
    ],
    ids=["margin", "normalisation", "temperature", "labels"],
)
def test_a_model_that_was_changed_on_disk_is_another_one(folder, tmp_path, capsys, file, values, said):
    model = save_tiny_model(tmp_path / "model")
    arguments = ["predict", str(folder / "a.mp4"), "--model", model, "--output", str(tmp_path / "run1"), "--quiet"]
    assert main([*arguments, "--no-timeline"]) == 0
    before = (tmp_path / "run1" / "results.jsonl").read_bytes()
    capsys.readouterr()
    change(tmp_path / "model" / file, **values)
    assert main([*arguments, "--no-timeline"]) == 2
    assert f"{tmp_path / 'run1'} was made with {said}" in capsys.readouterr().err
    assert (tmp_path / "run1" / "results.jsonl").read_bytes() == before


def test_results_of_another_version_are_not_gone_on_with(folder, model, tmp_path, capsys, monkeypatch):
    arguments = ["predict", str(folder / "a.mp4"), "--model", model, "--output", str(tmp_path / "run"), "--quiet"]
    assert main([*arguments, "--no-timeline"]) == 0
    monkeypatch.setattr(fingerprint, "RESULT_VERSION", 10**6)
    assert main([*arguments, "--no-timeline"]) == 2
    assert "different settings: version of the results (" in capsys.readouterr().err


def test_the_same_model_elsewhere_goes_on(folder, model, tmp_path, monkeypatch):
    arguments = ["predict", str(folder / "a.mp4"), "--output", str(tmp_path / "run"), "--quiet", "--no-timeline"]
    assert main([*arguments, "--model", model]) == 0
    shutil.copytree(model, tmp_path / "moved")
    monkeypatch.setattr(Detector, "examine", None)
    assert main([*arguments, "--model", str(tmp_path / "moved"), "--num-frames", "4"]) == 0


def test_several_workers_give_the_same_results(folder, model, tmp_path):
    for number in ("1", "2"):
        run = str(tmp_path / number)
        assert main(["predict", str(folder), "--model", model, "--output", run, "--workers", number, "--quiet"]) == 1
    alone, together = scores(lines(tmp_path / "1")), scores(lines(tmp_path / "2"))
    assert list(alone) == list(together)
    for name, (status, probability, timeline) in alone.items():
        assert together[name][0] == status
        assert together[name][1] == pytest.approx(probability, abs=1e-6)
        assert together[name][2] == pytest.approx(timeline, abs=1e-6)


@pytest.mark.slow
def test_several_processes_under_accelerate_give_the_same_results(folder, model, tmp_path):
    arguments = ["predict", str(folder), "--model", model, "--device", "cpu", "--quiet"]
    main([*arguments, "--output", str(tmp_path / "one")])
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m"]
    done = subprocess.run(
        [*launch, "deepfake_video.cli", *arguments, "--output", str(tmp_path / "two"), "--json"],
        capture_output=True,
        text=True,
        timeout=180,
    )
    printed = json.loads(done.stdout[done.stdout.index("[") :])
    assert scores(printed) == scores(lines(tmp_path / "two"))
    assert list(scores(printed)) == list(scores(lines(tmp_path / "one")))
    for name, (status, probability, _) in scores(lines(tmp_path / "one")).items():
        assert scores(printed)[name][0] == status
        assert scores(printed)[name][1] == pytest.approx(probability, abs=1e-6)
    assert sorted(file.name for file in (tmp_path / "two").glob("results*")) == ["results.jsonl"]


def test_a_video_that_kills_its_worker_is_a_row_and_the_others_are_scored(folder, model, tmp_path, monkeypatch):
    alone, together = tmp_path / "alone", tmp_path / "together"
    command = ["predict", str(folder), "--model", model, "--quiet", "--no-timeline", "--output"]
    main([*command, str(alone)])
    monkeypatch.setattr(workers, "examine_in_worker", die_of_a)
    assert main([*command, str(together), "--workers", "2"]) == 1
    expected, found = lines(alone), lines(together)
    assert [result["path"] for result in found] == [result["path"] for result in expected]
    dead, *others = found
    assert (Path(dead["path"]).name, dead["status"], dead["fake_probability"]) == ("a.mp4", "unreadable", None)
    assert "a.mp4" in dead["message"]
    assert "process that read it died" in dead["message"]
    for name, (status, probability, _) in scores(expected[1:]).items():
        assert scores(others)[name][:2] == (status, pytest.approx(probability, abs=1e-6))


def test_workers_that_die_before_any_video_are_one_sentence(folder, model, monkeypatch, capsys):
    monkeypatch.setattr(workers, "begin_worker", die)
    assert main(["predict", str(folder), "--model", model, "--quiet", "--workers", "2"]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "fewer --workers" in error


def test_a_report_of_a_folder_and_its_pictures_survive_a_restart(folder, model, tmp_path):
    page, run = tmp_path / "report.html", str(tmp_path / "run")
    arguments = ["predict", str(folder), "--model", model, "--output", run, "--report", str(page), "--quiet"]
    main(arguments)
    first = page.read_text(encoding="utf-8")
    assert first.count('<details class="video"') == 4
    assert first.count("data:image/jpeg") > 8
    main(arguments)
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == first.count("data:image/jpeg")


def test_heat_maps_are_pictures_beside_their_frames(folder, model, tmp_path):
    arguments = ["predict", str(folder / "a.mp4"), str(folder / "broken.mp4"), "--model", model, "--quiet"]
    assert main([*arguments, "--heatmaps", str(tmp_path / "maps")]) == 1
    names = sorted(file.name for file in (tmp_path / "maps").iterdir())
    assert [name[0] + name[10:] for name in names] == ["a-1-frame.png", "a-1-overlay.png"]
    frame, tinted = (np.asarray(Image.open(tmp_path / "maps" / name)) for name in names)
    assert frame.shape == tinted.shape
    assert not np.array_equal(frame, tinted)

    # What an earlier run drew of a video does not stand among the pictures of a later one.
    old = tmp_path / "maps" / names[0].replace("-1-", "-3-")
    other = tmp_path / "maps" / "b-00000000-1-frame.png"
    for file in (old, other):
        file.write_bytes(b"of another model")
    main([*arguments, "--heatmaps", str(tmp_path / "maps")])
    assert (old.exists(), other.exists()) == (False, True)


def test_csv_has_one_row_a_video(folder, model, tmp_path):
    main(["predict", str(folder), "--model", model, "--timeline", "--csv", str(tmp_path / "r.csv"), "--quiet"])
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(Path(row["path"]).name, row["status"]) for row in rows][2:] == [
        ("broken.mp4", "decode_error"),
        ("nobody.mp4", "no_face"),
    ]
    assert 0.0 <= float(rows[0]["worst_fake_probability"]) <= 1.0
    assert rows[2]["fake_probability"] == ""


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x"])
def test_csv_holds_no_formulas(name):
    result = VideoResult(
        path=name, status="no_face", threshold=None, message=name, settings={}, model=ModelIdentity(id=name)
    )
    (row,) = csv.DictReader(to_csv([result]).splitlines())
    assert row["path"] == row["message"] == row["model_id"] == f"'{name}"


def test_an_annotated_copy_keeps_the_clock(tmp_path):
    """A picture that begins two seconds after the sound begins there too, after a black one."""
    path = write_clip(tmp_path / "late.mp4", num_frames=5, times=[2000 + 40 * i for i in range(5)], audio=True)
    result = VideoResult(
        path=str(path), status="ok", fake_probability=0.5, threshold=0.5, settings={}, model=ModelIdentity(id="m")
    )
    annotate_video(tmp_path / "annotated.mp4", result, [])
    with av.open(str(tmp_path / "annotated.mp4")) as file:
        frames = list(file.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([0, 2, 2.04, 2.08, 2.12, 2.16])
    assert frames[0].to_ndarray(format="rgb24").max() < 10


def test_an_annotated_copy_fits_frames_of_another_shape_with_their_boxes(tmp_path):
    path = write_changing_size(tmp_path / "sizes.mkv", [(640, 360), (360, 640)], seconds=0.5)
    examination = redness_detector(timeline=True).examine(path)
    annotate_video(tmp_path / "annotated.mp4", examination.result, examination.windows)
    with av.open(str(tmp_path / "annotated.mp4")) as file:
        last = list(file.decode(video=0))[-1].to_ndarray(format="rgb24").astype(int)
    assert last.shape == (360, 640, 3)
    # A tall picture stands in the middle between two black bars, with the green box of a real face inside.
    assert max(last[:, :200].max(), last[:, -200:].max()) < 30
    green = (last[..., 1] - last[..., 0] > 60) & (last[..., 1] > 110)
    rows, columns = np.nonzero(green)
    box = examination.windows[-1].boxes[-1] - [320, 180, 320, 180]
    scale = 360 / 640
    assert [columns.min() - 320, columns.max() - 320] == pytest.approx([box[0] * scale, box[2] * scale], abs=6)
    assert rows.max() - 180 == pytest.approx(box[3] * scale, abs=6)


def test_an_annotated_copy_has_every_frame(folder, model, tmp_path):
    target = tmp_path / "annotated.mp4"
    assert main(["predict", str(folder / "a.mp4"), "--model", model, "--annotate", str(target), "--quiet"]) == 0
    with av.open(str(folder / "a.mp4")) as before, av.open(str(target)) as after:
        plain, drawn = (
            [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)] for file in (before, after)
        )
    assert [frame.shape for frame in drawn] == [frame.shape for frame in plain]
    assert all(np.abs(a.astype(int) - b).max() > 60 for a, b in zip(plain, drawn, strict=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--annotate", "x.mp4", "--output", "run"], "single video"),
        (["--workers", "0"], "workers"),
        (["--batch-size", "0"], "batch size"),
    ],
    ids=str,
)
def test_wrong_usage_of_these_options_is_exit_2(folder, arguments, said, capsys):
    assert main(["predict", str(folder / "a.mp4"), *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--report", "--csv"])
def test_a_place_that_cannot_be_written_is_one_line_and_exit_2(folder, model, option, tmp_path, capsys):
    target = str(tmp_path / "missing" / "file")
    assert main(["predict", str(folder / "a.mp4"), "--model", model, option, target, "--quiet"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_interrupt_shows_what_is_done(folder, model, tmp_path, monkeypatch, capsys):
    examine = Detector.examine

    def interrupted(self: Detector, path: str, **options: object) -> object:
        if path.endswith("b.mp4"):
            raise KeyboardInterrupt
        return examine(self, path, **options)

    monkeypatch.setattr(Detector, "examine", interrupted)
    arguments = ["predict", str(folder), "--model", model, "--json", "--quiet", "--output", str(tmp_path / "run")]
    assert main(arguments) == 130
    captured = capsys.readouterr()
    assert [Path(result["path"]).name for result in json.loads(captured.out)] == ["a.mp4"]
    assert "interrupted; 1 of 4 videos done; run the same command to resume." in captured.err
    assert [Path(result["path"]).name for result in lines(tmp_path / "run")] == ["a.mp4"]


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist on Windows")
def test_hostile_names_come_through_everything(folder, model, tmp_path, capsys):
    name = "<b>\n\x1b[31m=\u202e" + os.fsdecode(b"\xff") + ".mp4"
    shutil.copy(folder / "a.mp4", tmp_path / name)
    files = [
        "--report",
        str(tmp_path / "r.html"),
        "--csv",
        str(tmp_path / "r.csv"),
        "--heatmaps",
        str(tmp_path / "maps"),
    ]
    arguments = [
        "predict",
        str(tmp_path / name),
        "--model",
        model,
        "--output",
        str(tmp_path / "run"),
        *files,
        "--quiet",
    ]
    assert main(arguments) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert "<b>" not in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert lines(tmp_path / "run")[0]["path"] == str(tmp_path / name)
    assert all(file.name.isascii() for file in (tmp_path / "maps").iterdir())


def test_the_table_shows_the_timeline_and_no_colour_outside_a_terminal(folder, model, capsys):
    main(["predict", str(folder / "a.mp4"), "--model", model, "--timeline", "--threshold", "0"])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert any(block in captured.out for block in "▁▂▃▄▅▆▇█")
    assert "0:00.0–0:02.0" in captured.out
    assert max(map(len, captured.out.splitlines()[:2])) <= 80


def test_the_settings_of_a_result_hold_what_changes_it():
    changing = {"num_frames", "faces", "face_aggregation", "timeline", "dtype", "engine"}
    assert set(ScanSettings().to_dict()) == changing
    assert TimelineEntry(start_s=0, end_s=1, fake_probability=0.5, track_id=None).track_id is None
