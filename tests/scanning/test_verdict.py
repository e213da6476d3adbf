# SPDX-License-Identifier: Apache-2.0
"""The verdict on a video: by measured bands only, corrected for the number of faces, and silent outside of them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clips import remux, write_truncated
from deepfake_video.scanning import detector as detector_module
from deepfake_video.scanning import timeline as timeline_module
from deepfake_video.scanning.device_batch import examine_on_device
from deepfake_video.scanning.results import FaceResult, NotJudged
from deepfake_video.scanning.verdict import NO_BANDS, VerdictRule, add_not_judged, find_rule
from deepfake_video.scanning.verdict_bands import Rate, VerdictBands, VerdictFileError, read_bands, write_bands
from drawn_faces import redness_detector, write_people


WEIGHTS = "a" * 64
SETTINGS = {"num_frames": 20, "faces": "auto", "face_aggregation": "max", "dtype": "float32"}
FUNCTION = {"configuration": {"pooling": "last"}, "preprocessing": {"image_mean": [0.5, 0.5, 0.5], "num_frames": 20}}
BANDS = VerdictBands(
    weights_sha256=WEIGHTS,
    temperature=1.5,
    fake_bias=-0.25,
    settings=SETTINGS,
    low=0.2,
    high=0.8,
    false_alarms=Rate(count=1, number=100, low=0.0003, high=0.0545),
    misses=Rate(count=4, number=50, low=0.02, high=0.19),
    undecided_real=Rate(count=20, number=100, low=0.12, high=0.29),
    undecided_fake=None,
    people=100,
    fakes=50,
    sources=("first", "second"),
    min_face_px=40.0,
    min_bits_per_pixel=0.02,
    function=FUNCTION,
)
OF_SCAN = {
    "weights_sha256": WEIGHTS,
    "temperature": 1.5,
    "fake_bias": -0.25,
    "settings": {**SETTINGS, "engine": "onnx"},
    "function": FUNCTION,
}


def face(probability: float, *, coverage: float = 1.0, size_px: float = 100.0) -> FaceResult:
    return FaceResult(
        track_id=0, fake_probability=probability, coverage=coverage, first_s=0.0, last_s=1.0, size_px=size_px
    )


@pytest.mark.parametrize(
    ("probability", "verdict"),
    [(0.81, "likely fake"), (0.8, "undecided"), (0.5, "undecided"), (0.2, "undecided"), (0.19, "likely real")],
)
def test_the_bands_divide_the_scores_in_three(probability, verdict):
    assert VerdictRule(bands=BANDS).decide(probability, [face(probability)]).verdict == verdict


def test_the_limits_of_a_verdict_are_those_that_decided_it():
    rule = VerdictRule(bands=BANDS)
    one, two = rule.decide(0.5, [face(0.5)]).limits, rule.decide(0.5, [face(0.5), face(0.1)]).limits
    assert (one.low, one.high) == pytest.approx((0.2, 0.8))
    assert (two.low, two.high) == pytest.approx((0.2, 8 / 9))
    assert VerdictRule(bands=None).decide(0.5).limits is None
    assert rule.decide_photo().limits is None


def test_several_faces_need_higher_odds():
    # Odds of 4 are the band for one face, odds of 8 for two: a probability of 8 / 9.
    rule = VerdictRule(bands=BANDS)
    assert rule.decide(0.88, [face(0.88), face(0.1)]).verdict == "undecided"
    assert rule.decide(0.89, [face(0.89), face(0.1)]).verdict == "likely fake"


@pytest.mark.parametrize("num_faces", [1, 2, 3, 5])
def test_further_faces_do_not_raise_the_rate_of_false_alarms(num_faces):
    # Logits of a calibrated classifier of two normal classes: the mean is half of the variance below zero.
    random = np.random.default_rng(0)
    logits = random.normal(-2.0, 2.0, (100_000, num_faces))
    bound = np.quantile(random.normal(-2.0, 2.0, 1_000_000), 0.98)
    rule = VerdictRule(bands=replace(BANDS, high=float(1 / (1 + np.exp(-bound)))))
    highest = 1 / (1 + np.exp(-logits.max(1)))
    smallest = min(
        p for p in np.linspace(0.9, 0.999, 2000) if rule.decide(p, [face(p)] * num_faces).verdict == "likely fake"
    )
    rate = np.mean(highest >= smallest)
    assert rate < 0.0215
    if num_faces > 1:
        assert np.mean(logits.max(1) > bound) > 0.035


@pytest.mark.parametrize(
    ("probability", "faces", "bits_per_pixel", "reason"),
    [
        (0.99, [face(0.99, coverage=0.2)], None, "only 20% of the sampled frames"),
        (0.99, [face(0.99, coverage=0.0)], None, "found in none of the sampled frames"),
        (0.99, [face(0.99, size_px=30.0)], None, "only 30 pixels"),
        (0.01, [face(0.01), face(0.005, size_px=30.0)], None, "only 30 pixels"),
        (0.99, [face(0.99)], 0.01, "0.01 bits per pixel"),
        (0.01, [], 0.01, "0.01 bits per pixel"),
    ],
)
def test_outside_of_what_was_measured_every_video_is_undecided(probability, faces, bits_per_pixel, reason):
    verdict = VerdictRule(bands=BANDS).decide(probability, faces, bits_per_pixel=bits_per_pixel)
    assert verdict.verdict == "undecided"
    assert reason in verdict.reason


def test_a_suspicious_face_that_is_seen_too_seldom_to_count_forbids_likely_real():
    rule, seldom = VerdictRule(bands=BANDS), face(0.93, coverage=0.2)
    verdict = rule.decide(0.1, [face(0.1)], seldom=[face(0.3, coverage=0.1), seldom])
    assert verdict.verdict == "undecided"
    assert "a face that was found in only 20% of the sampled frames" in verdict.reason
    assert "has a fake probability of 0.93" in verdict.reason
    assert rule.decide(0.1, [face(0.1)], seldom=[face(0.79, coverage=0.2)]).verdict == "likely real"
    assert rule.decide(0.9, [face(0.9)], seldom=[seldom]).verdict == "likely fake"


@pytest.mark.parametrize(("num_different", "verdict"), [(1, "undecided"), (4, "undecided"), (5, "likely real")])
def test_a_video_of_few_different_frames_is_nearly_a_photo(num_different, verdict):
    decided = VerdictRule(bands=BANDS).decide(0.1, [face(0.1)], num_different=num_different)
    assert decided.verdict == verdict
    if verdict == "undecided":
        assert "were measured with 20 frames" in decided.reason


@pytest.mark.parametrize(
    ("probability", "said"),
    [
        (0.19996, "0.19996 is below 0.2"),
        (0.80004, "0.80004 is above 0.8"),
        (0.1, "0.1 is below 0.2"),
        (0.20004, "0.20004 is in the undecided range: likely real below 0.2, likely fake above 0.8"),
    ],
)
def test_a_probability_next_to_a_limit_has_enough_digits(probability, said):
    assert said in VerdictRule(bands=BANDS).decide(probability, [face(probability)]).reason


def test_a_small_face_beside_a_large_fake_one_does_not_matter():
    assert VerdictRule(bands=BANDS).decide(0.99, [face(0.99), face(0.1, size_px=10.0)]).verdict == "likely fake"


def test_faces_that_were_found_and_not_scored_count_for_the_upper_limit_and_forbid_likely_real():
    rule = VerdictRule(bands=BANDS)
    scored = [face(0.1)] * 24
    left_out = rule.decide(0.1, scored, num_left_out=72)
    assert left_out.limits == rule.decide(0.1, [face(0.1)] * 96).limits
    assert left_out.verdict == "undecided"
    assert "72 further faces were found and not scored" in left_out.reason
    assert rule.decide(0.1, scored).verdict == "likely real"
    assert rule.decide(0.9999, [face(0.9999), *scored], num_left_out=72).verdict == "likely fake"


def test_a_missing_band_is_never_used():
    bands = replace(BANDS, high=None, false_alarms=None)
    verdict = VerdictRule(bands=bands).decide(1.0, [face(1.0)])
    assert verdict.verdict == "undecided"
    assert "likely fake is never reported" in verdict.reason
    assert "This checkpoint never reports likely fake, because 100 real people are too few" in bands.sentence


def test_a_video_with_a_suspicious_part_is_not_likely_real():
    rule = VerdictRule(bands=BANDS)
    assert rule.after_timeline("likely real", "low", 0.9)[0] == "undecided"
    assert rule.after_timeline("likely real", "low", 0.7) == ("likely real", "low")
    assert rule.after_timeline("likely fake", "high", 0.9) == ("likely fake", "high")


@pytest.fixture(scope="module")
def likely_real(tmp_path_factory):
    """A drawn person for six seconds: the video, its detector and its result."""
    clip = write_people(tmp_path_factory.mktemp("real") / "whole.mp4", seconds=6)
    detector = redness_detector(num_frames=20)
    detector.rule = VerdictRule(bands=replace(BANDS, min_bits_per_pixel=None))
    return clip, detector, detector.score(clip)


def unread(start_s, end_s, reason="cut_off", stream=None):
    return NotJudged(start_s=start_s, end_s=end_s, reason=reason, stream=stream)


@pytest.mark.parametrize(
    ("ranges", "problem"),
    [
        ([unread(6.0, 6.6)], None),
        ([unread(6.0, 6.7)], "0.7 of 6.7 seconds could not be read"),
        ([unread(1.0, 1.4, "undecodable"), unread(3.0, 3.3, "undecodable")], "0.7 of 6 seconds could not be read"),
        ([unread(6.0, None)], "how much is missing is not known"),
        ([unread(0.0, 1.0, "other_stream", 1)], "contains another video stream, not scored"),
        ([unread(0.0, None, "other_stream", n) for n in (1, 2)], "contains 2 other video streams, not scored"),
        # What holds no picture hides none.
        ([unread(2.0, 5.0, "no_face"), unread(6.0, 60.0, "no_picture"), unread(2.0, 5.0, "no_new_picture")], None),
    ],
)
def test_a_video_of_which_much_was_not_read_is_not_likely_real(likely_real, ranges, problem):
    _, _, result = likely_real
    assert (result.verdict, result.duration_s) == ("likely real", pytest.approx(6.0, abs=0.1))
    left = add_not_judged(replace(result, duration_s=6.0), ranges)
    assert left.not_judged == ranges
    assert left.verdict == ("likely real" if problem is None else "undecided")
    assert (problem or result.verdict_reason) in left.verdict_reason
    assert add_not_judged(replace(result, verdict="likely fake"), ranges).verdict == "likely fake"


def test_the_readable_half_of_a_file_is_not_likely_real(likely_real, tmp_path):
    clip, detector, _ = likely_real
    cut = write_truncated(tmp_path / "cut.mkv", remux(tmp_path / "whole.mkv", clip), keep=0.5)
    alone, (together,) = detector.score(cut), examine_on_device(detector, [str(cut)], 1)
    for result in (alone, together.result):
        assert (result.verdict, result.label) == ("undecided", "real")
        assert "seconds could not be read, because the file is incomplete or damaged" in result.verdict_reason


def test_a_video_whose_timeline_leaves_out_a_face_is_not_likely_real(likely_real, monkeypatch):
    clip, detector, _ = likely_real
    monkeypatch.setattr(detector, "settings", replace(detector.settings, timeline=True))
    assert detector.score(clip).verdict == "likely real"
    # As if the only face were the 25th.
    monkeypatch.setattr(timeline_module, "MAX_FACES", 0)
    result = detector.score(clip)
    assert (result.status, result.verdict) == ("ok", "undecided")
    assert "some frames show further faces, which were not scored" in result.verdict_reason


def test_a_timeline_tells_more_exactly_how_much_was_not_read(likely_real, monkeypatch):
    clip, detector, _ = likely_real
    monkeypatch.setattr(detector, "settings", replace(detector.settings, timeline=True))
    # Sampled frames stand for the time until the next ones, of which the timeline reads most.
    ranges = {False: [unread(1.0, 3.0, "undecodable")], True: [unread(1.0, 1.2, "undecodable")]}
    monkeypatch.setattr(detector_module, "find_not_judged", lambda reader, video, windows=(): ranges[bool(windows)])
    result = detector.score(clip)
    assert (result.verdict, result.not_judged) == ("likely real", ranges[True])


def test_the_sentence_has_the_rates_and_what_likely_real_does_not_cover():
    assert BANDS.sentence == (
        "Of 100 real people not seen in training, 1 was called likely fake (95 % interval 0.0 to 5.5 %); of 50 fakes, "
        "4 were called likely real (95 % interval 2.0 to 19.0 %). Undecided: 20 % of the real people. Likely "
        "real says nothing about lip-sync manipulation, fully generated scenes or audio."
    )


def test_the_sentence_says_how_many_fakes_were_found():
    undecided = Rate(count=40, number=50, low=0.66, high=0.9)
    assert "4 were called likely real (95 % interval 2.0 to 19.0 %) and 6 likely fake. " in (
        replace(BANDS, undecided_fake=undecided).sentence
    )
    with pytest.raises(ValueError, match="the same fakes"):
        replace(BANDS, undecided_fake=replace(undecided, number=51))
    with pytest.raises(ValueError, match="the same fakes"):
        replace(BANDS, undecided_fake=replace(undecided, count=47, high=0.95))


def test_bands_are_read_as_they_were_written_and_belong_to_their_weights(tmp_path):
    assert find_rule(tmp_path, **OF_SCAN).absence == NO_BANDS
    write_bands(BANDS, tmp_path)
    assert find_rule(tmp_path, **OF_SCAN).bands.sentence == BANDS.sentence


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weights_sha256": "b" * 64}, "different weights"),
        ({"temperature": 1.0}, "different calibration"),
        ({"is_trained": False}, "random"),
        ({"num_models": 2}, "ensemble"),
        ({"settings": {**SETTINGS, "num_frames": 10}}, "20 frames, not with 10"),
        ({"settings": {**SETTINGS, "dtype": "bfloat16"}}, "dtype float32, not with bfloat16"),
    ],
)
def test_bands_of_another_function_are_not_used(tmp_path, change, reason):
    write_bands(BANDS, tmp_path)
    rule = find_rule(tmp_path, **{**OF_SCAN, **change})
    assert rule.bands is None
    assert reason in rule.decide(0.999).reason


@pytest.mark.parametrize(
    ("part", "changed", "reason"),
    [
        ("configuration", {"pooling": "max"}, "pooling last, not with max"),
        ("configuration", {}, "pooling last, not with no value"),
        ("preprocessing", {"image_mean": [0.0, 0.0, 0.0]}, r"image mean [0.5, 0.5, 0.5], not with [0.0, 0.0, 0.0]"),
    ],
)
def test_bands_of_the_same_weights_in_another_network_or_on_other_pixels_are_not_used(tmp_path, part, changed, reason):
    write_bands(BANDS, tmp_path)
    rule = find_rule(tmp_path, **{**OF_SCAN, "function": {**FUNCTION, part: changed}})
    assert rule.bands is None
    assert reason in rule.decide(0.999).reason


@pytest.mark.parametrize("part", ["configuration", "preprocessing"])
def test_a_setting_that_is_newer_than_the_bands_is_not_compared(tmp_path, part):
    write_bands(BANDS, tmp_path)
    newer = {**FUNCTION, part: {**FUNCTION[part], "sharpness": 1.0}}
    assert find_rule(tmp_path, **{**OF_SCAN, "function": newer}).bands is not None


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"function": {"configuration": {}}},
        {"low": 1.5},
        {"low": 0.9},
        {"high": "0.8"},
        {"false_alarms": None},
        {"misses": {"count": 60, "number": 50, "low": 0.0, "high": 1.0}},
        {"misses": {"count": 4, "number": 50, "low": 0.5, "high": 0.6}},
        {"weights_sha256": 7},
        {"settings": {}},
        {"min_face_px": float("nan")},
        {"people": True},
        {"by_faces": [{"num_faces": 0, "rate": 0.0, "uncorrected": 0.0}]},
        {"sources": "first"},
        {"unknown": 1},
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, change):
    file = write_bands(BANDS, tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(VerdictFileError, match=r"verdict\.json: is damaged"):
        read_bands(tmp_path)
