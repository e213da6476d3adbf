# SPDX-License-Identifier: Apache-2.0
"""The score computed again from what is shown: the JSON of a result, and the rule in the README and the schema."""

import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from deepfake_video.scanning import results
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.framewise import average_by_frame, list_frames
from deepfake_video.scanning.settings import ScanSettings
from drawn_faces import FPS, save_tiny_model, write_people


SCHEMA = json.loads((Path(results.__file__).parent / "result.schema.json").read_text(encoding="utf-8"))
FRAMES = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 1024}


def logit(probability):
    return math.log(probability / (1 - probability))


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def score_of(result, track_id):
    """The rule of the README, applied to what stands in the JSON."""
    scores = []
    for model, rule in enumerate(result["frame_rules"]):
        frames = [f for f in result["frames"] if (f["model"], f["track_id"]) == (model, track_id)]
        assert sum(frame["weight"] for frame in frames) == pytest.approx(1)
        if rule["aggregation"] == "mean-logit":
            margin = sum(frame["weight"] * logit(frame["fake_probability"]) for frame in frames)
        else:
            temperature, bias = rule["temperature"], rule["fake_bias"]
            before = [sigmoid(temperature * (logit(frame["fake_probability"]) - bias)) for frame in frames]
            mean = sum(frame["weight"] * p for frame, p in zip(frames, before, strict=True))
            margin = logit(mean) / temperature + bias
        scores.append(sigmoid(margin))
    return sum(scores) / len(scores)


def recompute(result):
    if not result["faces"]:
        return score_of(result, None)
    scores = {
        face["track_id"]: score_of(result, face["track_id"])
        for face in result["faces"]
        if face["track_id"] == 0 or face["coverage"] >= 0.25
    }
    for face in result["faces"]:
        assert face["fake_probability"] == pytest.approx(score_of(result, face["track_id"]), abs=1e-6)
    rule = result["settings"]["face_aggregation"]
    return {"max": max(scores.values()), "main": scores[0], "mean": sum(scores.values()) / len(scores)}[rule]


def judge(video, models, **settings):
    result = Detector(models, device="cpu", settings=ScanSettings(**settings)).score(video)
    content = json.loads(result.to_json())
    jsonschema.validate(content, SCHEMA)
    return content


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    options = {
        "mean-logit": {**FRAMES, "frame_aggregation": "mean-logit", "temperature": 1.7, "fake_bias": -0.4},
        "mean-probability": {**FRAMES, "frame_aggregation": "mean-probability", "temperature": 0.6, "fake_bias": 0.3},
        "recurrent": {},
    }
    return {
        name: save_tiny_model(folder / name, seed, **changes) for seed, (name, changes) in enumerate(options.items())
    }


@pytest.fixture(scope="module")
def two_people(tmp_path_factory) -> Path:
    return write_people(tmp_path_factory.mktemp("clips") / "two.mp4", seconds=2, people=2, tinted=(0.5, 1.0))


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """15 frames, of which a clip of 20 takes five twice."""
    return write_people(tmp_path_factory.mktemp("clips") / "short.mp4", seconds=15 / FPS)


@pytest.mark.parametrize("name", ["mean-logit", "mean-probability"])
def test_a_video_of_fewer_frames_than_a_clip_is_the_mean_of_those_listed(short, models, name):
    result = judge(short, [models[name]], num_frames=20)
    assert [len(result["frames"]), result["frames_analyzed"], result["face_coverage"]] == [15, 15, 1.0]
    assert sorted(round(20 * frame["weight"]) for frame in result["frames"]) == [1] * 10 + [2] * 5
    assert recompute(result) == pytest.approx(result["fake_probability"], abs=1e-6)
    assert [frame["time_s"] for frame in result["frames"]] == pytest.approx(np.arange(15) / FPS)


@pytest.mark.parametrize("aggregation", ["max", "mean", "main"])
def test_several_faces_and_an_ensemble(two_people, models, aggregation):
    both = [models["mean-logit"], models["mean-probability"]]
    result = judge(two_people, both, num_frames=8, face_aggregation=aggregation)
    assert len(result["faces"]) == 2
    assert recompute(result) == pytest.approx(result["fake_probability"], abs=1e-6)
    assert (result["decisive_track_id"] is None) == (aggregation == "mean")


def test_whole_frames(short, models):
    result = judge(short, [models["mean-logit"]], faces="none", num_frames=6)
    assert len(result["frames"]) == 6
    assert recompute(result) == pytest.approx(result["fake_probability"], abs=1e-6)


def test_the_frames_of_a_recurrent_model_are_listed_and_do_not_determine_the_score(short, models):
    result = judge(short, [models["recurrent"]], num_frames=6)
    assert [rule["aggregation"] for rule in result["frame_rules"]] == [None]
    assert len(result["frames"]) == result["frames_analyzed"] == 6


def test_the_packaged_checkpoint(two_people):
    result = judge(two_people, [], num_frames=6)
    assert recompute(result) == pytest.approx(result["fake_probability"], abs=1e-6)


def test_a_frame_that_fills_a_clip_has_the_weight_of_its_repetitions():
    frames = list_frames(0, 2, np.array([3, 3, 9]), np.array([0.0, 0.0, 100.0]), {3: 0.5, 9: 1.5})
    assert [(frame.index, frame.time_s, frame.fake_probability) for frame in frames] == [(3, 0.5, 0.5), (9, 1.5, 1.0)]
    assert [frame.weight for frame in frames] == pytest.approx([2 / 3, 1 / 3])


def test_a_frame_that_is_scored_twice_has_the_mean_of_its_scores():
    # Probabilities 1/2 and 3/4 of frame 3, and 7/8 of frame 9.
    margins = np.log([1.0, 3.0, 7.0])
    (first, second) = list_frames(0, None, np.array([3, 3, 9]), margins, {3: 0.5, 9: 1.5})
    assert [first.fake_probability, second.fake_probability] == pytest.approx([0.625, 0.875])
    indices, means, shares = average_by_frame(np.array([9, 3, 3]), np.array([1.0, 4.0, 8.0]))
    assert [indices.tolist(), means.tolist(), shares.tolist()] == [[3, 9], [6.0, 1.0], [2 / 3, 1 / 3]]
