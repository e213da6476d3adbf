# SPDX-License-Identifier: Apache-2.0
"""Bands of the verdicts: conformal by class over people, each source left out in turn, never from too few."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_trees import save_model
from scipy.stats import beta

from deepfake_video.cli import main
from deepfake_video.evaluation.evaluator import join_results, make_result
from deepfake_video.evaluation.intervals import clopper_pearson_interval
from deepfake_video.evaluation.plan import EvaluationPlan
from deepfake_video.evaluation.rescoring import rescore
from deepfake_video.evaluation.samples import EvaluationError
from deepfake_video.evaluation.scores import Score, write_csv_scores
from deepfake_video.evaluation.verdicts import conformal_bound, measure_verdicts, reduce_to_people, write_verdicts
from deepfake_video.hub.terms import TermsError
from deepfake_video.modeling_deepfake import DeepfakeForVideoClassification
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.file_stamps import hash_files
from deepfake_video.scanning.fingerprint import describe_setup
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.scanning.verdict_bands import read_bands


WEIGHTS = b"weights"
RUN = {
    "models": "folder",
    "weights_sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    "is_trained": True,
    "temperatures": [1.0],
    "fake_biases": [0.0],
    "num_frames": [20],
    "frame_sampling": ["uniform"],
    "ensemble": "probabilities",
    "seed": 0,
    "faces": "auto",
    "face_aggregation": "max",
    "dtype": "float32",
    "threshold": 0.5,
    "function": {"models": [{"configuration": {}, "preprocessing": {}}]},
}


def score(key: str, probability: float, *, is_fake: bool = False, source: str = "a", **fields) -> Score:
    label = "fake" if is_fake else "real"
    return Score(key=key, label=label, dataset=source, fake_probability=probability, **fields)


def draw(number: int, sources: Sequence[str] = "abcd", **fields) -> list[Score]:
    """Scores of so many real people and as many fakes, with logits of two normal distributions."""
    random = np.random.default_rng(1)
    scores = []
    for i in range(number):
        for is_fake, mean in ((False, -2.0), (True, 2.0)):
            probability = 1 / (1 + math.exp(-random.normal(mean, 1.5)))
            key, source = f"{is_fake}{i}", sources[i % len(sources)]
            scores.append(score(key, probability, is_fake=is_fake, source=source, identities=(key,), **fields))
    return scores


def result_of(scores, **changes):
    run = {**RUN, **changes}
    return make_result(scores, EvaluationPlan(resamples=0), split="all", threshold=0.5, run=run)


@pytest.mark.parametrize(
    ("number", "level", "rank"), [(49, 0.02, 49), (99, 0.02, 98), (9, 0.1, 9), (19, 0.1, 18), (100, 0.02, 99)]
)
def test_the_bound_is_the_order_statistic_of_the_conformal_rank(number, level, rank):
    assert conformal_bound(range(1, number + 1), level) == rank


@pytest.mark.parametrize(("number", "level"), [(48, 0.02), (8, 0.1), (0, 0.1)])
def test_too_few_scores_have_no_bound(number, level):
    assert conformal_bound(range(number), level) == math.inf


def test_a_new_score_exceeds_the_bound_no_more_often_than_allowed():
    random = np.random.default_rng(0)
    drawn = random.standard_normal((4000, 61))
    exceeding = [row[-1] > conformal_bound(row[:-1].tolist(), 0.02) for row in drawn]
    assert np.mean(exceeding) < 0.025


@pytest.mark.parametrize(("count", "number"), [(0, 10), (1, 50), (7, 20), (20, 20), (30, 3000)])
def test_the_interval_of_a_rate_is_that_of_clopper_and_pearson(count, number):
    interval = clopper_pearson_interval(count, number)
    low = 0.0 if count == 0 else beta.ppf(0.025, count, number - count + 1)
    high = 1.0 if count == number else beta.ppf(0.975, count + 1, number - count)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)


def test_a_person_counts_once_by_the_worst_video():
    scores = [
        score("1", 0.2, identities=("x",)),
        score("2", 0.6, identities=("x",), num_faces=2),
        score("3", 0.9, identities=("x",), is_fake=True, method="swap"),
        score("4", 0.7, identities=("x",), is_fake=True, method="swap"),
        score("5", 0.8, identities=("x",), is_fake=True, method="reenact"),
    ]
    (person,) = reduce_to_people(scores, is_fake=False)
    assert (person.logit, person.corrected) == pytest.approx((math.log(1.5), math.log(0.75)))
    fakes = reduce_to_people(scores, is_fake=True)
    assert sorted(fake.logit for fake in fakes) == pytest.approx([math.log(7 / 3), math.log(4)])


def test_data_sets_that_share_their_people_are_one_source():
    # Celeb-DF++ contains the real videos of Celeb-DF-v2 and new fakes of the same people.
    shared = ("Celeb-DF-v2", "Celeb-DF++")
    scores = [
        score(f"{name}.mp4", p, source=name, identities=("id0",)) for name, p in zip(shared, (0.2, 0.6), strict=True)
    ]
    (person,) = reduce_to_people(scores, is_fake=False)
    assert person.logit == pytest.approx(math.log(1.5))
    with pytest.raises(EvaluationError, match="at least two sources"):
        measure_verdicts(result_of(draw(60, shared)))
    assert len(measure_verdicts(result_of(draw(60, (*shared, "DFDC")))).sources) == 2


def test_the_rates_keep_their_limits_with_each_source_left_out():
    bands = measure_verdicts(result_of(draw(120)))
    assert bands.false_alarms.count / bands.false_alarms.number <= 0.02
    assert bands.misses.count / bands.misses.number <= 0.1
    assert (bands.people, bands.fakes, bands.sources) == (120, 120, ("a", "b", "c", "d"))
    assert 0 < bands.low <= 0.5 <= bands.high < 1


def test_a_source_of_higher_scores_widens_the_band():
    scores = draw(200)
    even = measure_verdicts(result_of(scores))
    moved = [
        replace(s, fake_probability=0.97 + 0.02 * s.fake_probability) if s.dataset == "a" and not s.is_fake else s
        for s in scores
    ]
    uneven = measure_verdicts(result_of(moved))
    assert uneven.high > even.high
    assert uneven.false_alarms.count <= 0.02 * uneven.false_alarms.number
    assert any("likely fake was widened" in note for note in uneven.notes)


def test_too_few_people_are_never_called_likely_fake():
    bands = measure_verdicts(result_of(draw(40)))
    assert bands.high is None
    assert bands.false_alarms is None
    assert bands.low is not None
    assert any("no video is called likely fake, because there are only" in note for note in bands.notes)


def test_false_alarms_by_the_number_of_faces_follow_from_groups_of_people():
    bands = measure_verdicts(result_of(draw(300)))
    called, number = bands.false_alarms.count, bands.false_alarms.number
    by_faces = {row.num_faces: row for row in bands.by_faces}
    assert by_faces[1].rate == pytest.approx(called / number)
    # Of the pairs of people, those in which neither is called.
    neither = (number - called) * (number - called - 1) / (number * (number - 1))
    assert by_faces[2].uncorrected == pytest.approx(1 - neither)
    assert all(row.rate <= 0.02 for row in bands.by_faces)
    assert by_faces[5].uncorrected > 0.05


def test_a_slowly_falling_tail_of_scores_divides_the_odds_by_more_than_the_number_of_faces():
    stretched = []
    for entry in draw(300):
        odds = (entry.fake_probability / (1 - entry.fake_probability)) ** 4
        stretched.append(replace(entry, fake_probability=odds / (1 + odds)))
    even, slow = measure_verdicts(result_of(draw(300))), measure_verdicts(result_of(stretched))
    assert slow.face_exponent > even.face_exponent
    assert all(row.rate <= 0.02 for row in slow.by_faces)


def test_videos_that_only_fitted_the_calibration_count():
    bands = measure_verdicts(result_of(draw(60, seen="calibration")))
    alone = measure_verdicts(result_of(draw(60)))
    assert (bands.people, bands.low, bands.high) == (60, alone.low, alone.high)
    assert any("fit temperature and bias" in note for note in bands.notes)


def test_a_file_that_several_runs_contain_counts_once():
    scores = [replace(one, sha256=f"{number:064}") for number, one in enumerate(draw(60))]
    again = [replace(one, key=f"copy of {one.key}", identities=(), dataset="e") for one in scores[:10]]
    bands = measure_verdicts(result_of([*scores, *again]))
    assert (bands.people, bands.fakes) == (60, 60)
    assert "10 videos left out, because the same file occurs again" in bands.notes


def test_people_that_were_seen_in_training_are_left_out_with_all_their_videos():
    scores = draw(120)
    seen = score("seen", 0.9, source="a", identities=("False0",), seen="training")
    bands = measure_verdicts(result_of([*scores, seen]))
    assert bands.people == 119
    assert any("2 videos left out" in note for note in bands.notes)


def test_people_of_an_extended_data_set_are_those_of_the_original_one():
    # Celeb-DF++ has further fakes of the people of Celeb-DF-v2.
    seen = [score("id0_0000.mp4", 0.1, source="Celeb-DF-v2", identities=("id0",), seen="training")]
    extended = [
        score(f"{name}.mp4", 0.9, source="Celeb-DF++", is_fake=True, identities=(name,)) for name in ("id0", "id1")
    ]
    bands = measure_verdicts(result_of([*draw(50), *seen, *extended]))
    assert (bands.people, bands.fakes) == (50, 51)
    assert any("2 videos left out, because the checkpoint was trained or validated" in note for note in bands.notes)


def test_the_limits_of_size_and_compression_are_those_of_the_videos():
    bands = measure_verdicts(result_of(draw(60, face_px=80.0, bits_per_pixel=0.05)))
    assert (bands.min_face_px, bands.min_bits_per_pixel) == (80.0, 0.05)


@pytest.mark.parametrize(
    ("scores", "changes", "message"),
    [
        (draw(60, sources="a"), {}, "at least two sources"),
        (draw(60), {"temperatures": [1.0, 1.0]}, "ensemble"),
        (draw(60), {"is_trained": False}, "random weights"),
        (draw(60), {"weights_sha256": None}, "random weights"),
    ],
)
def test_scores_that_measure_no_checkpoint_are_refused(scores, changes, message):
    with pytest.raises(EvaluationError, match=message):
        measure_verdicts(result_of(scores, **changes))


def test_scores_of_two_checkpoints_are_refused():
    runs = [result_of(draw(60)), result_of(draw(60), weights_sha256="b" * 64)]
    with pytest.raises(EvaluationError, match="different weights"):
        measure_verdicts(runs)


def make_model(folder: Path) -> Path:
    """A model folder with the weights that made the scores."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


def write_run(folder: Path, scores) -> Path:
    folder.mkdir()
    (folder / "scores-00000.jsonl").write_bytes(b"".join(score.to_line() for score in scores))
    (folder / "run.json").write_text(json.dumps(RUN))
    return folder


def test_the_command_writes_bands_and_card_and_prints_the_rates(tmp_path, capsys):
    model = make_model(tmp_path / "model")
    (model / "README.md").write_text("# Card\n\n## Verdicts\n\nold\n\n## Limits\n\nkept\n")
    run = write_run(tmp_path / "run", draw(120))
    command = ["evaluate", "--scores", str(run), "--verdict", str(model), "--bootstrap", "0"]
    assert main([*command, "--json"]) == 0
    bands, printed = read_bands(model), capsys.readouterr()
    assert json.loads(printed.out)["verdicts"]["people"] == bands.people == 120
    assert f"verdict bands written to {model / 'verdict.json'} and the model card\n" in printed.err
    card = (model / "README.md").read_text()
    assert bands.sentence in card
    assert "old" not in card
    assert card.endswith("## Limits\n\nkept\n")
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "not seen in training" in printed.out
    assert "in place of those that were there" in printed.err


def test_a_card_that_is_not_utf8_is_named_before_bands_are_written(tmp_path):
    (make_model(tmp_path) / "README.md").write_bytes("# Modèle".encode("latin-1"))
    with pytest.raises(TermsError, match=r"README\.md: the model card is not UTF-8"):
        write_verdicts(result_of(draw(60)), tmp_path)
    assert read_bands(tmp_path) is None


def two_sources(folder: Path) -> Path:
    for name in ("a", "b"):
        (folder / f"{name}.mp4").write_bytes(b"video")
    (folder / "list.csv").write_text("path,label,dataset\na.mp4,real,a\nb.mp4,fake,b\n")
    return folder / "list.csv"


def test_an_evaluation_writes_the_bands_of_what_it_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deepfake_video.evaluation.evaluator.evaluate", lambda *_, **__: result_of(draw(60)))
    model = make_model(tmp_path / "model")
    words = ["evaluate", str(two_sources(tmp_path)), "--model", str(model), "--verdict", str(model)]
    assert main([*words, "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"]["people"] == read_bands(model).people == 60


@pytest.mark.parametrize(
    ("verdict", "options", "message"),
    [
        ("mistyped", [], "not a model folder"),
        ("empty", [], "not a model folder"),
        ("model", ["--model", "other"], "one model"),
        ("other", [], "its weights are not those"),
        ("model", ["--dataset", "folder"], "at least two sources"),
        ("model", ["--layout", "csv"], "at least two sources"),
    ],
)
def test_verdicts_that_cannot_be_measured_are_refused_before_anything_is_scored(
    tmp_path, monkeypatch, capsys, verdict, options, message
):
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "model")
    (make_model(tmp_path / "other") / "model.safetensors").write_bytes(b"others")
    (tmp_path / "empty").mkdir()
    data = two_sources(tmp_path)
    if "--layout" in options:
        rows = "a.mp4,real,Celeb-DF-v2\nb.mp4,fake,Celeb-DF++\n"
        data.write_text(f"path,label,dataset\n{rows}")
    elif "--dataset" in options:
        (tmp_path / "one/real").mkdir(parents=True)
        (tmp_path / "one/real/a.mp4").write_bytes(b"video")
        data = tmp_path / "one"
    monkeypatch.setattr("deepfake_video.evaluation.evaluator.evaluate", lambda *_, **__: pytest.fail("scored"))
    assert main(["evaluate", str(data), "--model", "model", "--verdict", verdict, *options]) == 2
    assert message in capsys.readouterr().err


def test_other_weights_than_those_of_several_files_are_refused_before_anything_is_scored(
    tmp_path, monkeypatch, capsys
):
    model = Path(save_model(tmp_path / "model", 1))
    DeepfakeForVideoClassification.from_pretrained(model).save_pretrained(model, max_shard_size="700KB")
    (model / "model.safetensors").unlink(missing_ok=True)
    assert len(list(model.glob("*.safetensors"))) > 1
    other = make_model(tmp_path / "other")
    monkeypatch.setattr("deepfake_video.evaluation.evaluator.evaluate", lambda *_, **__: pytest.fail("scored"))
    words = ["evaluate", str(two_sources(tmp_path)), "--model", str(model), "--device", "cpu"]
    assert main([*words, "--verdict", str(other)]) == 2
    assert "its weights are not those" in capsys.readouterr().err


def test_tables_are_printed_and_written_even_if_the_verdicts_fail(tmp_path, capsys):
    (make_model(tmp_path / "model") / "model.safetensors").write_bytes(b"others")
    run, output = write_run(tmp_path / "run", draw(60)), tmp_path / "tables"
    words = ["evaluate", "--scores", str(run), "--verdict", str(tmp_path / "model"), "--output", str(output)]
    assert main([*words, "--bootstrap", "0", "--plots", "none"]) == 2
    printed = capsys.readouterr()
    assert "its weights are not those" in printed.err
    assert "all videos" in printed.out
    assert (output / "table.txt").is_file()


def test_bands_are_not_written_beside_other_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(EvaluationError, match="its weights are not those"):
        write_verdicts(result_of(draw(60)), tmp_path)
    assert read_bands(tmp_path) is None


def test_bands_are_not_written_beside_another_preprocessing_or_calibration(tmp_path):
    model = Path(save_model(tmp_path / "model", 1))
    run = {"weights_sha256": hash_files([model / "model.safetensors"])}
    detector = Detector([str(model)], settings=ScanSettings(num_frames=7, engine="torch"))
    run |= {"function": describe_setup(detector.models, detector.settings), "num_frames": [7]}
    assert write_verdicts(result_of(draw(60), **run), model).function is not None
    assert Detector([str(model)], settings=detector.settings).rule.bands is not None
    for name, change, reason in (
        ("video_preprocessor_config.json", {"channel_order": "bgr"}, "channel order rgb, not with bgr"),
        ("config.json", {"temperature": 2.0}, "different calibration"),
    ):
        before = (model / name).read_text()
        (model / name).write_text(json.dumps({**json.loads(before), **change}))
        with pytest.raises(EvaluationError, match=f"{reason}; evaluate this folder first"):
            write_verdicts(result_of(draw(60), **run), model)
        rule = Detector([str(model)], settings=detector.settings).rule
        assert rule.bands is None
        assert reason in rule.absence
        (model / name).write_text(before)


def test_people_of_two_data_sets_in_one_file_stay_two_people():
    plan = EvaluationPlan(resamples=20)
    first = [
        score(f"{source}{i}", 0.1 + i / 20, is_fake=i > 2, source=source, identities=(f"{i % 3}",))
        for source in "ab"
        for i in range(6)
    ]
    second = [replace(one, key=f"c{one.key}", dataset="c") for one in first[:6]]
    alone = {"mine": result_of(first), "c": result_of(second)}
    joined = join_results(alone, plan)
    assert joined.rows[0].num_clusters == 9
    bands = measure_verdicts(joined)
    assert (bands.people, bands.sources) == (9, ("a", "b", "c"))


@pytest.mark.parametrize(("source", "other"), [("mine", "mine"), ("Celeb-DF-v2", "Celeb-DF++")])
def test_the_same_people_in_two_data_sets_are_one_cluster_each(source, other, tmp_path):
    plan = EvaluationPlan(resamples=20)
    scores = [score(f"{i}", 0.1 + i / 20, is_fake=i > 5, source=source, identities=(f"p{i}",)) for i in range(12)]
    copies = [replace(one, key=f"copy-{one.key}", dataset=other) for one in scores]
    joined = join_results({"c23": result_of(scores), "c40": result_of(copies)}, plan)
    assert joined.rows[0].num_clusters == 12
    # Also where the joined table is read again.
    write_csv_scores(joined.scores, tmp_path / "joined.csv")
    assert rescore(tmp_path / "joined.csv", plan=plan).rows[0].num_clusters == 12


def test_a_column_of_another_tool_does_not_rename_people(tmp_path):
    rows = [f"{i}.mp4,{'fake' if i % 2 else 'real'},{i / 24},p{i % 6},site-{i}" for i in range(24)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,fake_probability,group,source", *rows]))
    assert rescore(tmp_path / "t.csv", plan=EvaluationPlan(resamples=20)).rows[0].num_clusters == 6


def part_of(place: str, name: str, scores, **changes):
    """The result of one data set that lies in a place."""
    return replace(result_of(scores, dataset=place, **changes), name=name)


def test_data_sets_with_the_name_of_their_folder_are_as_many_sources_as_places():
    plan, scores = EvaluationPlan(resamples=0), draw(60, sources=["videos"])
    places = {"ff": "/a/videos", "celeb": "/b/videos"}
    runs = {name: part_of(place, "", scores, derived_name="videos") for name, place in places.items()}
    runs["x"] = part_of("/c/third.csv", "", draw(60, sources=["third"]), derived_name="third")
    bands = measure_verdicts(join_results(runs, plan))
    assert (bands.people, bands.sources) == (180, ("celeb", "ff", "third"))
    # Without names of their own they are numbered, and the same place is the same data set.
    again = [part_of(place, "", scores, derived_name="videos") for place in (*places.values(), "/a/videos")]
    assert measure_verdicts(again).sources == ("videos (1)", "videos (2)")
    assert measure_verdicts(again).people == 120


def test_a_data_set_that_is_named_in_several_lists_is_one():
    scores = draw(60, sources=["FaceForensics++", "Celeb-DF-v2"])
    runs = [part_of(f"/lists/{name}.csv", name, scores, derived_name=None) for name in ("ff-c23", "ff-crf40")]
    bands = measure_verdicts(runs)
    assert (bands.people, bands.sources) == (60, ("Celeb-DF-v2", "FaceForensics++"))


def test_a_list_whose_column_repeats_its_file_name_names_its_data_set():
    runs = [
        part_of(f"/{copy}/celeb.csv", copy, draw(60, sources=["celeb", "ff"]), derived_name=None)
        for copy in ("c23", "c40")
    ]
    assert measure_verdicts(runs).people == 60


@pytest.mark.parametrize("media", ["image", "faces"])
def test_photos_and_cropped_faces_do_not_count(media):
    pictures = [replace(one, key=f"{one.key}.png", media=media) for one in draw(60)]
    videos = [replace(one, key=f"{one.key}.mp4", dataset=f"{one.dataset}, videos", media="video") for one in draw(60)]
    with pytest.raises(EvaluationError, match="verdict bands are for videos"):
        measure_verdicts(result_of(pictures))
    bands, alone = (
        measure_verdicts([result_of(pictures), result_of(videos)]),
        measure_verdicts(result_of(videos)),
    )
    assert (bands.people, bands.low, bands.high) == (60, alone.low, alone.high)
    assert "120 photos or pictures of cropped faces left out, because verdicts are for videos" in bands.notes


def test_verdicts_of_saved_scores_follow_the_split(tmp_path):
    make_model(tmp_path / "model")
    folders = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        scores = [
            replace(one, key=f"{split} {one.key}", split=split, dataset=name, identities=(f"{split} {one.key}",))
            for split in ("train", "test")
            for one in draw(60)
        ]
        (folder / "scores-00000.jsonl").write_bytes(b"".join(one.to_line() for one in scores))
        (folder / "run.json").write_text(json.dumps(RUN))
        folders.append(str(folder))
    words = ["evaluate", "--scores", *folders, "--split", "test", "--verdict", str(tmp_path / "model")]
    assert main([*words, "--bootstrap", "0"]) == 0
    assert json.loads((tmp_path / "model" / "verdict.json").read_text())["people"] == 120
