# SPDX-License-Identifier: Apache-2.0
"""Temperature and bias: fitted on held-out people, stored in a new folder, never on what is evaluated."""

import base64
import hashlib
import itertools
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import benchmark_trees as trees
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from deepfake_video import DeepfakeConfig
from deepfake_video.cli import main
from deepfake_video.evaluation.calibration import (
    MIN_FACTOR,
    Calibration,
    apply_calibration,
    fit_calibration,
    fit_temperature,
    fit_threshold,
    hold_out,
    write_calibration,
)
from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.evaluation.known_videos import list_videos, read_lists, write_lists
from deepfake_video.evaluation.metrics import measure
from deepfake_video.evaluation.samples import EvaluationError, people_in_common
from deepfake_video.evaluation.scores import Score
from deepfake_video.scanning.models import load_model


THREE_LABELS = ("real", "fake", "synthetic")


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def draw(temperature: float, number: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure by this factor."""
    random = np.random.default_rng(0)
    logits = random.standard_normal(number) * 3
    return sigmoid(logits), random.random(number) < sigmoid(logits / temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_scores_too_sure_is_found(temperature):
    probabilities, is_fake = draw(temperature)
    assert fit_temperature(probabilities, is_fake) == pytest.approx(temperature, rel=0.1)


def test_calibrating_lowers_the_calibration_error_of_scores_that_are_too_sure():
    probabilities, is_fake = draw(3.0)
    after = apply_calibration(probabilities, fit_temperature(probabilities, is_fake))
    assert measure(after, is_fake, 0.5)["ece"] < 0.3 * measure(probabilities, is_fake, 0.5)["ece"]


@pytest.mark.parametrize("reals", [[0.995, 0.99], [0.01, 0.02]], ids=["far cut", "near cut"])
def test_calibrating_again_and_again_gives_what_a_configuration_takes(reals):
    # Classes that are far apart ask for ever lower temperatures, and a cut far from one half for a large bias.
    probabilities, is_fake = np.array([*reals, 0.9995, 0.9999]), np.array([False, False, True, True])
    temperature, fake_bias = 1.0, 0.0
    for _ in range(5):
        factor, bias = fit_calibration(probabilities, is_fake, temperature)
        temperature, fake_bias = temperature * factor, fake_bias / factor + bias
        config = DeepfakeConfig.from_preset("tiny", temperature=temperature, fake_bias=fake_bias)
        probabilities = apply_calibration(probabilities, factor, bias)
        assert ((probabilities >= 0.5) == is_fake).all()
    assert config.temperature == temperature


def test_a_temperature_moves_no_video_past_another():
    probabilities, is_fake = draw(2.0, 200)
    assert measure(apply_calibration(probabilities, 4.0), is_fake, 0.5)["auc"] == pytest.approx(
        measure(probabilities, is_fake, 0.5)["auc"]
    )


def test_perfect_scores_stay_finite():
    factor = fit_temperature(np.array([0.0, 0.2, 0.8, 1.0]), np.array([False, False, True, True]))
    assert factor == pytest.approx(MIN_FACTOR)
    assert np.isfinite(apply_calibration(np.array([0.0, 1.0]), factor)).all()


def test_the_threshold_stands_between_the_classes_and_nearest_to_one_half():
    assert fit_threshold(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1], bool)) == pytest.approx(0.5)
    assert fit_threshold(np.array([0.1, 0.6, 0.7, 0.9]), np.array([0, 0, 1, 1], bool)) == pytest.approx(0.65)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1e-300, 0.1, 0.3, 0.5, np.nextafter(0.5, 1), 0.9, 1.0]), st.booleans()))
)
def test_the_threshold_is_that_of_every_cut_tried_on_every_score(scores):
    probabilities, is_fake = np.array([p for p, _ in scores]), np.array([fake for _, fake in scores], bool)
    assume(0 < is_fake.sum() < len(is_fake))
    distinct = sorted(set(probabilities))
    middles = [(low + high) / 2 for low, high in itertools.pairwise(distinct)]
    gains = {
        cut: (probabilities[is_fake] >= cut).mean() - (probabilities[~is_fake] >= cut).mean()
        for cut in [distinct[0] / 2, *middles, (1 + distinct[-1]) / 2]
    }
    best = [cut for cut, gain in gains.items() if gain >= max(gains.values()) - 1e-12]
    assert fit_threshold(probabilities, is_fake) == min(best, key=lambda cut: abs(cut - 0.5))


def test_the_threshold_of_many_scores_needs_little_memory():
    """A decision of each score at each cut would take 400 MB."""
    random = np.random.default_rng(0)
    probabilities, is_fake = random.random(20_000), random.random(20_000) < 0.5
    tracemalloc.start()
    try:
        fit_threshold(probabilities, is_fake)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_calibration_is_platt_scaling_with_the_best_decision_at_one_half():
    # Two normal distributions around 0.8 - 1 and 0.8 + 1 with a variance of 3: the log odds are 2 (x - 0.8) / 3.
    is_fake = np.arange(40_000) % 2 == 1
    logits = 0.8 + np.where(is_fake, 1, -1) + np.sqrt(3) * np.random.default_rng(1).standard_normal(len(is_fake))
    factor, bias = fit_calibration(sigmoid(logits), is_fake)
    assert factor == pytest.approx(1.5, rel=0.1)
    assert -bias * factor == pytest.approx(0.8, abs=0.15)


def test_a_calibrated_score_is_one_half_where_the_best_threshold_was():
    probabilities, is_fake = np.array([0.1, 0.6, 0.7, 0.9]), np.array([0, 0, 1, 1], bool)
    calibrated = apply_calibration(probabilities, *fit_calibration(probabilities, is_fake))
    assert ((calibrated >= 0.5) == is_fake).all()
    assert apply_calibration(np.array(0.65), *fit_calibration(probabilities, is_fake)) == pytest.approx(0.5)


def test_the_official_validation_split_calibrates(tmp_path):
    benchmark = open_benchmark(trees.make_faceforensics(tmp_path))
    held_out, evaluated, name = hold_out(benchmark, None, None, seed=0)
    assert name == "val"
    assert {sample.split for sample in held_out} == {"val"}
    assert {sample.split for sample in evaluated} == {"test"}


@pytest.mark.parametrize("seed", range(5))
def test_without_a_validation_split_half_of_the_people_calibrate(tmp_path, seed):
    benchmark = open_benchmark(trees.make_faceforensics(tmp_path, has_splits=False))
    held_out, evaluated, _ = hold_out(benchmark, None, None, seed=seed)
    assert people_in_common(held_out, evaluated) == []
    assert len(held_out) + len(evaluated) == len(benchmark.samples)
    assert len(held_out) == len(evaluated)


def test_calibrating_on_what_is_evaluated_is_refused(tmp_path):
    benchmark = open_benchmark(trees.make_faceforensics(tmp_path))
    with pytest.raises(EvaluationError, match="no video is evaluated with a calibration that was fitted to it"):
        hold_out(benchmark, "test", "test", seed=0)


def test_a_calibration_split_that_shares_a_person_is_refused(tmp_path):
    # in Celeb-DF the training and test videos show the same celebrities
    benchmark = open_benchmark(trees.make_celeb_df(tmp_path))
    with pytest.raises(EvaluationError, match="id0"):
        hold_out(benchmark, "test", "train", seed=0)


def test_people_who_cannot_be_divided_are_refused(tmp_path):
    trees.make_folder(tmp_path)
    (tmp_path / "list.csv").write_text("real/0.mp4,real,anna\nfake/0.mp4,fake,anna\n")
    with pytest.raises(EvaluationError, match="cannot be divided"):
        hold_out(open_benchmark(tmp_path / "list.csv"), None, None, seed=0)


def test_a_calibrated_folder_holds_what_was_fitted_and_on_what(capsys, tmp_path):
    root = trees.make_faceforensics(tmp_path / "FaceForensics++")
    model = trees.save_model(tmp_path / "model", 1)
    trained = {"count": 1, "keys": "", "contents": base64.b64encode(b"sixsix").decode()}
    trained |= {"people": ""}
    (Path(model) / "known_videos.json").write_text(json.dumps({"videos": {"training": trained}}))
    before = {file.name: file.read_bytes() for file in Path(model).iterdir()}
    new = tmp_path / "calibrated"
    command = ["evaluate", str(root), "--model", model, "--workers", "0", "--bootstrap", "0", "--quiet", "--json"]

    assert main([*command, "--calibrate", str(new)]) == 0

    report = json.loads(capsys.readouterr().out)["calibration"]
    record = json.loads((new / "calibration.json").read_text())
    config = load_model(str(new)).network.config
    assert (record["dataset"], record["split"], record["num_videos"]) == ("FaceForensics++", "val", 10)
    assert (config.temperature, config.fake_bias) == (report["temperature"], report["fake_bias"])
    assert config.temperature != 1.0
    assert len(record["ece"]) == 2
    assert all(len(values) == 2 for values in record["ece"].values())
    known = json.loads((new / "known_videos.json").read_text())["videos"]
    assert known["training"] == trained
    assert known["calibration"]["count"] == 10
    assert {file.name: file.read_bytes() for file in Path(model).iterdir()} == before

    # the new folder says what the fitted temperature makes of the old scores
    assert main([*command, "--output", str(tmp_path / "old"), "--plots", "none"]) == 0
    assert main([*command[:2], "--model", str(new), *command[4:], "--output", str(tmp_path / "new")]) == 0
    old, fitted = (
        {
            line["key"]: line["fake_probability"]
            for line in map(json.loads, (tmp_path / name).glob("*.jsonl").__next__().open())
        }
        for name in ("old", "new")
    )
    for key, probability in old.items():
        assert fitted[key] == pytest.approx(
            float(apply_calibration(np.array(probability), config.temperature, config.fake_bias)), abs=1e-5
        )


def test_calibrating_writes_the_tables_of_a_run_without_any_score(capsys, tmp_path):
    root = trees.make_faceforensics(tmp_path / "FaceForensics++")
    for pair in trees.FF_PAIRS["test"]:
        for file in [file for video in pair for file in root.rglob(f"{video}*.mp4")]:
            file.unlink()
    model, output = trees.save_model(tmp_path / "model", 1), tmp_path / "run"
    command = ["evaluate", str(root), "--model", model, "--workers", "0", "--bootstrap", "0", "--quiet"]

    saved = ["--output", str(output), "--plots", "none", "--calibrate", str(tmp_path / "one")]
    assert main([*command, *saved]) == 1
    assert "ECE on the evaluated videos: – before, – after" in capsys.readouterr().out
    assert {"metrics.json", "table.txt", "scores.csv"} <= {file.name for file in (output / "remaining").iterdir()}
    assert main([*command, "--json", "--calibrate", str(tmp_path / "two")]) == 1
    of_validation, of_test = json.loads(capsys.readouterr().out)["calibration"]["ece"].values()
    assert None not in of_validation
    assert of_test == [None, None]
    for name in ("one", "two"):
        record = json.loads((tmp_path / name / "calibration.json").read_text())
        assert record["ece"]["the evaluated videos"] == [None, None]


def scores_of(people: str, *, seen: str | None = None) -> list[Score]:
    """A real and a fake video of each person; only the record of the fake says that it was seen."""
    return [
        Score(
            key=f"{person}-{label}",
            label=label,
            dataset="d",
            identities=(person,),
            fake_probability=0.9 if label == "fake" else 0.1 + 0.01 * number,
            seen=seen if label == "fake" else None,
            sha256=hashlib.sha256(f"{person}-{label}".encode()).hexdigest(),
        )
        for number, person in enumerate(people)
        for label in ("real", "fake")
    ]


def test_people_whom_the_model_was_trained_on_do_not_calibrate(tmp_path):
    folder = Path(trees.save_model(tmp_path / "model", 1))
    (folder / "README.md").write_text("# Card\n")
    options = {"model": load_model(str(folder)), "dataset": "d", "split": "val"}
    new = scores_of("abc")
    alone = write_calibration(new, {}, folder=tmp_path / "alone", **options)
    # Scores that would turn the fit around.
    trained = [replace(s, fake_probability=1 - s.fake_probability) for s in scores_of("xyzuvw", seen="training")]
    fitted = write_calibration([*trained, *new], {}, folder=tmp_path / "new", **options)
    assert (fitted.temperature, fitted.fake_bias) == (alone.temperature, alone.fake_bias)
    assert (fitted.num_videos, fitted.num_real, fitted.num_left_out) == (6, 3, 12)
    assert any(warning.startswith("12 videos left out of the calibration") for warning in fitted.warnings)
    assert "the model was trained on the people shown: 12 videos" in (tmp_path / "new/README.md").read_text()
    assert read_lists(tmp_path / "new")["calibration"].count == 6
    with pytest.raises(
        EvaluationError, match=r"whom the model was not trained on \(12 left out\); one class has none"
    ):
        write_calibration(trained, {}, folder=tmp_path / "none", **options)
    # The validation videos of the training, such as those of an official split, may be used.
    kept = write_calibration(scores_of("abc", seen="validation"), {}, folder=tmp_path / "kept", **options)
    assert kept.num_left_out == 0


@pytest.mark.parametrize("has_verdicts", [True, False])
def test_the_card_of_a_calibrated_copy_has_no_verdicts(tmp_path, has_verdicts):
    root = trees.make_faceforensics(tmp_path / "FaceForensics++")
    model = Path(trees.save_model(tmp_path / "model", 1))
    verdicts = "## Verdicts\n\nthe bands\n\n" if has_verdicts else ""
    (model / "README.md").write_text(f"# Card\n\nfirst\n\n{verdicts}## Limits\n\nlast\n")
    new = tmp_path / "new"
    command = ["evaluate", str(root), "--model", str(model), "--workers", "0", "--bootstrap", "0", "--quiet"]
    assert main([*command, "--calibrate", str(new)]) == 0
    card = (new / "README.md").read_text()
    assert card.startswith("# Card\n\nfirst\n\n## Limits\n\nlast\n\n## Calibration\n")
    assert ("The section about verdicts was left out" in card) is has_verdicts
    assert not (new / "verdict.json").exists()
    assert "the bands" not in card


def test_a_model_with_three_labels_is_refused_before_anything_is_scored(tmp_path, capsys):
    root = trees.make_folder(tmp_path / "data")
    model, output = trees.save_model(tmp_path / "model", 1, id2label=dict(enumerate(THREE_LABELS))), tmp_path / "run"
    command = ["evaluate", str(root), "--model", model, "--workers", "0", "--output", str(output)]
    assert main([*command, "--calibrate", str(tmp_path / "new")]) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert "a model with 3 labels ('real', 'fake', 'synthetic') cannot be calibrated" in error
    assert not list(output.glob("scores-*"))
    assert not (tmp_path / "new").exists()


def test_scores_of_a_model_with_three_labels_do_not_calibrate(tmp_path):
    model = load_model(trees.save_model(tmp_path / "model", 1, id2label=dict(enumerate(THREE_LABELS))))
    with pytest.raises(EvaluationError, match="with 3 labels"):
        write_calibration([], {}, model=model, dataset="d", split="val", folder=tmp_path / "new")


def test_a_model_that_knows_all_people_of_the_videos_is_refused_before_anything_is_scored(tmp_path, capsys):
    root = trees.make_faceforensics(tmp_path / "FaceForensics++")
    model, output = trees.save_model(tmp_path / "model", 1), tmp_path / "run"
    validation = open_benchmark(root).select("val").samples
    write_lists(Path(model), {"training": list_videos((sample, None) for sample in validation)})
    command = ["evaluate", str(root), "--model", model, "--workers", "0", "--output", str(output)]
    assert main([*command, "--calibrate", str(tmp_path / "new")]) == 2
    assert "whom the model was not trained on (10 left out); one class has none" in capsys.readouterr().err
    assert not list(output.glob("**/scores-*"))
    assert not (tmp_path / "new").exists()


def test_a_card_that_is_not_utf8_is_refused_before_anything_is_scored(tmp_path, capsys):
    root = trees.make_faceforensics(tmp_path / "FaceForensics++")
    model, output = Path(trees.save_model(tmp_path / "model", 1)), tmp_path / "run"
    (model / "README.md").write_bytes("# Modèle".encode("latin-1"))
    command = ["evaluate", str(root), "--model", str(model), "--workers", "0", "--output", str(output)]
    assert main([*command, "--calibrate", str(tmp_path / "new")]) == 2
    assert "README.md: the model card is not UTF-8; save it as UTF-8." in capsys.readouterr().err
    assert not list(output.glob("scores-*"))
    assert not (tmp_path / "new").exists()


def test_calibrating_leaves_the_tables_of_a_run_alone(capsys, tmp_path):
    root = trees.make_faceforensics(tmp_path / "FaceForensics++", has_splits=False)
    model, output = trees.save_model(tmp_path / "model", 1), tmp_path / "run"
    fixed = ["--workers", "0", "--bootstrap", "0", "--quiet", "--plots", "none", "--output", str(output)]
    assert main(["evaluate", str(root), "--model", model, *fixed]) == 0
    before = {file.name: file.read_bytes() for file in output.iterdir() if file.suffix in (".txt", ".json", ".csv")}
    capsys.readouterr()
    assert main(["evaluate", str(root), "--model", model, *fixed, "--calibrate", str(tmp_path / "new")]) == 0
    assert (
        "calibrated on only 4 real and 16 fake videos: with fewer than 50 of either class" in capsys.readouterr().out
    )
    assert {name: (output / name).read_bytes() for name in before} == before
    assert "table.txt" in {file.name for file in (output / "remaining").iterdir()}
    report = json.loads((output / "remaining/metrics.json").read_text())
    assert report["rows"][0]["num_real"] + report["rows"][0]["num_fake"] == 20

    # what set the temperature is no longer an unseen video
    assert main(["evaluate", str(root), "--model", str(tmp_path / "new"), *fixed[:-1], str(tmp_path / "again")]) == 0
    assert "videos were seen in calibration" in capsys.readouterr().out


@pytest.mark.parametrize(("num_real", "num_fake", "is_few"), [(50, 50, False), (49, 500, True), (500, 49, True)])
def test_fewer_than_fifty_of_either_class_are_few(num_real, num_fake, is_few):
    facts = {"dataset": "d", "split": "val", "temperature": 1.0, "fake_bias": 0.0, "ece": {}, "folder": "f"}
    fitted = Calibration(num_videos=num_real + num_fake, num_real=num_real, **facts)
    assert bool(fitted.warnings) == is_few


def test_an_existing_folder_is_never_calibrated_into(capsys, tmp_path):
    trees.make_faceforensics(tmp_path / "data")
    assert main(["evaluate", str(tmp_path / "data"), "--calibrate", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--model", "a", "--model", "b"], ["--face-aggregation", "mean"]], ids=["ensemble", "mean of faces"]
)
def test_what_has_no_temperature_of_its_own_is_not_calibrated(capsys, tmp_path, options):
    trees.make_folder(tmp_path)
    assert main(["evaluate", str(tmp_path), "--calibrate", str(tmp_path / "new"), *options]) == 2
    assert "cannot be calibrated" in capsys.readouterr().err
