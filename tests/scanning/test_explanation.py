# SPDX-License-Identifier: Apache-2.0
"""`explain`: the sentences about a result, and the files it reads."""

import functools
import io
import json
import math
import operator
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from deepfake_video import DeepfakeConfig
from deepfake_video.cli import main
from deepfake_video.configuration_deepfake import TEMPERATURE_RANGE
from deepfake_video.scanning import results
from deepfake_video.scanning.explanation import explain
from deepfake_video.scanning.results import (
    UNTRAINED_WARNING,
    FaceResult,
    FrameRule,
    FrameScore,
    ModelIdentity,
    NotJudged,
    TimelineEntry,
    VerdictLimits,
    VideoResult,
)


SCHEMA = json.loads((Path(results.__file__).parent / "result.schema.json").read_text(encoding="utf-8"))


def frames(track_id: int | None, *probabilities: float) -> list[FrameScore]:
    return [
        FrameScore(
            model=0,
            track_id=track_id,
            index=number,
            time_s=float(number),
            fake_probability=probability,
            weight=1 / len(probabilities),
        )
        for number, probability in enumerate(probabilities)
    ]


RESULT = VideoResult(
    path="videos/clip.mp4",
    status="ok",
    label="fake",
    fake_probability=0.6,
    threshold=0.5,
    duration_s=75.0,
    frames_analyzed=4,
    face_coverage=0.9,
    faces=[
        FaceResult(track_id=0, fake_probability=0.2, coverage=0.9, first_s=0.0, last_s=70.0),
        FaceResult(track_id=1, fake_probability=0.6, coverage=0.5, first_s=3.0, last_s=9.0),
        FaceResult(track_id=2, fake_probability=0.9, coverage=0.1, first_s=3.0, last_s=4.0),
    ],
    decisive_track_id=1,
    frames=[*frames(0, 0.2, 0.2, 0.2, 0.2), *frames(1, 0.9, 0.8, 0.4, 0.3)],
    frame_rules=[FrameRule(aggregation="mean-probability", temperature=1.0)],
    timeline=[
        TimelineEntry(start_s=3.0, end_s=5.0, fake_probability=0.8, track_id=1),
        TimelineEntry(start_s=20.0, end_s=22.0, fake_probability=0.1, track_id=7),
    ],
    settings={"face_aggregation": "max"},
    model=ModelIdentity(id="m"),
)


def section(result: VideoResult, heading: str) -> str:
    return " ".join(dict(explain(result))[heading])


def test_it_begins_with_the_verdict_and_its_reason():
    result = replace(RESULT, verdict="undecided", verdict_reason="the score lies between the bands")
    heading, sentences = explain(result)[0]
    assert (heading, sentences[0], sentences[-1]) == ("Verdict", "Undecided.", "The score lies between the bands.")


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("likely fake", "a reason to examine the video, not proof"),
        ("undecided", "the video may be real or manipulated"),
        ("likely real", "This does not show that the video is real"),
    ],
)
def test_what_a_verdict_means_does_not_depend_on_the_label(verdict, said):
    for label in ("fake", "real"):
        assert said in section(replace(RESULT, verdict=verdict, label=label), "Verdict")


def test_it_names_the_face_that_decided_and_the_one_that_does_not_count():
    text = section(RESULT, "Which face")
    assert "3 faces were found" in text
    assert "the highest score, that of face 2." in text
    assert (
        "Face 3 has a score of 0.90; it was seen at 0:03.0–0:04.0 and detected in 10% of the sampled frames; it does "
        "not count" in text
    )


def test_times_are_as_accurate_as_the_longest_window_is_long():
    # A film of two hours at 25 frames per second: at most 4,000 frames are 1.8 s apart, and a window has 12 of them.
    film = [TimelineEntry(start_s=0.0, end_s=21.6, fake_probability=0.8, track_id=1), *RESULT.timeline]
    assert "Its times are accurate to about 2.0 s, the length of its longest window." in section(RESULT, "When")
    assert "accurate to about 21.6 s" in section(replace(RESULT, timeline=film), "When")


ENSEMBLE = replace(RESULT, frame_rules=[FrameRule(aggregation="mean-probability", temperature=1.0)] * 2)


def test_the_score_of_an_ensemble_is_the_mean_of_its_models():
    # One model gives two faces 0.9 and 0.1, the other 0.1 and 0.9: the score is 0.9, though the mean of each is 0.5.
    faces = [replace(face, fake_probability=0.5, coverage=0.9) for face in RESULT.faces[:2]]
    result = replace(ENSEMBLE, fake_probability=0.9, faces=faces, decisive_track_id=None)
    text = section(result, "Which face")
    assert "The score of the video is the mean of the scores of 2 models." in text
    assert "highest" not in text
    assert "--face-aggregation" not in section(result, "What would change the result")


def test_an_ensemble_names_the_face_that_decided_in_every_model():
    text = section(ENSEMBLE, "Which face")
    assert "the mean of the scores of 2 models, in each of which face 2 decided." in text
    assert "does not count" not in text


def test_it_counts_the_frames_behind_the_score():
    text = section(RESULT, "Which frames")
    assert "4 frames sampled from the video (length 75.0 s)" in text
    assert "2 of 4 frames are at or above the threshold. The highest is 0.90 at 0:00." in text


def test_it_says_when():
    assert "1 part of the timeline reaches the threshold. The highest is 0:03.0–0:05.0 (face 2) with 0.80." in section(
        RESULT, "When"
    )
    assert "`--timeline` adds it" in section(replace(RESULT, timeline=[]), "When")


def test_the_accuracy_of_the_times_is_said_below_the_threshold_too():
    text = section(replace(RESULT, threshold=1.0), "When")
    assert "No part of the timeline reaches the threshold. The highest window is 0:03.0–0:05.0" in text
    assert "accurate to about 2.0 s" in text


@pytest.mark.parametrize(("end_s", "of_whole"), [(80.0, " of 80.0 s"), (None, "")])
def test_the_length_of_an_incomplete_file_is_that_of_its_readable_part(end_s, of_whole):
    missing = NotJudged(start_s=75.0, end_s=end_s, reason="cut_off")
    text = section(replace(RESULT, not_judged=[missing]), "Which frames")
    assert f"4 frames sampled from the readable 75.0 s{of_whole}." in text


def test_it_says_what_was_not_judged():
    text = section(RESULT, "What was not examined")
    assert "No face was found in 10% of the sampled frames" in text
    assert "does not include face 8, found only by the timeline" in text


def test_it_says_what_would_change_the_label():
    text = section(RESULT, "What would change the result")
    assert "At a threshold above 0.60, the label would be real." in text
    # The mean of 0.2 and 0.6, the faces that count.
    assert "`--face-aggregation mean` would give 0.40 and the label real." in text
    assert "`--face-aggregation main` would give 0.20 and the label real." in text
    # The mean of 0.8, 0.4 and 0.3 is 0.5, still at the threshold; that of 0.4 and 0.3 is below it.
    assert "Without its 2 highest-scoring frames" in text


@pytest.mark.parametrize(
    ("probability", "said"),
    [
        (0.187, "at or below 0.18,"),
        (0.29, "at or below 0.29,"),
        (3e-9, "at or below 0.000000003,"),
        (0.0, "at or below 0,"),
        (0.713, "above 0.72,"),
        (0.9967, "above 0.997,"),
        (0.9999999985, "above 0.999999999,"),
    ],
)
def test_the_threshold_of_the_other_label_is_rounded_to_the_side_where_this_is_true(probability, said):
    label = "fake" if probability >= 0.5 else "real"
    text = section(replace(RESULT, label=label, fake_probability=probability), "What would change the result")
    assert f"At a threshold {said} the label would be" in text


def test_no_threshold_gives_the_highest_score_another_label():
    assert "threshold above" not in section(replace(RESULT, fake_probability=1.0), "What would change the result")


def test_the_calibration_of_a_model_is_part_of_what_frames_would_change():
    """The mean of the calibrated logits: 1.0, 1.0 and -1.5 is above zero, 1.0 and -1.5 is below."""
    logits = [1 / (1 + math.exp(-value)) for value in (1.0, 1.0, -1.5)]
    rule = FrameRule(aggregation="mean-logit", temperature=2.0, fake_bias=0.3)
    result = replace(RESULT, frames=frames(1, *logits), frame_rules=[rule])
    assert "Without its highest-scoring frame, the decisive face" in section(result, "What would change the result")


def test_frames_of_a_recurrent_model_are_not_claimed_to_add_up():
    rule = FrameRule(aggregation=None, temperature=1.0)
    assert "Without its" not in section(replace(RESULT, frame_rules=[rule]), "What would change the result")


def test_a_score_just_below_the_threshold_is_not_rounded_onto_it():
    text = section(replace(RESULT, label="real", fake_probability=0.4996), "Label")
    assert "its fake probability of 0.4996 is below the threshold of 0.5" in text


def test_random_weights_explain_nothing():
    text = section(replace(RESULT, warnings=[UNTRAINED_WARNING]), "Label")
    assert "meaningless" in text
    assert "labelled" not in text


@pytest.mark.parametrize(
    "status", ["no_face", "decode_error", "unsupported", "too_large", "not_found", "unreadable", "timeout"]
)
def test_a_failure_says_what_would_help_and_names_no_score(status):
    failed = VideoResult(
        path="a.mp4", status=status, threshold=None, message="a.mp4: bad\x1b[1m", settings={}, model=RESULT.model
    )
    text = " ".join(sentence for _, sentences in explain(failed) for sentence in sentences)
    assert "There is no score" in text
    assert dict(explain(failed))["What would change the result"]
    assert "\x1b" not in text


# PowerShell 5 redirects the output of a program to a file in UTF-16, others put a mark before UTF-8.
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["one", "array", "lines"])
def test_the_command_reads_every_form_that_predict_writes(form, encoding, tmp_path, capsys):
    one = RESULT.to_json()
    content = {"one": one, "array": f"[{one},\n{one}]", "lines": f"{one}\n{one}\n"}[form]
    (tmp_path / "r.json").write_text(content, encoding=encoding)
    assert main(["explain", str(tmp_path / "r.json")]) == 0
    out = capsys.readouterr().out
    assert out.count("videos/clip.mp4\n  Verdict\n") == (1 if form == "one" else 2)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    "change", [{"verdict": "bogus"}, {"status": "bogus"}, {"fake_probability": "high"}, {"new": 1}]
)
def test_a_result_with_an_unknown_value_is_refused_in_one_sentence(change, tmp_path, capsys):
    (tmp_path / "r.json").write_text(json.dumps({**RESULT.to_dict(), **change}))
    assert main(["explain", str(tmp_path / "r.json")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


# The same result with a value in every field and entry that it may have.
FULL = replace(
    RESULT,
    media="video",
    verdict="undecided",
    verdict_reason="no error rates were measured for this checkpoint",
    verdict_limits=VerdictLimits(low=0.2, high=0.9),
    bits_per_pixel=0.1,
    faces=[replace(face, size_px=120.0) for face in RESULT.faces],
    not_judged=[NotJudged(start_s=3.0, end_s=4.0, reason="other_stream", stream=1)],
)
ODD_VALUES = [None, "x", "\ud800", True, [], [[]], {}]
ODD_NUMBERS = [-1, 5, 7.5, 1e29, 1e308, math.inf, 2**53, 2**70, 10**400, 10**4299]


@pytest.mark.parametrize("value", [*ODD_VALUES, *ODD_NUMBERS], ids=lambda value: repr(value)[:12])
def test_an_edited_value_is_explained_or_refused_in_one_sentence(value, tmp_path, capsys):
    file, written = tmp_path / "r.json", FULL.to_json()
    for *inner, last in _places(json.loads(written)):
        edited = json.loads(written)
        functools.reduce(operator.getitem, inner, edited)[last] = value
        file.write_text(json.dumps(edited))
        code, error = main(["explain", str(file)]), capsys.readouterr().err
        assert (code, len(error.splitlines())) in ((0, 0), (2, 1))
        if inner == ["frames", 0] and last == "time_s":
            assert code == (0 if type(value) in (int, float) and 0 <= value <= 1e30 else 2)


@pytest.mark.parametrize("value", [-1, 1, 7.5, 1e29, 1e308, 2**53], ids=repr)
def test_the_schema_states_the_same_ranges_of_numbers(value):
    for *inner, last in _places(json.loads(FULL.to_json())):
        edited = json.loads(FULL.to_json())
        parent = functools.reduce(operator.getitem, inner, edited)
        if type(parent[last]) not in (int, float):
            continue
        parent[last] = value
        try:
            VideoResult.from_dict(edited)
        except ValueError:
            is_read = False
        else:
            is_read = True
        assert is_read == jsonschema.Draft202012Validator(SCHEMA).is_valid(edited), (*inner, last)


def test_the_calibration_of_every_model_can_be_read():
    for bound in TEMPERATURE_RANGE:
        rule = FrameRule(aggregation="mean-logit", temperature=bound, fake_bias=-1e4)
        result = replace(FULL, frame_rules=[rule])
        assert VideoResult.from_dict(result.to_dict()) == result
        DeepfakeConfig(temperature=bound, fake_bias=-1e4)


def test_frames_without_weight_change_nothing():
    result = replace(RESULT, frames=[replace(frame, weight=0.0) for frame in RESULT.frames])
    assert "Without its" not in section(result, "What would change the result")


def _places(value, keys=()):
    """The keys that lead to each value, the first one of every list."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, entry in inner:
        yield (*keys, key)
        yield from _places(entry, (*keys, key))


def test_the_folder_of_a_run_stands_for_its_results(tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text(f"{RESULT.to_json()}\n", encoding="utf-8")
    assert main(["explain", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("  Verdict\n") == 1


@pytest.mark.parametrize("first", ["results.jsonl", "results-2.jsonl"])
def test_the_folder_of_a_killed_run_includes_what_its_other_processes_stored(first, tmp_path, capsys):
    main_file, part = tmp_path / first, tmp_path / "results-1.jsonl"
    main_file.write_text(f"{RESULT.to_json()}\n", encoding="utf-8")
    other = replace(RESULT, path="videos/other.mp4").to_json()
    part.write_text(f"{RESULT.to_json()}\n{other}\n{other[:40]}", encoding="utf-8")
    assert main(["explain", str(tmp_path)]) == 0
    out, error = capsys.readouterr()
    paths = [line for line in out.splitlines() if line.startswith("videos/")]
    assert sorted(paths) == ["videos/clip.mp4", "videos/other.mp4"]
    assert error == f"{part}: the last line is incomplete; 1 line was left out\n"


@pytest.mark.parametrize("torn", [1, 40, -1])
def test_an_incomplete_last_line_of_a_run_is_left_out_and_said(torn, tmp_path, capsys):
    line = RESULT.to_json()
    (tmp_path / "results.jsonl").write_text(f"{line}\n{line[:torn]}", encoding="utf-8")
    assert main(["explain", str(tmp_path)]) == 0
    out, error = capsys.readouterr()
    assert out.count("  Verdict\n") == 1
    assert error == f"{tmp_path / 'results.jsonl'}: the last line is incomplete; 1 line was left out\n"


def test_a_run_without_a_complete_line_has_no_results(tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text(RESULT.to_json()[:40], encoding="utf-8")
    assert main(["explain", str(tmp_path)]) == 2
    assert "contains no results" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_standard_input_is_read_like_a_file(encoding, monkeypatch, capsys):
    written = replace(RESULT, path="é.mp4").to_json().encode(encoding)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written), encoding="cp1252"))
    assert main(["explain", "-"]) == 0
    assert capsys.readouterr().out.startswith("é.mp4\n  Verdict\n")


def test_a_file_name_with_a_line_separator_does_not_end_a_line(tmp_path, capsys):
    line = replace(RESULT, path="a\u2028b\x85.mp4").to_json()
    (tmp_path / "r.jsonl").write_text(f"{line}\n{RESULT.to_json()}\n", encoding="utf-8")
    assert main(["explain", str(tmp_path / "r.jsonl")]) == 0
    assert capsys.readouterr().out.count("  Verdict\n") == 2


@pytest.mark.parametrize("content", ["", "[]", "3", '{"a": 1}', "no json", "[[]]", "[" * 100_000])
def test_any_other_file_is_one_sentence(content, tmp_path, capsys):
    (tmp_path / "r.json").write_text(content)
    assert main(["explain", str(tmp_path / "r.json")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "r.json" in error


def test_a_video_is_chosen_by_its_name(tmp_path, capsys):
    other = replace(RESULT, path="videos/other.mp4").to_json()
    (tmp_path / "r.jsonl").write_text(f"{RESULT.to_json()}\n{other}\n", encoding="utf-8")
    assert main(["explain", str(tmp_path / "r.jsonl"), "--video", "other.mp4"]) == 0
    assert "clip.mp4" not in capsys.readouterr().out
    assert main(["explain", str(tmp_path / "r.jsonl"), "--video", "third.mp4"]) == 2


def test_the_number_of_a_wrong_schema_is_said(tmp_path, capsys):
    (tmp_path / "r.json").write_text(json.dumps({**RESULT.to_dict(), "schema_version": 99}))
    assert main(["explain", str(tmp_path / "r.json")]) == 2
    assert "schema version 99" in capsys.readouterr().err
