# SPDX-License-Identifier: Apache-2.0
"""Two models on the same videos, and the runs of several seeds."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import benchmark_trees as trees
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_video import EvaluationPlan, EvaluationResult, average_seeds, compare
from deepfake_video.cli import main
from deepfake_video.common.exit_codes import FAILED
from deepfake_video.evaluation.comparing import with_comparison
from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.evaluation.evaluator import make_result
from deepfake_video.evaluation.known_videos import list_videos, write_lists
from deepfake_video.evaluation.samples import EvaluationError
from deepfake_video.evaluation.scores import Score, write_csv_scores


def draw(number: int = 60, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and the correlated probabilities of two models, of which the second is better."""
    random = np.random.default_rng(seed)
    is_fake = np.arange(number) % 2 == 1
    common = random.standard_normal(number)
    first, second = (
        1 / (1 + np.exp(-(shift * (is_fake - 0.5) + common + 0.3 * random.standard_normal(number))))
        for shift in (1.0, 2.5)
    )
    return is_fake, first, second


def scores(is_fake: np.ndarray, probabilities: np.ndarray, **changes) -> list[Score]:
    return [
        Score(key=str(i), label="fake" if fake else "real", dataset="d", fake_probability=float(p), **changes)
        for i, (fake, p) in enumerate(zip(is_fake, probabilities, strict=True))
    ]


def result(listed: list[Score]) -> EvaluationResult:
    return make_result(listed, EvaluationPlan(resamples=0), split="all", threshold=0.5, run={})


def delong_deviation(is_fake: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Standard error of the difference of two AUCs on the same videos (DeLong et al., 1988)."""
    placements = []
    for probabilities in (first, second):
        above = (probabilities[is_fake][:, None] > probabilities[~is_fake][None]).astype(float)
        placements.append((above.mean(1), above.mean(0)))
    (fakes_a, reals_a), (fakes_b, reals_b) = placements
    return float(
        np.sqrt(np.var(fakes_b - fakes_a, ddof=1) / len(fakes_a) + np.var(reals_b - reals_a, ddof=1) / len(reals_a))
    )


def test_the_difference_is_that_of_the_two_aucs():
    is_fake, first, second = draw()
    found = compare(result(scores(is_fake, first)), result(scores(is_fake, second)))
    assert found.difference == pytest.approx(roc_auc_score(is_fake, second) - roc_auc_score(is_fake, first), abs=1e-6)
    assert (found.num_videos, found.interval_unit) == (60, "videos")


def test_the_interval_has_the_width_of_delongs():
    is_fake, first, second = draw()
    found = compare(result(scores(is_fake, first)), result(scores(is_fake, second)))
    assert found.high - found.low == pytest.approx(2 * 1.96 * delong_deviation(is_fake, first, second), rel=0.15)


def test_a_model_compared_with_itself_does_not_differ_and_is_not_certain_of_it():
    is_fake, first, _ = draw()
    found = compare(result(scores(is_fake, first)), result(scores(is_fake, first)))
    assert found.difference == 0
    assert found.low < 0 < found.high


def test_only_videos_with_a_score_by_both_count():
    is_fake, first, second = draw()
    some = scores(is_fake, second)
    some[3] = replace(some[3], fake_probability=None, status="no_face")
    found = compare(result(scores(is_fake, first)), result(some[:-1]))
    assert found.num_videos == 58


def test_a_video_with_two_labels_is_an_error():
    is_fake, first, second = draw()
    with pytest.raises(EvaluationError, match="real in one"):
        compare(result(scores(is_fake, first)), result(scores(~is_fake, second)))


def test_two_people_give_no_interval_of_the_difference():
    is_fake, first, second = draw()
    of_first = [replace(s, identities=(str(int(s.key) // 30),)) for s in scores(is_fake, first)]
    found = compare(result(of_first), result(scores(is_fake, second)))
    assert (found.num_clusters, found.low, found.high) == (2, None, None)


def test_identities_widen_the_interval_of_the_difference():
    is_fake, first, second = draw()
    a, b = (
        [
            replace(score, key=f"{score.key}-{copy}", identities=(score.key,))
            for score in scores(is_fake, probabilities)
            for copy in range(8)
        ]
        for probabilities in (first, second)
    )
    by_identity = compare(result(a), result(b), plan=EvaluationPlan(resamples=200))
    by_video = compare(result(a), result(b), plan=EvaluationPlan(resamples=200, group_by="video"))
    assert by_identity.num_clusters == 60
    assert by_identity.high - by_identity.low > 2 * (by_video.high - by_video.low)


def test_mean_and_deviation_over_seeds_are_those_of_the_values():
    runs, aucs = [], []
    for seed in range(3):
        is_fake, first, _ = draw(seed=seed)
        runs.append(result(scores(is_fake, first)))
        aucs.append(roc_auc_score(is_fake, first))
    auc = average_seeds(runs)[0].estimates["auc"]
    assert auc.mean == pytest.approx(statistics.mean(aucs), abs=1e-6)
    assert auc.deviation == pytest.approx(statistics.stdev(aucs), abs=1e-6)


def test_runs_on_other_videos_have_no_mean():
    is_fake, first, _ = draw()
    with pytest.raises(EvaluationError, match="missing from a run"):
        average_seeds([result(scores(is_fake, first)), result(scores(is_fake, first)[:-1])])
    with pytest.raises(EvaluationError, match="at least two"):
        average_seeds([result(scores(is_fake, first))])


def test_rows_that_a_run_lacks_are_not_averaged_and_are_named(tmp_path, capsys):
    is_fake, first, second = draw()
    a, b = (scores(is_fake, probabilities, frame_probabilities=(0.5,)) for probabilities in (first, second))
    a[:4] = [replace(score, seen="training") for score in a[:4]]
    b[:4] = [replace(score, seen="validation") for score in b[:4]]
    b = [replace(score, frame_probabilities=(), compression="c23") for score in b]
    rows = average_seeds([result(a), result(b)])
    names = ("not seen before", "seen in training", "all, with those seen before")
    assert [(row.level, row.name) for row in rows] == [("video", name) for name in names]
    assert rows[0].estimates["auc"].values == pytest.approx(
        [roc_auc_score(is_fake[4:], probabilities[4:]) for probabilities in (first, second)], abs=1e-6
    )
    (note,) = rows.notes
    assert "not seen before (frame); " in note
    assert "c23 (video)" in note

    for name, listed in (("a", a), ("b", b)):
        write_csv_scores(listed, tmp_path / f"{name}.csv")
    assert main(["evaluate", "--average", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]) == 0
    assert "not averaged, because not every run has these rows for the same videos: " in capsys.readouterr().out
    assert main(["evaluate", "--average", str(tmp_path / "a.csv"), str(tmp_path / "a.csv")]) == 2
    assert "one is given twice" in capsys.readouterr().err


def test_an_average_over_runs_of_different_thresholds_says_so():
    is_fake, first, second = draw()
    runs = [result(scores(is_fake, first)), replace(result(scores(is_fake, second)), threshold=0.7)]
    assert average_seeds(runs).notes == ["the runs have the thresholds 0.5, 0.7"]


def test_a_row_of_the_same_name_for_other_videos_is_not_averaged():
    is_fake, first, _ = draw()
    runs = [
        result([replace(score, compression="c23" if int(score.key) < number else "c40") for score in listed])
        for number, listed in ((4, scores(is_fake, first)), (8, scores(is_fake, first)))
    ]
    rows = average_seeds(runs)
    assert [row.name for row in rows] == ["all videos"]
    assert rows.notes[0].endswith("c23 (video); c40 (video)")
    assert average_seeds([runs[0], runs[0]]).notes == []


def runs_that_have_seen_different_videos() -> tuple[np.ndarray, list[np.ndarray], list[EvaluationResult]]:
    """Two runs, of which the first has seen the videos 0 to 19, and the second the videos 40 to 59."""
    is_fake, first, second = draw()
    # Both are perfect where they have seen the videos.
    probabilities = [np.where(chosen, is_fake, p) for chosen, p in zip(SEEN, (first, second), strict=True)]
    runs = [
        result([replace(s, seen="training" if known else None) for s, known in zip(listed, chosen, strict=True)])
        for listed, chosen in zip((scores(is_fake, p) for p in probabilities), SEEN, strict=True)
    ]
    return is_fake, probabilities, runs


SEEN = (np.arange(60) < 20, np.arange(60) >= 40)


def test_models_are_compared_on_the_videos_that_neither_has_seen():
    is_fake, probabilities, runs = runs_that_have_seen_different_videos()
    found = compare(*runs)
    middle = slice(20, 40)
    areas = [roc_auc_score(is_fake[middle], p[middle]) for p in probabilities]
    assert (found.first_auc, found.second_auc) == pytest.approx(areas, abs=1e-6)
    assert (found.num_videos, found.num_seen) == (20, 40)
    assert "(20 videos scored by both, without 40 videos that one of them has seen before)" in str(
        with_comparison(*runs)
    )

    everything = result([replace(score, seen="training") for score in runs[1].scores])
    with pytest.raises(EvaluationError, match="without the 60 videos that one of the models has seen before"):
        compare(runs[0], everything)


def test_seeds_are_averaged_over_the_videos_that_no_run_has_seen():
    is_fake, probabilities, runs = runs_that_have_seen_different_videos()
    first, *_ = average_seeds(runs)
    areas = [roc_auc_score(is_fake[20:40], p[20:40]) for p in probabilities]
    assert first.name == "not seen before"
    assert first.estimates["auc"].values == pytest.approx(areas, abs=1e-6)


def test_the_command_tells_what_limits_the_second_model(tmp_path, capsys):
    is_fake, first, second = draw()
    known = [replace(score, seen="training") if score.key == "7" else score for score in scores(is_fake, second)]
    known[3] = replace(known[3], fake_probability=None, status="no_face", message="no face found")
    for name, listed in (("first", scores(is_fake, first)), ("second", known)):
        write_csv_scores(listed, tmp_path / f"{name}.csv")
    words = ["evaluate", "--scores", str(tmp_path / "first.csv"), "--compare", str(tmp_path / "second.csv"), "--json"]
    assert main([*words, "--bootstrap", "0"]) == FAILED
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert any("1 of 60 videos was seen in training" in warning for warning in warnings)
    assert any("not scored: 3: no face found" in warning for warning in warnings)


def test_the_command_compares_and_averages_saved_scores(tmp_path, capsys):
    is_fake, first, second = draw()
    for name, probabilities in (("a", first), ("b", second)):
        write_csv_scores(scores(is_fake, probabilities), tmp_path / f"{name}.csv")
    files = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert main(["evaluate", "--scores", files[0], "--compare", files[1], "--bootstrap", "40", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["comparison"]["second_auc"] == pytest.approx(roc_auc_score(is_fake, second), abs=1e-6)
    assert main(["evaluate", "--scores", files[0], "--compare", files[1], "--bootstrap", "40"]) == 0
    assert f"difference {report['comparison']['difference']:+.3f} [" in capsys.readouterr().out
    assert main(["evaluate", "--average", *files, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["estimates"]["auc"]["values"] == [
        report["comparison"][name] for name in ("first_auc", "second_auc")
    ]
    assert main(["evaluate", "--average", *files]) == 0
    assert "mean ± standard deviation of 2 runs" in capsys.readouterr().out


def test_a_comparison_that_cannot_succeed_is_refused_before_anything_is_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deepfake_video.evaluation.evaluator.evaluate", lambda *_, **__: pytest.fail("scored"))
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"video")
    (tmp_path / "both.csv").write_text("path,label\na.mp4,real\nb.mp4,fake\n")
    (tmp_path / "reals.csv").write_text("path,label\na.mp4,real\nmissing.mp4,fake\n")
    for data, message in (("both", "mistyped"), ("reals", "there are only real ones")):
        words = ["evaluate", str(tmp_path / f"{data}.csv"), "--compare", str(tmp_path / "mistyped"), "--device", "cpu"]
        assert main(words) == 2
        assert message in capsys.readouterr().err


def test_a_comparison_on_videos_that_a_model_has_seen_is_refused_before_anything_is_scored(
    tmp_path, monkeypatch, capsys
):
    root = trees.make_faceforensics(tmp_path / "FaceForensics++")
    first, second = (Path(trees.save_model(tmp_path / name, seed)) for seed, name in enumerate(("first", "second")))
    write_lists(first, {"training": list_videos((sample, None) for sample in open_benchmark(root).samples)})
    monkeypatch.setattr("deepfake_video.evaluation.evaluator.evaluate", lambda *_, **__: pytest.fail("scored"))
    for model, compared in ((first, second), (second, first)):
        words = ["evaluate", str(root), "--model", str(model), "--compare", str(compared), "--device", "cpu"]
        assert main(words) == 2
        assert "that neither has seen before, but there are none" in capsys.readouterr().err


def test_tables_are_printed_even_if_the_comparison_fails(tmp_path, capsys):
    is_fake, first, second = draw()
    write_csv_scores(scores(is_fake, first), tmp_path / "first.csv")
    write_csv_scores(scores(~is_fake, second), tmp_path / "second.csv")
    words = ["evaluate", "--scores", str(tmp_path / "first.csv"), "--compare", str(tmp_path / "second.csv")]
    assert main([*words, "--bootstrap", "0"]) == 2
    printed = capsys.readouterr()
    assert "labelled real in one of the two runs" in printed.err
    assert "all videos" in printed.out
