# SPDX-License-Identifier: Apache-2.0
"""The page of the model zoo: its table agrees with the scores beside it."""

import csv
import re
from pathlib import Path

import benchmark_trees as trees
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import model_zoo
from deepfake_video.common.exit_codes import OK, USAGE
from deepfake_video.evaluation.evaluation_result import EvaluationResult
from deepfake_video.evaluation.scores import Score


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The folder of a page of two models and their ensemble on two data sets."""
    folder = tmp_path_factory.mktemp("zoo")
    first, second = (trees.save_model(tmp_path_factory.mktemp("model"), seed) for seed in (1, 2))
    ff, celeb = trees.make_faceforensics(folder / "ff"), trees.make_celeb_df(folder / "celeb")
    words = [f"--model=first={first}", f"--model=second={second}", f"--model=both={first}+{second}"]
    words += [f"--data=FF={ff}", f"--data=Celeb={celeb}", f"--output={folder / 'docs'}", f"--work={folder / 'work'}"]
    assert model_zoo.main([*words, "--workers=0", "--bootstrap=20"]) == OK
    return folder / "docs"


def read_scores(docs: Path, model: str) -> list[dict[str, str]]:
    with (docs / "model_zoo" / f"{model}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("model", ["first", "second", "both"])
@pytest.mark.parametrize("data", ["FF", "Celeb"])
def test_the_table_shows_the_auc_of_the_scores_beside_it(written, model, data):
    rows = [row for row in read_scores(written, model) if row["dataset"] == data]
    area = roc_auc_score([row["label"] == "fake" for row in rows], [float(row["fake_probability"]) for row in rows])
    section = (written / "model_zoo.md").read_text().split(f"## {data}\n")[1].split("\n## ")[0]
    (shown,) = re.findall(rf"\| {model} \| {len(rows)} \| ([0-9.]+) \[", section)
    assert float(shown) == pytest.approx(area, abs=0.005001)


def test_an_ensemble_averages_logits(written):
    values = {}
    for model in ("first", "second", "both"):
        probabilities = np.array([float(row["fake_probability"]) for row in read_scores(written, model)])
        values[model] = np.log(probabilities / (1 - probabilities))
    np.testing.assert_allclose(values["both"], (values["first"] + values["second"]) / 2, atol=1e-4)


def test_the_scores_name_videos_without_folders(written):
    names = [row["video"] for row in read_scores(written, "first")]
    assert names
    assert not any("/" in name for name in names)


def test_a_model_without_a_name_is_refused(tmp_path, capsys):
    words = ["--model", "folder", "--data", f"a={tmp_path}", "--output", str(tmp_path)]
    assert model_zoo.main(words) == USAGE
    assert "--model takes NAME=VALUE" in capsys.readouterr().err


def test_only_videos_of_the_training_are_left_out_and_other_uses_are_named():
    scores = [
        Score(key=f"{label}{number}", label=label, dataset="d", fake_probability=probability, seen=seen)
        for label, number, probability, seen in [
            ("real", 1, 0.1, "calibration"),
            ("fake", 1, 0.9, "calibration"),
            # With these two, the AUC would be 0.75.
            ("real", 2, 0.2, None),
            ("fake", 2, 0.0, "training"),
        ]
    ]
    result = EvaluationResult(
        dataset="d", split="all", threshold=0.5, run={"weights_sha256": "a" * 64}, rows=[], scores=scores
    )
    plan = model_zoo.ZooPlan(models={"m": ("m",)}, data={"d": "d"}, output=Path(), work=Path(), resamples=0)
    page = model_zoo.zoo_page(plan, {"m": result})
    assert "2 real videos, 2 fakes." in page
    assert "| m | 3 | 1.00 |" in page
    assert "- m: 2 of these videos were used for calibration, on which sensitivity and specificity depend" in page
    assert "- m: 1 of these videos was used for training, and left out." in page
