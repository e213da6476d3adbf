# SPDX-License-Identifier: Apache-2.0
"""What is reported of given scores: rows, warnings, tables, JSON, CSV, the model-index block and plots."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.metrics import roc_auc_score

from deepfake_video.cli import main
from deepfake_video.evaluation.evaluation_result import EvaluationResult
from deepfake_video.evaluation.metric_rows import RowOptions, make_rows, robustness_table
from deepfake_video.evaluation.metric_tables import result_text
from deepfake_video.evaluation.model_index import model_index
from deepfake_video.evaluation.plots import write_plots
from deepfake_video.evaluation.scores import Score, read_scores, write_csv_scores
from deepfake_video.evaluation.warnings import make_warnings


def score(key: str, probability: float | None, **changes) -> Score:
    fields = {
        "key": key,
        "label": "fake" if "fake" in key else "real",
        "dataset": "Set",
        "fake_probability": probability,
    }
    if probability is None:
        fields |= {"status": "no_face", "message": f"{key}: no face found"}
    return Score(**(fields | changes))


SCORES = [
    score("real/a", 0.1, compression="c23", frame_indices=(0, 5), frame_probabilities=(0.2, 0.1)),
    score("real/b", 0.6, compression="c40", frame_indices=(0, 5), frame_probabilities=(0.5, 0.7)),
    score("fake/c", 0.9, method="Swap", compression="c23", frame_indices=(0, 5), frame_probabilities=(0.8, 0.9)),
    score("fake/d", 0.4, method="Swap", compression="c40", frame_indices=(0, 5), frame_probabilities=(0.4, 0.6)),
    score("fake/e", 0.3, method="Morph", compression="c40", frame_indices=(0, 5), frame_probabilities=(0.3, 0.3)),
    score("fake/f", None, method="Morph", compression="c40"),
]


def make_report(scores: list[Score], **changes) -> EvaluationResult:
    rows = make_rows(scores, RowOptions(resamples=20))
    found = {"dataset": "Set", "split": "test", "threshold": 0.5, "run": {}, "rows": rows, "scores": scores}
    return EvaluationResult(**(found | {"warnings": make_warnings(rows)} | changes))


def rows_by_name(scores: list[Score], level: str = "video") -> dict:
    return {row.name: row for row in make_rows(scores, RowOptions(resamples=0)) if row.level == level}


def auc(*scores: Score) -> float:
    return roc_auc_score([s.is_fake for s in scores], [s.fake_probability for s in scores])


def test_there_is_a_row_for_each_method_and_compression():
    rows = rows_by_name(SCORES)
    assert list(rows) == ["all videos", "Morph", "Swap", "c23", "c40"]
    real_a, real_b, c, d, e, _ = SCORES
    assert rows["all videos"].estimates["auc"].value == pytest.approx(auc(real_a, real_b, c, d, e))
    assert rows["Swap"].estimates["auc"].value == pytest.approx(auc(real_a, real_b, c, d))
    assert rows["c40"].estimates["auc"].value == pytest.approx(auc(real_b, d, e))


def test_a_method_stands_against_the_reals_of_its_own_compressions():
    # Morph exists in c40 only; the real in c23 must not be compared with it
    assert rows_by_name(SCORES)["Morph"].num_real == 1


def test_a_method_stands_against_the_reals_of_its_own_data_set():
    others = [replace(s, key=f"2/{s.key}", dataset="Other") for s in SCORES]
    rows = rows_by_name([*SCORES, *others])
    assert [name for name, row in rows.items() if row.kind == "dataset"] == ["Other", "Set"]
    assert rows["Set, Swap"].num_real == 2


@pytest.mark.parametrize("named", ["Swap", "original"])
def test_the_method_of_a_real_video_makes_no_row_and_counts_it_once(named):
    rows = rows_by_name([replace(s, method=s.method or named) for s in SCORES])
    assert list(rows) == list(rows_by_name(SCORES))
    assert (rows["Swap"].num_real, rows["Swap"].num_fake) == (2, 2)


def test_what_could_not_be_scored_lowers_the_coverage_and_nothing_else():
    with_failure, without = rows_by_name(SCORES)["all videos"], rows_by_name(SCORES[:-1])["all videos"]
    assert with_failure.coverage == pytest.approx(5 / 6)
    assert with_failure.estimates == without.estimates


def test_a_failure_never_has_a_number():
    with pytest.raises(ValueError, match="if and only if"):
        score("real/a", 0.5, status="no_face")
    with pytest.raises(ValueError, match="if and only if"):
        score("real/a", None, status="ok")


def test_a_logit_is_no_probability():
    with pytest.raises(ValueError, match="logit"):
        score("real/a", 1.7)


def test_frames_have_rows_of_their_own_that_count_frames():
    frames = rows_by_name(SCORES, "frame")["all videos"]
    labels = [s.is_fake for s in SCORES for _ in s.frame_probabilities]
    probabilities = [p for s in SCORES for p in s.frame_probabilities]
    assert frames.num_judged == 10
    assert frames.estimates["auc"].value == pytest.approx(roc_auc_score(labels, probabilities))


def test_video_auc_counts_videos_however_many_frames_they_have():
    longer = [replace(SCORES[0], frame_indices=tuple(range(50)), frame_probabilities=(0.99,) * 50), *SCORES[1:]]
    assert rows_by_name(longer)["all videos"].num_judged == 5
    assert rows_by_name(longer)["all videos"].estimates == rows_by_name(SCORES)["all videos"].estimates


def test_a_set_of_reals_alone_says_that_auc_is_undefined_and_how_specific_the_model_is():
    text = result_text(make_report(SCORES[:2]))
    assert "AUC undefined: all scored videos are real" in text
    assert "undefined" in text.splitlines()[2]
    assert "specificity at the threshold 0.5: .500" in text


# The model gets what it has seen right, and the others wrong.
KNOWN = [
    score("real/a", 0.01, seen="training", frame_indices=(0,), frame_probabilities=(0.01,)),
    score("fake/b", 0.99, seen="calibration", method="Swap", frame_indices=(0,), frame_probabilities=(0.99,)),
    score("real/c", 0.6, frame_indices=(0,), frame_probabilities=(0.6,)),
    score("fake/d", 0.4, method="Swap", frame_indices=(0,), frame_probabilities=(0.4,)),
    score("fake/e", None, method="Swap"),
]


def test_the_result_is_that_of_videos_that_the_model_has_not_seen():
    report = make_report(KNOWN)
    assert report.metrics["auc"] == 0
    assert (report.rows[0].name, report.rows[0].num_real, report.rows[0].num_fake) == ("not seen before", 1, 2)
    found = {(row.level, row.name): row for row in report.rows}
    assert found["video", "Swap"].estimates["auc"].value == 0
    assert found["frame", "not seen before"].estimates["auc"].value == 0
    # (real a, fake d), (a, b) and (c, b) are in order, and (c, d) is not.
    assert found["video", "all, with those seen before"].estimates["auc"].value == 0.75
    assert "specificity at the threshold 0.5: .000" in result_text(report)
    block = model_index(report, "tiny")
    assert block.startswith("# Left out: 2 videos that the model has seen before.\n")
    published = yaml.safe_load(block)["model-index"][0]["results"][0]["metrics"]
    assert {entry["type"]: entry["value"] for entry in published}["roc_auc"] == 0


def test_the_rows_of_data_sets_and_their_mean_leave_out_what_was_seen():
    others = [score(f"{label}/{label}", value, dataset="Other") for label, value in (("real", 0.2), ("fake", 0.8))]
    rows = rows_by_name([*KNOWN, *others])
    assert [rows[name].estimates["auc"].value for name in ("Set", "Other", "mean of the data sets")] == [0, 1, 0.5]
    known = [replace(s, seen="training") for s in KNOWN]
    for level in ("video", "frame"):
        assert rows_by_name([*known, *others], level)["mean of the data sets"].estimates["auc"].value is None


def test_corruptions_of_videos_that_the_model_has_seen_do_not_count():
    cells = [replace(s, corruption="blur-1") for s in KNOWN]
    assert robustness_table([*KNOWN, *cells])["blur"][:2] == [0, 0]


def test_a_model_that_has_seen_every_video_has_no_result():
    scores = [score("real/a", 0.1, seen="training"), score("fake/b", 0.9, seen="training")]
    report = make_report(scores)
    assert set(report.metrics.values()) == {None}
    assert "not seen before: AUC undefined: the model has seen every video before" in result_text(report)
    assert yaml.safe_load(model_index(report, "tiny"))["model-index"][0]["results"] == []


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is an extra")
def test_plots_leave_out_what_was_seen(tmp_path):
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none"}):
        write_plots(make_report(KNOWN), tmp_path, image_format="svg")
    drawn = {file.stem: file.read_text() for file in tmp_path.iterdir()}
    assert all("Set, split test, not seen before" in text for text in drawn.values())
    assert "not seen before: AUC 0.000" in drawn["roc"]
    assert "real (1 video)" in drawn["scores"]
    # The two probabilities are wrong by 0.6.
    assert "ECE 0.600" in drawn["reliability"]
    assert write_plots(make_report(KNOWN[:2]), tmp_path) == []


def test_a_part_that_no_checkpoint_records_is_refused():
    with pytest.raises(ValueError, match="seen must be training, validation, calibration or empty, got 'yes'"):
        score("real/a", 0.1, seen="yes")


def test_nothing_scored_is_a_report_too():
    report = make_report([SCORES[-1]])
    assert "AUC undefined: no video could be scored" in result_text(report)
    assert report.rows[0].coverage == 0


def test_coverage_is_100_percent_only_if_nothing_is_missing():
    many = [score(f"real/{i}", 0.1) for i in range(300)]
    assert "99 %" in result_text(make_report([*many, SCORES[-1]]))


def test_few_reals_are_said_to_make_one_percent_no_false_alarm():
    assert any("TPR at 1 %" in warning for warning in make_report(SCORES).warnings)


def test_json_holds_every_row_and_no_nan(tmp_path):
    make_report(SCORES[:2]).save(tmp_path, plots="none")
    content = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert content["rows"][0]["estimates"]["auc"] == {"value": None, "low": None, "high": None}
    assert content["rows"][0]["estimates"]["specificity"]["value"] == 0.5


def test_the_model_index_names_the_data_and_only_what_is_defined():
    block = yaml.safe_load(model_index(make_report(SCORES), "tiny"))["model-index"]
    result = block[0]["results"][0]
    assert (block[0]["name"], result["dataset"]["name"], result["dataset"]["split"]) == ("tiny", "Set", "test")
    found = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert found["roc_auc"] == pytest.approx(auc(*SCORES[:5]), abs=1e-4)
    reals = yaml.safe_load(model_index(make_report(SCORES[:2]), "tiny"))["model-index"][0]["results"][0]
    assert {metric["type"] for metric in reals["metrics"]} == {"brier_score", "specificity"}


def test_the_model_index_names_the_threshold_of_what_depends_on_it():
    block = yaml.safe_load(model_index(make_report(SCORES, threshold=0.7), "tiny"))["model-index"]
    names = {metric["type"]: metric["name"] for metric in block[0]["results"][0]["metrics"]}
    assert names["roc_auc"] == "Video AUC"
    assert names["f1"] == "Video F1 at the threshold 0.7"
    assert {type_ for type_, name in names.items() if "0.7" in name} == {"balanced_accuracy", "f1", "specificity"}


def test_a_score_file_of_another_tool_is_scored_again_without_a_video(capsys, tmp_path):
    file = tmp_path / "theirs.csv"
    file.write_text("path,label,fake_probability\na.mp4,real,0.2\nb.mp4,fake,0.9\nc.mp4,fake,\n")
    code = main(["evaluate", "--scores", str(file), "--json", "--bootstrap", "0", "--threshold", "0.95"])
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert code == 1
    assert (row["num_scored"], row["estimates"]["auc"]["value"], row["estimates"]["sensitivity"]["value"]) == (2, 1, 0)


@pytest.mark.parametrize("identities", [(), ("a",), ("a", "b"), ("Anna Lee",), ("Anna Lee", "b"), ("[x]",)])
def test_identities_survive_the_csv_file(identities, tmp_path):
    write_csv_scores([replace(SCORES[0], identities=identities)], tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv")[0].identities == identities


def test_a_group_of_another_tool_is_a_person(tmp_path):
    file = tmp_path / "other.csv"
    file.write_text("path,label,fake_probability,group\na.mp4,real,0.2,Anna Lee\n")
    assert read_scores(file)[0].identities == ("Anna Lee",)


def test_scores_survive_the_way_through_a_csv_file(tmp_path):
    write_csv_scores(SCORES, tmp_path / "scores.csv")
    kept = read_scores(tmp_path / "scores.csv")
    bare = sorted((replace(s, frame_indices=(), frame_probabilities=()) for s in SCORES), key=lambda s: s.key)
    assert kept == bare


def test_a_name_with_a_line_end_survives_the_csv_file(tmp_path):
    score = replace(SCORES[0], key="a\r=cmd|' /C calc'!A0.mp4", frame_indices=(), frame_probabilities=())
    write_csv_scores([score], tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv") == [score]


@pytest.mark.parametrize("line", ["a.mp4,real,1.5", "a.mp4,maybe,0.5", ",real,0.5", "a.mp4,real,much"])
def test_a_wrong_line_of_saved_scores_is_named(capsys, tmp_path, line):
    (tmp_path / "scores.csv").write_text(f"path,label,fake_probability\n{line}\n")
    assert main(["evaluate", "--scores", str(tmp_path / "scores.csv")]) == 2
    assert "line 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,label,score", "no column fake_probability;"),
        ("file,label,fake_probability", "no column key;"),
        ("key,fake_probability", "no column label;"),
    ],
)
def test_a_column_that_saved_scores_lack_is_named(capsys, tmp_path, header, said):
    (tmp_path / "scores.csv").write_text(f"{header}\na.mp4,real,0.5\n")
    assert main(["evaluate", "--scores", str(tmp_path / "scores.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    "options",
    [
        ["--frames", "4"],
        ["--num-frames", "4"],
        ["--faces", "none"],
        ["--face-aggregation", "mean"],
        ["--ensemble", "logits"],
        ["--layout", "dfdc"],
        ["--photos"],
        ["--dtype", "bfloat16"],
        ["--engine", "torch"],
        ["--limit", "3"],
        ["--model", "m"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("source", ["--scores", "--average"])
def test_options_that_change_the_scores_need_the_videos(capsys, source, options):
    assert main(["evaluate", source, "run1", *options]) == 2
    name = options[0].replace("num-", "")
    assert f"{name} needs the videos: give DATA instead of saved scores." in capsys.readouterr().err


def with_corruption(name: str, **probabilities: float | None) -> list[Score]:
    return [score(key.replace("_", "/"), value, corruption=name) for key, value in probabilities.items()]


def test_the_grid_compares_the_same_videos_in_every_cell():
    clean = [score("real/a", 0.1), score("real/b", 0.5), score("fake/c", 0.9), score("fake/d", 0.45)]
    cells = [
        found
        for level in range(1, 6)
        for found in with_corruption(f"blur-{level}", real_a=0.6, real_b=0.5, fake_c=0.55, fake_d=None)
    ]
    # fake/d has no score in the grid, so that it does not count in the clean column either
    assert robustness_table([*clean, *cells]) == {"blur": [1.0, *[pytest.approx(0.5)] * 5]}


def test_a_level_that_an_interrupted_run_has_not_reached_is_a_dash(tmp_path, capsys):
    clean = [score("real/a", 0.1), score("real/b", 0.5), score("fake/c", 0.9)]
    write_csv_scores(
        [*clean, *with_corruption("blur-1", real_a=0.6, real_b=0.5, fake_c=0.55)], tmp_path / "scores.csv"
    )
    assert main(["evaluate", "--scores", str(tmp_path / "scores.csv"), "--bootstrap", "0"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("blur"))
    assert line.split() == ["blur", "1.000", ".500", "–", "–", "–", "–", ".500"]


@pytest.mark.parametrize("name", ["jpeg", "foo-1", "blur-6", "blur-03"])
def test_an_unknown_corruption_is_named_with_its_line(name, tmp_path, capsys):
    (tmp_path / "scores.csv").write_text(f"path,label,fake_probability,corruption\na.mp4,real,0.5,{name}\n")
    assert main(["evaluate", "--scores", str(tmp_path / "scores.csv")]) == 2
    assert "line 2: invalid score (a.mp4: a corruption is a kind and a level" in (error := capsys.readouterr().err)
    assert repr(name) in error


def test_rows_and_grid_stand_in_one_text():
    report = make_report(SCORES, robustness={"blur": [0.9, 0.8, 0.7, 0.6, 0.5, None]})
    line = next(line for line in result_text(report).splitlines() if line.startswith("blur"))
    assert line.split() == ["blur", ".900", ".800", ".700", ".600", ".500", "–", ".650"]


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is an extra")
@pytest.mark.parametrize("image_format", ["png", "svg"])
def test_plots_are_pictures_and_repeat_to_the_byte(tmp_path, image_format):
    report = make_report(SCORES, dataset="a $ in a name", robustness={"blur": [0.9, 0.8, 0.7, 0.6, 0.5, None]})
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files = write_plots(report, tmp_path / name, image_format=image_format)
        contents.append([file.read_bytes() for file in files])
    assert sorted(file.stem for file in files) == ["reliability", "robustness", "roc", "scores"]
    assert contents[0] == contents[1]
    if image_format == "png":
        assert np.asarray(Image.open(files[0]).convert("L")).std() > 5


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is an extra")
def test_a_single_class_has_no_roc_plot(tmp_path):
    files = write_plots(make_report(SCORES[:2]), tmp_path)
    assert sorted(file.stem for file in files) == ["reliability", "scores"]
