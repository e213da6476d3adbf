# SPDX-License-Identifier: Apache-2.0
"""Scoring a data set: the score of `predict`, on one process or two, killed and continued, read ahead by workers."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import benchmark_trees as trees
import numpy as np
import pytest
import torch
from PIL import Image

from deepfake_video.cli import main
from deepfake_video.common.processes import ProcessGroup
from deepfake_video.evaluation import runner
from deepfake_video.evaluation.frame_scorer import FrameScorer
from deepfake_video.evaluation.sample_reading import ImageSequence, read_sample
from deepfake_video.evaluation.samples import EvaluationError, Sample
from deepfake_video.evaluation.scores import Score, ScoreLog, read_lines, read_scores, write_csv_scores
from deepfake_video.scanning.clip_reading import read_video
from deepfake_video.scanning.csv_table import COLUMNS
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.media import SEQUENCE_HINT
from deepfake_video.scanning.sample import draw_face, write_sample_video
from deepfake_video.scanning.scoring_model import ClipLogits
from deepfake_video.video_decoding import VideoDecodeError
from drawn_faces import save_tiny_model
from two_processes import run_in_two_processes


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [trees.save_model(folder / "one", 1), trees.save_model(folder / "two", 2)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Seven videos: no multiple of two."""
    return trees.make_folder(tmp_path_factory.mktemp("data"))


def command(data: Path, model: str, output: Path, *options: str) -> list[str]:
    fixed = ["--device", "cpu", "--workers", "0", "--bootstrap", "20", "--plots", "none", "--quiet"]
    return ["evaluate", str(data), "--model", model, "--output", str(output), *fixed, *options]


def scores_of(output: Path) -> dict[str, float | None]:
    return {score.key: score.fake_probability for score in read_scores(output)}


@pytest.fixture(scope="module")
def reference(data, models, tmp_path_factory) -> Path:
    """What an undisturbed run writes."""
    output = tmp_path_factory.mktemp("reference") / "run"
    assert main(command(data, models[0], output)) == 0
    return output


def as_sample(path: Path) -> Sample:
    return Sample(key=path.name, path=path, is_fake=False, dataset="d")


# --- the score ---


def test_a_video_has_the_score_that_predict_gives_it(tmp_path):
    path = write_sample_video(tmp_path / "a.mp4", num_frames=12)
    model = trees.save_model(tmp_path / "model", 3, do_crop_faces=True)
    scorer = FrameScorer([model], device="cpu")
    found = scorer.score_frames(read_sample(as_sample(path), scorer.processors, scorer.settings)).result
    assert found.fake_probability == Detector([model], device="cpu").score(path).fake_probability
    assert found.face_coverage is not None


def test_scores_differ_between_videos(reference):
    assert len(set(scores_of(reference).values())) == 7


def test_frames_say_what_the_network_says_of_them(data, models):
    scorer = FrameScorer([models[0]], device="cpu")
    video = read_video(data / "real/0.mp4", scorer.processors, scorer.settings)
    scored = scorer.score_frames(video)
    [clip], model = video.clips[0], scorer.models[0]
    inputs = model.processor(
        clip.frames, do_sample_frames=False, input_data_format="channels_last", return_tensors="pt"
    )
    with torch.inference_mode():
        expected = model.network(**inputs).frame_logits.softmax(-1)[0, :, model.fake_index]
    assert scored.frame_indices == clip.frame_indices.tolist()
    np.testing.assert_allclose(scored.frame_probabilities, expected, atol=1e-6)


def test_frames_of_a_list_of_images_are_spread_from_the_first_to_the_last(tmp_path, models):
    images = tuple(trees.put_images(tmp_path / "frames", 11))
    scorer = FrameScorer([models[0]], device="cpu")
    sample = Sample(key="a", path=tmp_path, is_fake=False, dataset="d", images=images)
    scored = scorer.score_frames(read_sample(sample, scorer.processors, scorer.settings))
    assert scored.frame_indices == [0, 3, 6, 10]


def test_a_face_image_that_the_camera_turned_scores_as_the_upright_one(tmp_path, models):
    scorer = FrameScorer([models[0]], device="cpu")
    # Orientation 6 of EXIF: a viewer turns the stored pixels by 90 degrees clockwise.
    exif, upright = Image.Exif(), draw_face(0.2)
    exif[0x0112] = 6
    Image.fromarray(upright).save(tmp_path / "upright.png")
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.rot90(upright)).save(tmp_path / "stored.png")
    found = {}
    for path in tmp_path.iterdir():
        sample = Sample(key=path.name, path=path, is_fake=False, dataset="d", images=(path,))
        scored = scorer.score_frames(read_sample(sample, scorer.processors, scorer.settings))
        found[path.stem] = scored.result.fake_probability
    assert found["turned"] == found["upright"] != found["stored"]


def test_a_frame_that_fills_up_a_short_video_counts_once(tmp_path, models):
    scorer = FrameScorer([models[0]], device="cpu")
    sample = Sample(
        key="a", path=tmp_path, is_fake=False, dataset="d", images=tuple(trees.put_images(tmp_path / "frames", 2))
    )
    scored = scorer.score_frames(read_sample(sample, scorer.processors, scorer.settings))
    assert (scored.frame_indices, len(scored.frame_probabilities)) == ([0, 1], 2)
    assert sum(scored.frame_weights) == pytest.approx(1)


def test_a_frame_that_is_scored_twice_has_the_mean_of_its_scores_as_in_predict(tmp_path, models, monkeypatch):
    scorer = FrameScorer([models[0]], device="cpu")
    images = tuple(trees.put_images(tmp_path / "frames", 2))
    sample = Sample(key="a", path=tmp_path, is_fake=False, dataset="d", images=images)
    video = read_sample(sample, scorer.processors, scorer.settings)
    assert video.clips[0][0].frame_indices.tolist() == [0, 0, 1, 1]
    # Fake probabilities 1/2, 3/4, 3/4 and 7/8 of the four frames of the clip, as a recurrent network may say.
    said = ClipLogits(np.zeros((1, 2)), np.log([[[1, 1], [1, 3], [1, 3], [1, 7]]]))
    monkeypatch.setattr(scorer, "clip_logits", lambda model, clips: said)
    scored = scorer.score_frames(video)
    assert scored.frame_probabilities == pytest.approx([0.625, 0.8125])
    assert [frame.fake_probability for frame in scored.result.frames] == scored.frame_probabilities
    assert scored.frame_weights == [0.5, 0.5]


def test_the_score_of_a_short_video_follows_from_its_frames_and_their_weights(tmp_path):
    choices = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 1024, "frame_aggregation": "mean-logit"}
    scorer = FrameScorer([save_tiny_model(tmp_path / "model", temperature=1.7, **choices)], device="cpu")
    images = tuple(trees.put_images(tmp_path / "frames", 3))
    sample = Sample(key="a", path=tmp_path, is_fake=False, dataset="d", images=images)
    settings = replace(scorer.settings, faces="none")
    scored = scorer.score_frames(read_sample(sample, scorer.processors, settings))
    p, w = np.array(scored.frame_probabilities), np.array(scored.frame_weights)
    assert sorted(w) == [0.25, 0.25, 0.5]
    margin = (w * np.log(p / (1 - p))).sum()
    assert scored.result.fake_probability == pytest.approx(1 / (1 + np.exp(-margin)), abs=1e-6)


def photos(folder: Path) -> Path:
    """A CSV file of two photos with one person each."""
    for name, position in (("real.jpg", 0.2), ("fake.png", 0.6)):
        Image.fromarray(draw_face(position)).save(folder / name)
    (folder / "photos.csv").write_text("path,label\nreal.jpg,real\nfake.png,fake\n")
    return folder / "photos.csv"


def test_a_photo_has_the_score_that_predict_gives_it(tmp_path):
    model = save_tiny_model(tmp_path / "model", recurrence="per-frame")
    for number, options in enumerate(([], ["--robustness", "--kind", "blur"])):
        output = tmp_path / f"run{number}"
        assert main(command(photos(tmp_path), model, output, "--photos", *options)) == 0
        clean = {score.key: score for score in read_scores(output) if score.corruption is None}
        for name in ("real.jpg", "fake.png"):
            expected = Detector([model], device="cpu").score(tmp_path / name)
            assert (clean[name].fake_probability, clean[name].face_coverage) == (expected.fake_probability, 1.0)
            assert clean[name].media == expected.media == "image"


def test_cropped_faces_and_photos_are_never_mixed_in_one_run(tmp_path, capsys):
    model = save_tiny_model(tmp_path / "model", recurrence="per-frame")
    assert main([*command(photos(tmp_path), model, tmp_path / "run"), "--json"]) == 0
    assert "2 pictures are taken as cropped faces; --photos" in capsys.readouterr().out
    assert main(command(tmp_path / "photos.csv", model, tmp_path / "run", "--photos")) == 2
    assert "layout" in capsys.readouterr().err


def test_a_photo_that_is_no_cropped_face_is_refused_unless_photos_are_asked_for(tmp_path):
    model = save_tiny_model(tmp_path / "model", recurrence="per-frame")
    photos(tmp_path)
    (tmp_path / "real.jpg").rename(tmp_path / "real.jfif")
    (tmp_path / "some.csv").write_text("path,label\nreal.jfif,real\nfake.png,fake\n")
    for output, options, status in (("faces", [], "unsupported"), ("photos", ["--photos"], "ok")):
        main(command(tmp_path / "some.csv", model, tmp_path / output, *options))
        score = {score.key: score for score in read_scores(tmp_path / output)}["real.jfif"]
        assert (score.status, "this is a photo; --photos" in (score.message or "")) == (status, not options)


def test_a_model_of_sequences_refuses_photos(tmp_path):
    model = save_tiny_model(tmp_path / "model", recurrence="sequence")
    assert main(command(photos(tmp_path), model, tmp_path / "run", "--photos")) == 1
    assert {score.message for score in read_scores(tmp_path / "run")} == {
        f"{tmp_path / name}: {SEQUENCE_HINT}" for name in ("real.jpg", "fake.png")
    }


def test_faces_are_not_searched_in_face_images(capsys, tmp_path):
    model = trees.save_model(tmp_path / "model", 1, do_crop_faces=True)
    root = trees.make_image_folder(tmp_path / "faces")
    assert main(command(root, model, tmp_path / "run")) == 0
    assert all(probability is not None for probability in scores_of(tmp_path / "run").values())


@pytest.mark.parametrize("ensemble", ["probabilities", "logits"])
def test_an_ensemble_averages_what_it_says(data, models, ensemble):
    path = data / "fake/2.mp4"
    scorers = [FrameScorer([model], device="cpu") for model in models]
    alone = [
        scorer.score_frames(read_video(path, scorer.processors, scorer.settings)).result.fake_probability
        for scorer in scorers
    ]
    both = FrameScorer(models, device="cpu", ensemble=ensemble)
    found = both.score_frames(read_video(path, both.processors, both.settings)).result.fake_probability
    odds = np.log(np.array(alone) / (1 - np.array(alone)))
    expected = np.mean(alone) if ensemble == "probabilities" else 1 / (1 + np.exp(-odds.mean()))
    assert found == pytest.approx(expected, abs=1e-5)
    assert abs(alone[0] - alone[1]) > 1e-3


@pytest.mark.parametrize("ensemble", ["probabilities", "logits"])
def test_the_result_of_an_ensemble_does_not_depend_on_what_was_scored_before(data, models, ensemble):
    scorer = FrameScorer(models, device="cpu", ensemble=ensemble)
    videos = [read_video(data / name, scorer.processors, scorer.settings) for name in ("fake/2.mp4", "real/0.mp4")]
    predictions = [scorer.predictions(video) for video in videos]
    combined = [scorer.combine(*pair).fake_probability for pair in zip(videos, predictions, strict=True)]
    assert combined == [scorer.score_frames(video).result.fake_probability for video in videos]
    assert combined[0] == scorer.score(data / "fake/2.mp4").fake_probability != combined[1]


def test_the_ensemble_and_its_mean_are_named(capsys, data, models, tmp_path):
    main([*command(data, models[0], tmp_path / "run"), "--model", models[1], "--ensemble", "logits"])
    assert "mean of the logits" in capsys.readouterr().out


# --- the output ---


def test_one_command_writes_table_json_scores_and_the_block_for_the_card(reference):
    assert {"table.txt", "metrics.json", "scores.csv", "model-index.yml", "run.json"} <= {
        file.name for file in reference.iterdir()
    }
    assert not list(reference.glob(".unfinished*"))


def test_the_table_is_what_was_printed(capsys, data, models, tmp_path):
    main(command(data, models[0], tmp_path / "run"))
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == (tmp_path / "run/table.txt").read_text().splitlines()


def test_saved_scores_give_the_same_table_without_a_video_or_model(monkeypatch, data, reference, tmp_path, capsys):
    monkeypatch.setattr(runner, "read_sample", None)
    monkeypatch.setattr("deepfake_video.evaluation.evaluator.FrameScorer", None)
    assert (
        main(["evaluate", "--scores", str(reference), "--bootstrap", "20", "--output", str(tmp_path / "again")]) == 0
    )
    assert (tmp_path / "again/table.txt").read_text() == (reference / "table.txt").read_text()


def test_what_is_missing_is_named_before_any_model_is_loaded(monkeypatch, capsys, tmp_path):
    root = trees.make_faceforensics(tmp_path / "data")
    gone = "manipulated_sequences/Face2Face/c23/videos/974_953.mp4"
    (root / gone).unlink()
    monkeypatch.setattr("deepfake_video.evaluation.evaluator.FrameScorer", _refuse)
    assert main(["evaluate", str(root)]) == 2
    assert gone in capsys.readouterr().err


def _refuse(*_: object, **__: object) -> None:
    raise EvaluationError("no model today")


def test_a_missing_and_a_broken_video_are_counted_and_listed_and_have_no_number(capsys, models, tmp_path):
    root = trees.make_faceforensics(tmp_path / "data")
    (root / "original_sequences/youtube/c23/videos/953.mp4").unlink()
    (root / "manipulated_sequences/FaceSwap/c23/videos/033_097.mp4").write_bytes(
        b"\x00\x00\x00\x18ftypisom" + bytes(99)
    )
    assert main([*command(root, models[0], tmp_path / "run"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [entry["status"] for entry in report["unscored"]] == ["decode_error", "not_found"]
    assert (report["rows"][0]["num_scored"], report["rows"][0]["coverage"]) == (18, 0.9)
    assert (
        sum(line["fake_probability"] is None for line in map(json.loads, (tmp_path / "run/scores-00000.jsonl").open()))
        == 2
    )


def test_a_checkpoint_with_random_weights_gets_no_block_for_the_card(capsys, data, tmp_path):
    model = trees.save_model(tmp_path / "model", 1, is_trained=False)
    main(command(data, model, tmp_path / "run"))
    assert "random weights" in capsys.readouterr().out
    assert not (tmp_path / "run/model-index.yml").exists()


@pytest.mark.parametrize(
    "options",
    [[], ["DATA", "--scores", "x"], ["DATA", "--workers", "-1"], ["--scores", "nowhere"], ["DATA", "--split", "val"]],
)
def test_wrong_usage_is_one_line_and_status_2(capsys, data, options):
    assert main(["evaluate", *(str(data) if option == "DATA" else option for option in options)]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("deepfake-video: ")


# --- killed and continued ---


def test_a_torn_last_line_is_no_result_and_is_scored_again(data, models, reference, tmp_path):
    output = tmp_path / "run"
    main(command(data, models[0], output))
    file = output / "scores-00000.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    main(command(data, models[0], output))
    assert (output / "table.txt").read_text() == (reference / "table.txt").read_text()
    assert len(read_lines(file)) == 7


def test_a_finished_run_reads_no_video_again(monkeypatch, data, models, tmp_path):
    main(command(data, models[0], tmp_path / "run"))
    monkeypatch.setattr(runner, "read_sample", None)
    assert main(command(data, models[0], tmp_path / "run")) == 0


def test_a_video_that_was_missing_is_tried_again(models, tmp_path):
    root = trees.make_folder(tmp_path / "data")
    (root / "list.csv").write_text("real/0.mp4,real\nfake/0.mp4,fake\nlate.mp4,fake\n")
    assert main(command(root / "list.csv", models[0], tmp_path / "run")) == 1
    trees.put_clip(root / "late.mp4")
    assert main(command(root / "list.csv", models[0], tmp_path / "run")) == 0


def test_a_folder_of_other_choices_is_refused(capsys, data, models, tmp_path):
    main(command(data, models[0], tmp_path / "run"))
    assert main(command(data, models[0], tmp_path / "run", "--frames", "3")) == 2
    assert "num_frames" in capsys.readouterr().err


@pytest.mark.parametrize("cut", range(1, 200, 23))
def test_a_log_cut_anywhere_goes_on_with_whole_lines(tmp_path, cut):
    file = tmp_path / "scores-0.jsonl"
    lines = [Score(key=key, label="real", dataset="d", fake_probability=0.5) for key in ("a", "ü", "c")]
    with ScoreLog(file) as log:
        for line in lines[:2]:
            log.append(line)
    content = file.read_bytes()
    file.write_bytes(content[:-cut])
    with ScoreLog(file) as log:
        log.append(lines[2])
    kept = [score.key for score in read_lines(file)]
    assert kept[-1] == "c"
    assert kept == ["a", "ü", "c"][-len(kept) :] or kept == ["a", "c"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    file = tmp_path / "scores-0.jsonl"
    file.write_bytes(b'{"key": "a"\n{"key": "b"}\n')
    with pytest.raises(EvaluationError, match="line 1"):
        read_lines(file)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("key", 5, "key: text is expected, got '5'"),
        ("dataset", None, "dataset: text is expected, got 'None'"),
        ("method", -1, "method: text or null is expected, got '-1'"),
        ("identities", "person", "identities: a list is expected, got 'person'"),
        ("face_px", 10**400, "face_px: a number or null of at least 0 is expected, got '1000"),
        ("face_coverage", 7.5, "face_coverage: a number or null from 0 to 1 is expected, got '7.5'"),
        ("num_faces", 1.5, "num_faces: an integer or null from 0 to 9007199254740991 is expected, got '1.5'"),
        ("frame_probabilities", [None], "frame_probabilities: a number is expected, got 'None'"),
        ("fake_probability", 7.5, "a probability must lie in [0, 1], got 7.5; is it a logit?"),
    ],
)
def test_a_wrong_value_of_a_saved_score_is_named(field, value, said, tmp_path, capsys):
    line = {"key": "a", "label": "real", "dataset": "d", "fake_probability": 0.5, field: value}
    (tmp_path / "scores-00000.jsonl").write_text(json.dumps(line) + "\n")
    assert main(["evaluate", "--scores", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "line 1: invalid score (" in error
    assert said in error


@pytest.mark.slow
def test_a_run_killed_ten_times_at_random_ends_with_the_same_table(data, models, reference, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["deepfake_video.evaluation.evaluator"])
    output, lines = tmp_path / "run", tmp_path / "run/scores-00000.jsonl"
    chance = random.Random(0)
    arguments = command(data, models[0], output, "--kind", "noise")
    whole = tmp_path / "whole"
    main(command(data, models[0], whole, "--kind", "noise"))
    for _ in range(10):
        before = lines.stat().st_size if lines.exists() else 0
        process = context.Process(target=main, args=(arguments,))
        process.start()
        deadline = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < deadline:
            if lines.exists() and lines.stat().st_size > before:
                time.sleep(chance.uniform(0, 0.05))
                break
            time.sleep(0.001)
        process.kill()
        process.join()
    assert main(arguments) == 0
    assert (output / "table.txt").read_text() == (whole / "table.txt").read_text()
    tasks = [score.task for score in read_lines(lines)]
    assert len(tasks) == len(set(tasks)) == 7 * 6


# --- several processes ---


def test_workers_read_what_the_main_process_reads(data, models, reference, tmp_path):
    assert main([*command(data, models[0], tmp_path / "run"), "--workers", "2"]) == 0
    assert scores_of(tmp_path / "run") == pytest.approx(scores_of(reference), abs=1e-6)


def test_two_processes_score_each_video_once_and_print_the_same_table(data, models, reference, tmp_path):
    printed = run_in_two_processes(*command(data, models[0], tmp_path / "run"))
    shares = [len(read_lines(file)) for file in sorted((tmp_path / "run").glob("scores-*.jsonl"))]
    assert sorted(shares) == [3, 4]
    assert scores_of(tmp_path / "run") == pytest.approx(scores_of(reference), abs=1e-6)
    assert [line.rstrip() for line in printed.splitlines()] == ((reference / "table.txt").read_text().splitlines())


def test_a_run_of_two_processes_is_continued_by_one(data, models, reference, tmp_path):
    output = tmp_path / "run"
    main(command(data, models[0], output))
    lines = (output / "scores-00000.jsonl").read_bytes().splitlines(keepends=True)
    (output / "scores-00000.jsonl").write_bytes(b"".join(lines[:2]))
    (output / "scores-00001.jsonl").write_bytes(b"".join(lines[4:6]) + lines[6][:10])
    main(command(data, models[0], output))
    assert (output / "table.txt").read_text() == (reference / "table.txt").read_text()
    assert len(read_lines(output / "scores-00000.jsonl")) == 7
    assert not (output / "scores-00001.jsonl").exists()


# --- the grid ---


def test_the_grid_repeats_with_its_seed_and_stands_in_the_table(data, models, tmp_path):
    for name in ("one", "two"):
        main(command(data, models[0], tmp_path / name, "--robustness", "--kind", "noise", "--kind", "resize"))
    one, two = (
        {score.task: score.fake_probability for score in read_scores(tmp_path / name)} for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 7 * 11
    table = (tmp_path / "one/table.txt").read_text()
    assert {"noise", "resize"} <= {line.split(" ")[0] for line in table.splitlines()}


def test_a_broken_video_is_unscored_in_every_cell_of_the_grid(models, tmp_path):
    root = trees.make_folder(tmp_path / "data", reals=1, fakes=1)
    (root / "fake/0.mp4").write_bytes(b"no video")
    assert main(command(root, models[0], tmp_path / "run", "--robustness", "--kind", "blur")) == 1
    failed = [score for score in read_scores(tmp_path / "run") if score.fake_probability is None]
    assert len(failed) == 6


# --- what goes wrong with one video ---


def test_an_unforeseen_error_of_one_video_is_a_row_and_the_run_goes_on(monkeypatch, data, models, tmp_path):
    def read(sample, *arguments):
        if sample.path.parts[-2:] == ("fake", "0.mp4"):
            raise ValueError("nobody thought of that")
        return read_sample(sample, *arguments)

    monkeypatch.setattr(runner, "read_sample", read)
    assert main(command(data, models[0], tmp_path / "run", "--kind", "noise")) == 1
    scores = read_scores(tmp_path / "run")
    failed = [score for score in scores if score.status != "ok"]
    assert (len(scores), len(failed)) == (7 * 6, 6)
    assert {score.status for score in failed} == {"decode_error"}
    assert all("ValueError: nobody thought of that" in score.message for score in failed)


class Deadly(type(Path())):
    """A path that ends the worker process which opens it, as a fault in a decoder would."""

    def __fspath__(self) -> str:
        if multiprocessing.parent_process() is not None:
            os._exit(9)
        return str(self)


def test_a_video_that_kills_its_worker_is_a_row_and_the_others_are_scored(data, models, tmp_path):
    paths = [data / "real/0.mp4", Deadly(data / "real/1.mp4"), data / "fake/0.mp4", data / "fake/1.mp4"]
    samples = [Sample(key=str(path), path=path, is_fake=False, dataset="d") for path in paths]
    scores = runner.score_samples(
        FrameScorer([models[0]], device="cpu"),
        runner.Work(samples=samples),
        processes=ProcessGroup("cpu"),
        folder=tmp_path / "run",
        description={},
        workers=1,
    )
    assert {score.key: score.status for score in scores} == {
        str(path): "unreadable" if isinstance(path, Deadly) else "ok" for path in paths
    }
    assert any("process that read it died" in (score.message or "") for score in scores)


def test_a_script_without_the_guard_of_its_workers_gets_one_error_and_no_scores(data, models, tmp_path):
    lines = f"""
        from deepfake_video import EvaluationPlan, evaluate
        evaluate({models[0]!r}, {str(data)!r}, output="run", plan=EvaluationPlan(workers=2))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(lines))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "EvaluationError: the worker processes ended before they began" in last
    assert "__main__" in last
    assert not (tmp_path / "run/scores-00000.jsonl").read_bytes()


def test_a_table_of_scores_is_harmless_and_reads_back(tmp_path):
    score = Score(key="=1+1.mp4", label="fake", dataset="@d", fake_probability=0.5, message="'-x")
    write_csv_scores([score], tmp_path / "scores.csv")
    assert "\n'=1+1.mp4," in (tmp_path / "scores.csv").read_text()
    assert read_scores(tmp_path / "scores.csv") == [score]


COMMAS = "path,label,fake_probability\na.mp4,real,0.25\nb.mp4,fake,0.9\n\nc.mp4,fake,\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scores.csv", COMMAS.encode()),
        ("SCORES.CSV", COMMAS.encode("utf-16")),
        ("scores.csv", COMMAS.replace(",real", ",0").replace(",fake,", ",1,").replace("label", "Label").encode()),
        ("scores.csv", COMMAS.replace(",", ";").replace("0.", "0,").encode("utf-8-sig")),
        ("scores.csv", b"sep=;\n" + COMMAS.replace(",", ";").replace("real", "0,0").encode()),
        ("scores.tsv", COMMAS.replace(",", "\t").encode()),
    ],
)
def test_a_table_of_scores_is_read_as_spreadsheets_write_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    read = [(score.key, score.label, score.fake_probability) for score in read_scores(tmp_path / name)]
    assert read == [("a.mp4", "real", 0.25), ("b.mp4", "fake", 0.9), ("c.mp4", "fake", None)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # A decimal comma in a table that is separated by commas: the score would be 0.
        ("path,label,fake_probability\na.mp4,fake,0,9\n", "line 2: .*more cells than the header"),
        # One row per frame: the score of the video would be that of its first frame.
        ("path,label,fake_probability\na.mp4,fake,0.9\na.mp4,fake,0.1\n", "line 3: .*is in line 2 already"),
        ("path,label,fake_probability\na.mp4,2,0.9\n", "line 2: .*must be real or fake, got '2'\\)\\.$"),
        ("path,label,fake_probability\n\na.mp4,,0.9\n", "line 3: .*must be real or fake, got ''"),
        # The labels are predictions, with which every score agrees.
        (f"{','.join(COLUMNS)}\na.mp4\n", "results of predict, whose labels are predictions"),
    ],
)
def test_a_table_of_scores_that_would_give_a_wrong_figure_is_refused(tmp_path, content, said):
    (tmp_path / "scores.csv").write_text(content)
    with pytest.raises(EvaluationError, match=said):
        read_scores(tmp_path / "scores.csv")


def test_results_of_predict_are_refused_as_lines_too(tmp_path):
    line = {"path": "a.mp4", "verdict": "undecided", "label": "fake", "fake_probability": 0.9, "threshold": 0.5}
    (tmp_path / "results.jsonl").write_text(f"{json.dumps(line)}\n")
    with pytest.raises(EvaluationError, match="results of predict, whose labels are predictions") as error:
        read_scores(tmp_path / "results.jsonl")
    assert "delete the line" not in str(error.value)


def test_a_program_that_is_called_a_picture_is_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.eps")
    (tmp_path / "0.eps").rename(tmp_path / "0.png")
    with pytest.raises(VideoDecodeError, match="cannot be read"):
        list(ImageSequence([tmp_path / "0.png"]).frames([0]))
