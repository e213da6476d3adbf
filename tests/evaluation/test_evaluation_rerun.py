# SPDX-License-Identifier: Apache-2.0
"""An evaluation that goes on: with scores of the same function on the same bytes, and with today's labels."""

import csv
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import benchmark_trees as trees
import pytest

from deepfake_video.cli import main
from deepfake_video.common.files import lock_folder
from deepfake_video.evaluation import runner
from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.evaluation.known_videos import (
    KnownVideos,
    KnownVideosError,
    list_videos,
    merge_lists,
    read_lists,
    write_lists,
)
from deepfake_video.evaluation.plan import EvaluationPlan
from deepfake_video.evaluation.rescoring import rescore
from deepfake_video.evaluation.samples import Sample
from deepfake_video.evaluation.scores import read_scores
from deepfake_video.scanning import file_stamps, fingerprint
from deepfake_video.scanning.file_stamps import hash_files


FIXED = ["--device", "cpu", "--workers", "0", "--bootstrap", "0", "--plots", "none", "--quiet"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return trees.save_model(tmp_path_factory.mktemp("model"), 1)


@pytest.fixture
def data(tmp_path) -> Path:
    """A list of three videos beside them."""
    root = trees.make_folder(tmp_path / "data", reals=2, fakes=2)
    (root / "list.csv").write_text(
        "path,label,split\nreal/0.mp4,real,test\nreal/1.mp4,real,test\nfake/0.mp4,fake,test\n"
    )
    return root


def evaluate(data: Path, model: str, output: Path, *options: str) -> int:
    return main(["evaluate", str(data / "list.csv"), "--model", model, "--output", str(output), *FIXED, *options])


def rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "scores.csv").open(encoding="utf-8", newline="") as stream:
        return {row["key"]: row for row in csv.DictReader(stream)}


def count_reads(monkeypatch) -> list[str]:
    read: list[str] = []
    original = runner.read_sample

    def counted(sample, *arguments):
        read.append(sample.key)
        return original(sample, *arguments)

    monkeypatch.setattr(runner, "read_sample", counted)
    return read


def test_labels_and_splits_are_those_of_today(data, model, tmp_path, monkeypatch):
    output = tmp_path / "run"
    assert evaluate(data, model, output) == 0
    scored = {key: row["fake_probability"] for key, row in rows(output).items()}
    text = (data / "list.csv").read_text().replace("real/1.mp4,real,test", "real/1.mp4,fake,test")
    (data / "list.csv").write_text(text.replace("path,label,split", "path,label,split,method"))
    read = count_reads(monkeypatch)
    assert evaluate(data, model, output) == 0
    assert read == []
    today = rows(output)
    assert {key: row["label"] for key, row in today.items()} == {
        "fake/0.mp4": "fake",
        "real/0.mp4": "real",
        "real/1.mp4": "fake",
    }
    assert {key: row["fake_probability"] for key, row in today.items()} == scored
    # What is kept for later says so too.
    assert main(["evaluate", "--scores", str(output), "--output", str(tmp_path / "again"), *FIXED[4:]]) == 0
    assert (tmp_path / "again/table.txt").read_text() == (output / "table.txt").read_text()


def test_saved_scores_keep_the_threshold_of_the_last_evaluation(data, model, tmp_path, capsys):
    output = tmp_path / "run"
    for threshold in ("0.7", "0.9"):
        assert evaluate(data, model, output, "--threshold", threshold) == 0
        capsys.readouterr()
        assert main(["evaluate", "--scores", str(output), "--bootstrap", "0"]) == 0
        assert f"specificity at the threshold {threshold}:" in capsys.readouterr().out


@pytest.mark.parametrize(("splits", "said"), [(("val", "val"), "val"), (("val", "train"), "all"), (("", ""), "all")])
def test_a_table_of_saved_scores_names_the_split_as_that_of_the_evaluation(
    data, model, tmp_path, capsys, splits, said
):
    table = "path,label,split\n" + "".join(
        f"{label}/0.mp4,{label},{split}\n" for label, split in zip(("real", "fake"), splits, strict=True)
    )
    (data / "list.csv").write_text(table)
    evaluate(data, model, tmp_path / "run")
    capsys.readouterr()
    main(["evaluate", "--scores", str(tmp_path / "run"), *FIXED[4:]])
    saved = capsys.readouterr().out.splitlines()[0]
    evaluated = (tmp_path / "run/table.txt").read_text().splitlines()[0]
    assert f"split {said}," in evaluated
    assert saved.strip() == evaluated.strip()


def test_saved_scores_are_those_of_the_test_split_unless_another_is_chosen(tmp_path):
    rows = "".join(
        f"{split}{i}.mp4,{'fake' if i % 2 else 'real'},{split},{(i * 7 % 10) / 10}\n"
        for split in ("val", "test")
        for i in range(8)
    )
    (tmp_path / "scores.csv").write_text(f"path,label,split,fake_probability\n{rows}")
    plan = EvaluationPlan(resamples=0)
    result = rescore(tmp_path / "scores.csv", plan=plan)
    assert (result.split, len(result.scores)) == ("test", 8)
    assert "8 videos of other splits left out; --split all includes them" in result.warnings
    every = rescore(tmp_path / "scores.csv", plan=replace(plan, split="all"))
    assert (every.split, len(every.scores)) == ("all", 16)
    assert not any("other splits" in warning for warning in every.warnings)


def test_one_missing_video_is_one(data, model, tmp_path, capsys):
    (data / "list.csv").write_text("path,label\nreal/0.mp4,real\nfake/0.mp4,fake\nfake/gone.mp4,fake\n")
    main(["evaluate", str(data / "list.csv"), "--model", model, "--workers", "0", "--bootstrap", "0"])
    assert "1 of them is missing and counted as not scored:" in capsys.readouterr().err


def test_runs_of_different_thresholds_are_not_one_table(data, model, tmp_path, capsys):
    for name, threshold in (("one", "0.5"), ("two", "0.7")):
        assert evaluate(data, model, tmp_path / name, "--threshold", threshold) == 0
    command = ["evaluate", "--scores", str(tmp_path / "one"), str(tmp_path / "two"), "--bootstrap", "0"]
    assert main(command) == 2
    assert "the runs one, two have the thresholds 0.5, 0.7; choose one" in capsys.readouterr().err
    assert main([*command, "--threshold", "0.7"]) == 0


def test_a_video_that_left_the_data_set_is_in_no_table(data, model, tmp_path):
    output = tmp_path / "run"
    evaluate(data, model, output)
    lines = (data / "list.csv").read_text().splitlines(keepends=True)
    (data / "list.csv").write_text("".join(line for line in lines if "real/1" not in line))
    evaluate(data, model, output)
    assert sorted(score.key for score in read_scores(output)) == ["fake/0.mp4", "real/0.mp4"]


def test_a_score_says_what_was_scored(data, model, tmp_path):
    evaluate(data, model, tmp_path / "run")
    assert {row["media"] for row in rows(tmp_path / "run").values()} == {"video"}
    faces = trees.make_image_folder(tmp_path / "images")
    assert main(["evaluate", str(faces), "--model", model, "--output", str(tmp_path / "faces"), *FIXED]) == 0
    assert {row["media"] for row in rows(tmp_path / "faces").values()} == {"faces"}


def test_scores_of_another_split_stay(data, model, tmp_path):
    with (data / "list.csv").open("a") as stream:
        stream.write("fake/1.mp4,fake,val\n")
    output = tmp_path / "run"
    evaluate(data, model, output, "--split", "val")
    evaluate(data, model, output, "--split", "test")
    assert {score.key: score.split for score in read_scores(output)}["fake/1.mp4"] == "val"
    assert "fake/1.mp4" not in rows(output)


@pytest.mark.parametrize("with_old_times", [True, False])
def test_a_replaced_video_is_scored_anew(data, model, tmp_path, monkeypatch, with_old_times):
    monkeypatch.setattr(file_stamps, "_STAMP_MARGIN_NS", 0)
    output, file = tmp_path / "run", data / "real/1.mp4"
    evaluate(data, model, output)
    before, found = rows(output)["real/1.mp4"], file.stat()
    other = (data / "fake/1.mp4").read_bytes()
    if with_old_times:
        # The same size and time of modification, another content.
        other = file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1])
    file.write_bytes(other)
    if with_old_times:
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    read = count_reads(monkeypatch)
    evaluate(data, model, output)
    assert read == ["real/1.mp4"]
    assert rows(output)["real/1.mp4"]["sha256"] == hash_files([file]) != before["sha256"]


def test_a_broken_video_that_was_mended_is_scored(data, model, tmp_path):
    output, file = tmp_path / "run", data / "real/1.mp4"
    whole = file.read_bytes()
    file.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(99))
    assert evaluate(data, model, output) == 1
    file.write_bytes(whole)
    assert evaluate(data, model, output) == 0
    assert all(row["status"] == "ok" for row in rows(output).values())


def test_a_replaced_face_image_is_scored_anew(model, tmp_path, monkeypatch):
    root = trees.make_image_folder(tmp_path / "faces")
    command = ["evaluate", str(root), "--model", model, "--output", str(tmp_path / "run"), *FIXED]
    assert main(command) == 0
    trees.put_images(root / "real/000", 1, shade=99)
    read = count_reads(monkeypatch)
    assert main(command) == 0
    assert read == ["real/000"]


def test_what_did_not_change_is_not_read_again(data, model, tmp_path, monkeypatch):
    monkeypatch.setattr(file_stamps, "_STAMP_MARGIN_NS", 0)
    evaluate(data, model, tmp_path / "run")
    monkeypatch.setattr(file_stamps, "hash_files", None)
    monkeypatch.setattr(runner, "read_sample", None)
    assert evaluate(data, model, tmp_path / "run") == 0


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        (
            "video_preprocessor_config.json",
            {"channel_order": "bgr"},
            "different settings: channel_order (rgb, now bgr)",
        ),
        ("config.json", {"temperature": 2.0}, "different settings: temperature (1.0, now 2.0)"),
    ],
    ids=["preprocessing", "temperature"],
)
def test_scores_of_another_function_are_refused_by_name(data, tmp_path, capsys, file, values, said):
    model = trees.save_model(tmp_path / "model", 2)
    evaluate(data, model, tmp_path / "run1")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run1").iterdir()}
    capsys.readouterr()
    content = json.loads((tmp_path / "model" / file).read_text())
    (tmp_path / "model" / file).write_text(json.dumps({**content, **values}))
    assert evaluate(data, model, tmp_path / "run1") == 2
    assert f"{tmp_path / 'run1'} was made with {said}; choose another --output" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run1").iterdir()} == before


def test_scores_of_another_version_are_refused(data, model, tmp_path, capsys, monkeypatch):
    evaluate(data, model, tmp_path / "run")
    monkeypatch.setattr(fingerprint, "RESULT_VERSION", 10**6)
    assert evaluate(data, model, tmp_path / "run") == 2
    assert "different settings: version of the results" in capsys.readouterr().err


def test_two_evaluations_do_not_write_to_one_folder(data, model, tmp_path, capsys):
    pytest.importorskip("fcntl")
    with lock_folder(tmp_path / "run", work="evaluation"):
        assert evaluate(data, model, tmp_path / "run") != 0
    assert "another evaluation" in capsys.readouterr().err
    assert not (tmp_path / "run/run.json").exists()


def test_tables_of_saved_scores_do_not_replace_those_of_another_run(data, model, tmp_path, capsys):
    evaluate(data, model, tmp_path / "one")
    evaluate(data, model, tmp_path / "two", "--frames", "3")
    before = (tmp_path / "two/table.txt").read_text()
    capsys.readouterr()
    assert main(["evaluate", "--scores", str(tmp_path / "one"), "--output", str(tmp_path / "two"), *FIXED[4:]]) == 2
    assert "contains the scores of a different run" in capsys.readouterr().err
    assert (tmp_path / "two/table.txt").read_text() == before


def test_scores_without_their_run_say_that_the_threshold_is_assumed(data, tmp_path, capsys):
    evaluate(data, trees.save_model(tmp_path / "model", 1), tmp_path / "run")
    capsys.readouterr()
    copied = tmp_path / "list.csv"
    copied.write_bytes((tmp_path / "run/scores.csv").read_bytes())
    for path, is_assumed in ((tmp_path / "run/scores.csv", False), (copied, True)):
        main(["evaluate", "--scores", str(path), *FIXED[4:6]])
        assert ("threshold 0.5 is assumed" in capsys.readouterr().out) is is_assumed


RUN = {
    "models": "m",
    "weights_sha256": None,
    "threshold": 0.5,
    "num_frames": [4],
    "frame_sampling": ["even"],
    "ensemble": "probabilities",
    "faces": "auto",
    "face_aggregation": "max",
    "temperatures": [1.0],
    "fake_biases": [0.0],
    "function": {"models": [{"configuration": {}, "preprocessing": {}}]},
}
SCORES = "path,label,fake_probability\na.mp4,real,0.5\nb.mp4,fake,0.9\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 10**400}, "threshold: a number from 0 to 1 is expected"),
        ({"num_frames": 4}, "num_frames: a list is expected"),
        ({"frame_sampling": []}, "frame_sampling must have as many values as there are models, 1"),
        ({"faces": ...}, "faces is missing"),
        ({"dataset": math.inf}, "dataset: text is expected"),
        ({"models": "a\ud800"}, "models: text and finite numbers are expected"),
        ({"temperatures": [[1.0]]}, "temperatures: a number from 0.001 to 1000 is expected"),
        ({"temperatures": [True]}, "temperatures: a number from 0.001 to 1000 is expected"),
        ({"fake_biases": [math.nan]}, "fake_biases: a number from -10000 to 10000 is expected"),
        ({"fake_biases": [0.0, 1.0]}, "fake_biases must have as many values as there are models, 1"),
        ({"function": {"models": []}}, "function names no model"),
        ({"function": {"models": [[]]}}, "models: an object is expected"),
        ({"function": {"models": [{"configuration": {}}]}}, "preprocessing is missing"),
        ({"function": {**RUN["function"], "settings": [{"margin": math.inf}]}}, "function: settings: text and finite"),
    ],
)
def test_a_damaged_description_of_a_run_is_one_sentence(change, said, tmp_path, capsys):
    run = {name: value for name, value in {**RUN, **change}.items() if value is not ...}
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "scores.csv").write_text(SCORES)
    assert main(["evaluate", "--scores", str(tmp_path / "scores.csv"), "--bootstrap", "0"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f"run.json: damaged ({said}" in error


@pytest.mark.parametrize("field", ["key", "dataset", "method", "split", "message", "original"])
def test_text_that_no_file_can_hold_is_named_with_its_line(field, tmp_path, capsys):
    lines = [
        {"key": key, "label": label, "dataset": "d", "fake_probability": 0.5}
        for key, label in (("a.mp4", "real"), ("b.mp4", "fake"))
    ]
    lines[1][field] = "a\ud800"
    (tmp_path / "scores-00000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ["evaluate", "--scores", str(tmp_path), "--output", str(tmp_path / "out"), "--bootstrap", "0"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f"scores-00000.jsonl, line 2: invalid score ({field}: text and finite numbers are expected" in error


def test_a_hash_that_is_none_is_named_when_a_run_goes_on(data, model, tmp_path, capsys):
    evaluate(data, model, tmp_path / "run")
    first, *_ = sorted((tmp_path / "run").glob("scores-*.jsonl"))
    line, *lines = first.read_text().splitlines()
    first.write_text("\n".join([json.dumps({**json.loads(line), "sha256": "no hash"}), *lines, ""]))
    capsys.readouterr()
    assert main(["evaluate", str(data), "--model", model, "--output", str(tmp_path / "run"), *FIXED]) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert f"{first.name}, line 1: invalid score" in error
    assert "sha256 must be 64 hexadecimal digits, got 'no hash'" in error


# --- what a checkpoint has seen ---


FILE = "known_videos.json"


def sample_of(path: Path, root: Path, dataset: str) -> Sample:
    return Sample(key=path.relative_to(root).as_posix(), path=path, is_fake=True, dataset=dataset)


def test_videos_that_were_trained_on_are_named_and_counted(data, tmp_path, capsys):
    model = trees.save_model(tmp_path / "model", 1)
    # The same content under another name in another data set.
    file = data / "fake/0.mp4"
    trained = list_videos([(sample_of(file, data / "fake", "elsewhere"), hash_files([file]))])
    write_lists(Path(model), {"training": trained})
    assert evaluate(data, model, tmp_path / "run") == 0
    table = (tmp_path / "run/table.txt").read_text()
    assert (
        "1 of 3 videos was seen in training, itself or a person in it, and is left out of the result: fake/" in table
    )
    lines = reversed(table.splitlines())  # The videos' table stands first, and frames and notes begin alike.
    counts = {line[:16].strip(): line.split()[3:5] for line in lines}
    assert (counts["seen in training"], counts["not seen before"]) == (["0", "1"], ["2", "0"])
    assert {key: row["seen"] for key, row in rows(tmp_path / "run").items()} == {
        "fake/0.mp4": "training",
        "real/0.mp4": "",
        "real/1.mp4": "",
    }
    capsys.readouterr()
    main(["evaluate", "--scores", str(tmp_path / "run"), *FIXED[4:]])
    assert "1 of 3 videos was seen in training" in capsys.readouterr().out


def test_nothing_is_said_where_nothing_was_seen(data, model, tmp_path):
    evaluate(data, model, tmp_path / "run")
    assert "seen" not in (tmp_path / "run/table.txt").read_text()


def test_a_published_name_counts_in_any_compression_of_its_place_and_a_private_one_does_not(tmp_path):
    file = trees.put_clip(tmp_path / "real/0.mp4")
    for dataset, expected in (("FaceForensics++", "training"), ("videos", None)):
        known = list_videos([(sample_of(file, tmp_path, dataset), "00" * 32)])
        folder = tmp_path / dataset
        folder.mkdir()
        write_lists(folder, {"training": known})
        assert KnownVideos([folder]).seen(sample_of(file, tmp_path, dataset), hash_files([file])) == expected


def known_of(folder: Path, samples: list[Sample]) -> KnownVideos:
    """What a checkpoint in this folder knows that was trained on these samples, each of a content of its own."""
    folder.mkdir()
    listed = list_videos((sample, f"{number:064x}") for number, sample in enumerate(samples))
    write_lists(folder, {"training": listed})
    return KnownVideos([folder])


def test_people_of_a_published_data_set_are_known_in_other_compressions_and_layouts(tmp_path):
    trained = open_benchmark(trees.make_faceforensics(tmp_path / "c23")).select("train").samples
    known = known_of(tmp_path / "model", trained)
    copied = open_benchmark(trees.make_faceforensics(tmp_path / "c40", compressions=("c40",)))
    # The split of the data set tells who was trained on: the pair 071, 054.
    assert {(sample.split, known.seen(sample, "ab" * 32)) for sample in copied.samples} == {
        ("train", "training"),
        ("val", None),
        ("test", None),
    }
    frames = {name: {"frames": [f"{name}/0.png"]} for name in ("071", "953")}
    (tmp_path / "FF-DF.json").write_text(json.dumps({"FF-DF": {"FF-real": {"train": {"c23": frames}}}}))
    listed = open_benchmark(tmp_path / "FF-DF.json").samples
    assert {sample.path.name: known.seen(sample, None) for sample in listed} == {"071": "training", "953": None}


def test_people_of_private_data_are_not_listed(tmp_path):
    sample = Sample(key="a.mp4", path=tmp_path / "a.mp4", is_fake=False, dataset="list", identities=("Anna",))
    known = known_of(tmp_path / "model", [sample])
    assert read_lists(tmp_path / "model")["training"].people == frozenset()
    assert known.seen(replace(sample, key="b.mp4"), "ab" * 32) is None


def test_without_a_record_nothing_is_known(tmp_path):
    (tmp_path / "calibration.json").write_text('{"temperature": 1.5}')
    known = KnownVideos([tmp_path, tmp_path / "none", None])
    assert known.seen(sample_of(tmp_path / "a", tmp_path, "d"), "ab" * 32) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"videos": 3}',
        '{"videos": {"training": 3}}',
        '{"videos": {"training": {}}}',
        '{"videos": {"training": {"count": 1, "keys": 3, "contents": "", "people": ""}}}',
        '{"videos": {"training": {"count": 1, "keys": "abc", "contents": "", "people": ""}}}',
        '{"videos": {"training": {"count": 1, "keys": "AAAA", "contents": "", "people": ""}}}',
        '{"videos": {"training": {"count": 1, "keys": "", "contents": "é", "people": ""}}}',
        '{"videos": {"training": {"count": 1, "keys": "", "contents": "&", "people": ""}}}',
        '{"videos": {"training": {"count": 1, "keys": "", "contents": "", "people": "AAAA"}}}',
        "\ud800",
    ],
)
def test_a_damaged_record_is_named_because_it_would_hide_what_was_seen(tmp_path, content):
    (tmp_path / FILE).write_text(content, errors="surrogatepass")
    with pytest.raises(KnownVideosError, match="cannot be read") as error:
        KnownVideos([tmp_path])
    assert str(error.value).startswith(f"{tmp_path / FILE}: ")
    assert "\n" not in str(error.value)


def test_a_list_without_people_is_refused_because_they_would_count_as_not_seen(tmp_path):
    (tmp_path / FILE).write_text('{"videos": {"training": {"count": 1, "keys": "", "contents": ""}}}')
    with pytest.raises(KnownVideosError, match=r"cannot be read \(people is missing\)"):
        KnownVideos([tmp_path])


def test_an_evaluation_ends_with_one_line_where_the_record_is_damaged(data, tmp_path, capsys):
    model = trees.save_model(tmp_path / "model", 1)
    (Path(model) / FILE).write_text('{"videos": {"training": {"keys": "abc"}}}')
    assert evaluate(data, model, tmp_path / "run") == 2
    assert "known_videos.json" in capsys.readouterr().err


def test_lists_are_short_and_join(tmp_path):
    many = [(Sample(key=str(i), path=tmp_path, is_fake=False, dataset="d"), f"{i:064x}"[::-1]) for i in range(1000)]
    first, second = list_videos(many[:700]), list_videos(many[300:])
    assert (first.count, len(first.contents)) == (700, 700)
    assert merge_lists([first, second]) == list_videos(many)
    write_lists(tmp_path, {"training": first})
    assert read_lists(tmp_path) == {"training": first}
    assert len(json.loads((tmp_path / FILE).read_text())["videos"]["training"]["contents"]) == 700 * 8


def test_the_same_again_changes_nothing_that_was_found(data, tmp_path):
    model, output = trees.save_model(tmp_path / "model", 1), tmp_path / "run"
    evaluate(data, model, output)

    def lines() -> list[dict]:
        found = [json.loads(line) for file in output.glob("scores-*.jsonl") for line in file.open()]
        return sorted(found, key=lambda line: line["key"])

    before = lines()
    assert all(sum(line["frame_weights"]) == pytest.approx(1) for line in before)
    evaluate(data, model, output)
    assert lines() == before
