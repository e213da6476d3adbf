# SPDX-License-Identifier: Apache-2.0
"""The public functions of the room: several data sets, limits, the rule of DeepfakeBench, plans, calibration."""

import doctest
import importlib
import json
import pkgutil
import shutil
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import benchmark_trees as trees
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import deepfake_video.evaluation
from deepfake_video import EvaluationPlan, calibrate, evaluate, rescore
from deepfake_video.cli import main
from deepfake_video.common.errors import UsageError
from deepfake_video.common.files import lock_folder
from deepfake_video.evaluation import corruptions, datasets, plan
from deepfake_video.evaluation.calibration import apply_calibration
from deepfake_video.evaluation.parts import named_roots, typed_roots
from deepfake_video.evaluation.progress import EvaluationListener
from deepfake_video.evaluation.samples import EvaluationError, limit_classes
from deepfake_video.scanning.models import load_model
from deepfake_video.scanning.settings import ScanSettings


PLAN = EvaluationPlan(device="cpu", workers=0, resamples=20)
MODULES = [module.name for module in pkgutil.iter_modules(deepfake_video.evaluation.__path__)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return trees.save_model(tmp_path_factory.mktemp("model"), 1)


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Two data sets whose videos have the same names."""
    folder = tmp_path_factory.mktemp("data")
    return {"ff": trees.make_faceforensics(folder / "ff"), "celeb": trees.make_celeb_df(folder / "celeb")}


@pytest.fixture(scope="module")
def joined(roots, model, tmp_path_factory):
    """The evaluation of both, and its folder."""
    output = tmp_path_factory.mktemp("joined") / "run"
    return evaluate(model, roots, group_by="identity", output=output, plan=PLAN), output


@pytest.fixture(scope="module")
def workplace(model, tmp_path_factory) -> Path:
    """A folder with the models, data sets and runs of the examples."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(model, folder / "model")
    trees.make_celeb_df(folder / "Celeb-DF-v2")
    root = trees.make_faceforensics(folder / "FaceForensics++")
    for run, name in (("run1", model), ("run2", trees.save_model(folder / "model2", 2))):
        evaluate(name, root, output=folder / run, plan=replace(PLAN, resamples=0))
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    module = importlib.import_module(f"deepfake_video.evaluation.{name}")
    assert doctest.testmod(module).failed == 0


def row(result, name: str, level: str = "video"):
    return next(row for row in result.rows if (row.name, row.level) == (name, level))


# --- several data sets ---


def test_several_data_sets_give_one_table(joined):
    result, _ = joined
    assert result.dataset == "celeb, ff"
    names = [row.name for row in result.rows if row.level == "video"]
    assert names[:4] == ["all videos", "celeb", "ff", "mean of the data sets"]
    assert "mean of the data sets" in str(result)


def test_the_row_of_a_data_set_is_that_of_its_own_evaluation(joined, roots, model):
    result, _ = joined
    alone = evaluate(model, roots["ff"], plan=PLAN)
    assert row(result, "ff").estimates == alone.rows[0].estimates


def test_the_mean_of_the_data_sets_is_unweighted(joined):
    result, _ = joined
    aucs = [row(result, name).estimates["auc"].value for name in ("ff", "celeb")]
    assert row(result, "mean of the data sets").estimates["auc"].value == pytest.approx(np.mean(aucs))


def test_the_saved_scores_of_several_data_sets_give_the_same_rows(joined):
    result, output = joined
    again = rescore([output / "ff", output / "celeb"], plan=PLAN)
    assert (again.dataset, again.split, again.rows) == (result.dataset, result.split, result.rows)


def test_scores_of_two_models_are_not_joined(joined, roots, tmp_path):
    _, output = joined
    other = trees.save_model(tmp_path / "model", 2)
    evaluate(other, roots["celeb"], output=tmp_path / "celeb", plan=PLAN)
    with pytest.raises(EvaluationError, match="different models"):
        rescore([output / "ff", tmp_path / "celeb"], plan=PLAN)


def test_the_command_names_data_sets(roots, model, tmp_path, capsys):
    words = [f"{name}={root}" for name, root in roots.items()]
    fixed = ["--device", "cpu", "--workers", "0", "--bootstrap", "0", "--plots", "none", "--quiet"]
    assert main(["evaluate", *words, "--model", model, "--output", str(tmp_path / "run"), *fixed]) == 0
    assert {"ff", "celeb", "table.txt"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert main(["evaluate", words[0], words[0], *fixed]) == 2
    assert "two data sets are named ff" in capsys.readouterr().err


def test_a_data_set_has_the_same_name_whether_or_not_another_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces.v2").mkdir()
    (tmp_path / "a=b").mkdir()
    (tmp_path / "list.v2.csv").touch()
    own = {"faces.v2": Path("faces.v2"), "list.v2": Path("list.v2.csv"), "a=b": Path("a=b")}
    paths = [str(path) for path in own.values()]
    assert named_roots(paths) == typed_roots(paths) == own
    assert typed_roots([*paths, "ff=FaceForensics++"]) == own | {"ff": Path("FaceForensics++")}


@pytest.mark.parametrize("name", ["..", "a/b", "held-out", ""])
def test_a_name_that_is_no_folder_of_its_own_is_refused(roots, name):
    with pytest.raises(EvaluationError, match="not a valid name"):
        evaluate(None, {name: roots["ff"], "celeb": roots["celeb"]})


def test_the_folder_of_each_data_set_is_locked(roots, model, tmp_path):
    with (
        lock_folder(tmp_path / "run" / "celeb", work="evaluation"),
        pytest.raises(ValueError, match="another evaluation"),
    ):
        evaluate(model, roots, output=tmp_path / "run", plan=PLAN)


# --- identities ---


def test_intervals_are_drawn_by_identity_where_one_is_known(joined, model, tmp_path):
    result, _ = joined
    assert result.interval_unit == "identities"
    # 953, 974, 033 and 097 of the test split, each with its real video and the fakes made of it.
    assert row(result, "ff").num_clusters == 4
    assert "bootstrap over identities" in str(result)
    unknown = evaluate(model, trees.make_folder(tmp_path / "data"), plan=PLAN)
    assert (unknown.interval_unit, unknown.rows[0].num_clusters) == ("videos", 7)


def test_intervals_are_drawn_by_video_if_asked_for(joined):
    _, output = joined
    by_video = rescore(output / "ff", plan=replace(PLAN, group_by="video"))
    assert (by_video.interval_unit, by_video.rows[0].num_clusters) == ("videos", 20)


# --- the limit ---


def test_a_limit_keeps_so_many_of_each_class_and_says_so(roots, model):
    result = evaluate(model, roots["ff"], plan=replace(PLAN, limit=3))
    assert (result.rows[0].num_real, result.rows[0].num_fake) == (3, 3)
    assert "6 of 20 videos were drawn: at most 3 of each class" in result.warnings


def test_a_larger_limit_adds_to_a_smaller_one(roots):
    samples = datasets.open_benchmark(roots["ff"]).samples
    drawn = [{sample.key for sample in limit_classes(samples, limit, seed=1)} for limit in (2, 4, 1000)]
    assert drawn[0] < drawn[1] < drawn[2] == {sample.key for sample in samples}
    assert drawn[0] != {sample.key for sample in limit_classes(samples, 2, seed=2)}


# --- the rule of DeepfakeBench ---


def test_the_rule_of_deepfakebench_is_a_table_of_its_own(model, tmp_path):
    root = trees.make_deepfakebench(tmp_path, frames=40)
    result = evaluate(model, root, plan=replace(PLAN, deepfakebench=True))
    assert result.run["num_frames"] == [32]
    assert {len(score.frame_probabilities) for score in result.scores} == {32}
    means = [float(np.mean(score.frame_probabilities)) for score in result.scores]
    found = row(result, "all videos", "deepfakebench").estimates
    assert found["auc"].value == pytest.approx(roc_auc_score([s.is_fake for s in result.scores], means), abs=1e-6)
    text = str(result)
    assert "by the rule of this package" in text
    assert "by the rule of DeepfakeBench: mean fake probability" in text


def test_the_rule_of_deepfakebench_has_its_own_number_of_frames():
    with pytest.raises(UsageError, match="32 frames"):
        EvaluationPlan(deepfakebench=True, settings=ScanSettings(num_frames=8))


def test_saved_scores_of_another_number_of_frames_have_no_rows_of_deepfakebench(joined, tmp_path):
    _, output = joined
    asked = replace(PLAN, deepfakebench=True)
    assert json.loads((output / "ff" / "run.json").read_text())["num_frames"] != [32]
    with pytest.raises(EvaluationError, match="frames of a video, but DeepfakeBench takes 32"):
        rescore(output / "ff", plan=asked)
    (lines,) = (output / "ff").glob("scores-*.jsonl")
    shutil.copyfile(lines, tmp_path / "scores-00000.jsonl")
    assert any("32 frames of DeepfakeBench are assumed" in note for note in rescore(tmp_path, plan=asked).warnings)
    (tmp_path / "theirs.csv").write_text("path,label,fake_probability\na.mp4,real,0.2\nb.mp4,fake,0.9\n")
    found = rescore(tmp_path / "theirs.csv", plan=asked)
    assert {row.level for row in found.rows} == {"video"}
    assert any("no rows by the rule of DeepfakeBench" in note for note in found.warnings)


# --- the plan ---


def test_a_plan_is_frozen():
    with pytest.raises(FrozenInstanceError):
        PLAN.seed = 1


@pytest.mark.parametrize(
    "choice",
    [
        {"limit": 0},
        {"workers": -1},
        {"resamples": -1},
        {"seed": -1},
        {"split": "dev"},
        {"layout": "other"},
        {"group_by": "method"},
        {"corruptions": ("rain",)},
        {"calibration_split": "val"},
    ],
    ids=str,
)
def test_invalid_choices_are_refused(choice):
    with pytest.raises(UsageError):
        EvaluationPlan(**choice)


def test_the_names_of_a_plan_are_those_of_the_layouts_and_corruptions():
    assert set(plan.LAYOUT_NAMES) == set(datasets.LAYOUTS)
    assert plan.KIND_NAMES == corruptions.KINDS


def test_a_listener_hears_what_is_evaluated_and_how_far_it_is(model, tmp_path):
    heard: list[object] = []

    class Recorder(EvaluationListener):
        def announce(self, lines):
            heard.append(lines[0])

        def start(self, total, label):
            heard.append((total, label))

        def advance(self):
            heard.append("advance")

        def finish(self):
            heard.append("finish")

    root = trees.make_folder(tmp_path / "data", reals=1, fakes=1)
    evaluate(model, root, plan=PLAN, listener=Recorder())
    assert heard == [
        f"{root}: folder, split all: 1 real and 1 fake videos",
        (2, "scoring"),
        "advance",
        "advance",
        "finish",
    ]


def test_nothing_is_printed_by_a_function(model, tmp_path, capsys):
    evaluate(model, trees.make_folder(tmp_path / "data", reals=1, fakes=1), plan=PLAN)
    assert capsys.readouterr() == ("", "")


# --- calibrating a run ---


@pytest.fixture(scope="module")
def validation(roots, model, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("validation") / "run"
    evaluate(model, roots["ff"], output=output, plan=replace(PLAN, split="val"))
    return output


def test_a_run_calibrates_its_checkpoint(validation, roots, tmp_path):
    fitted = calibrate(validation, tmp_path / "new")
    assert (fitted.dataset, fitted.split, fitted.num_videos) == ("FaceForensics++", "val", 10)
    before = {score.key: score.fake_probability for score in rescore(validation).scores}
    after = evaluate(tmp_path / "new", roots["ff"], plan=replace(PLAN, split="val"))
    for score in after.scores:
        expected = apply_calibration(np.array(before[score.key]), fitted.temperature, fitted.fake_bias)
        assert score.fake_probability == pytest.approx(float(expected), abs=1e-5)
    assert {score.seen for score in after.scores} == {"calibration"}
    record = json.loads((tmp_path / "new/calibration.json").read_text())
    assert record["temperature"] == load_model(str(tmp_path / "new")).network.config.temperature


def test_scores_of_another_checkpoint_do_not_calibrate(validation, tmp_path):
    other = trees.save_model(tmp_path / "model", 2)
    with pytest.raises(EvaluationError, match="not the checkpoint"):
        calibrate(validation, tmp_path / "new", model=other)


def test_scores_without_their_run_do_not_calibrate(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("path,label,fake_probability\na.mp4,real,0.2\nb.mp4,fake,0.9\n")
    with pytest.raises(EvaluationError, match=r"run\.json is missing"):
        calibrate(file, tmp_path / "new")


def test_frames_that_the_sampling_does_not_support_are_wrong_usage(tmp_path, capsys):
    model = Path(trees.save_model(tmp_path / "model", 1))
    file = model / "video_preprocessor_config.json"
    choices = {"frame_sampling": "bursts", "burst_length": 4, "num_frames": 8}
    file.write_text(json.dumps({**json.loads(file.read_text()), **choices}))
    root = trees.make_folder(tmp_path / "data", reals=1, fakes=1)
    assert main(["evaluate", str(root), "--model", str(model), "--frames", "3", "--device", "cpu"]) == 2
    assert "burst" in capsys.readouterr().err
