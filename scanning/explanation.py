# SPDX-License-Identifier: Apache-2.0
"""Explain the result of a video in plain sentences: which face, when, how many frames, and what was not examined."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np

from ..common.logistic import logit, sigmoid
from ..common.text import printable, tell_apart
from .naming import face_name, media_noun
from .not_judged import range_text, reason_text
from .results import UNTRAINED_WARNING, FaceResult, FrameRule, FrameScore, VideoResult
from .settings import MIN_FACE_COVERAGE
from .stretches import clock, clock_range, longest_window_s, worst_stretches
from .texts import Texts, meaning_key, verdict_key
from .verdict import verdict_text


# Distance from 0 and 1 to which probabilities are clipped.
_EPSILON = 1e-12
_MAX_RANGES = 20
_AGGREGATIONS = {"max": "the highest score", "mean": "the mean score", "main": "the score of the main face"}
_WAY_OUT = {
    "no_face": "A version of the video with a larger or sharper face might be scorable. `--faces none` scores whole "
    "frames, if the model was trained on them.",
    "decode_error": "An undamaged copy of the file, as close to the original source as possible, might be scorable.",
    "unsupported": "A copy in a common video format, such as H.264 in MP4, might be scorable.",
    "too_large": "A shorter or smaller copy could be scored, or this file under a higher limit.",
    "not_found": "The video might be scorable once the path is corrected.",
    "unreadable": "The video might be scorable once the file is accessible, or with more free memory.",
    "timeout": "A shorter copy might be scorable, or this file on a faster machine or under a higher time limit.",
}


def explain(result: VideoResult) -> list[tuple[str, list[str]]]:
    """
    Explain a result.

    Args:
        result: The result of a video.

    Returns:
        Headings, each with its sentences. All text is printable.

    Example:

        >>> from deepfake_video.scanning.explanation import explain
        >>> from deepfake_video.scanning.results import ModelIdentity, VideoResult
        >>> result = VideoResult(
        ...     path="a.mp4", status="not_found", threshold=None, message="a.mp4: not found", settings={},
        ...     model=ModelIdentity(id="default"),
        ... )
        >>> explain(result)[0]
        ('Result', ['a.mp4: not found.', 'There is no score. This does not show that the video is real or fake.'])
    """
    if result.status != "ok" or result.fake_probability is None:
        missing = "There is no score. This does not show that the video is real or fake."
        sections = [
            ("Result", [_sentence(result.message or "The video could not be scored"), missing]),
            ("What would change the result", [_WAY_OUT.get(result.status, "Another copy of the video.")]),
        ]
    else:
        sections = [
            ("Verdict", _verdict(result)),
            ("Label", _label(result)),
            ("Which face", _faces(result)),
            ("Which frames", _frames(result)),
            ("When", _times(result)),
            ("What was not examined", _not_judged(result)),
            ("What would change the result", _changes(result)),
        ]
    if result.provenance is not None and result.provenance.state != "not checked":
        sections.append(("Content Credentials", [printable(result.provenance.summary)]))
    if result.model.terms:
        sections.append(("Terms", [_sentence(result.model.terms)]))
    sections.append(("Warnings", [_sentence(warning) for warning in result.warnings]))
    return [(heading, sentences) for heading, sentences in sections if sentences]


def _verdict(result: VideoResult) -> list[str]:
    texts, key = Texts.read(), verdict_key(result)
    meaning = meaning_key(result)
    return [f"{texts.plain(f'verdict.{key}')}.", texts.plain(meaning), printable(verdict_text(result))]


def _label(result: VideoResult) -> list[str]:
    probability, threshold = _numbers(result)
    if UNTRAINED_WARNING in result.warnings:
        return [f"The model has random weights, so its score of {probability:.2f} is meaningless."]
    side = "at or above" if probability >= threshold else "below"
    shown, _ = tell_apart(probability, threshold, digits=2, style="f")
    return [
        f"The {media_noun(result)} is labelled {result.label}, because its fake probability of {shown} is {side} the "
        f"threshold of {threshold:g}. The label is for programs; it does not change the verdict.",
    ]


def _faces(result: VideoResult) -> list[str]:
    of_whole = f"The score of the {media_noun(result)} is {_aggregation(result)}."
    if not result.faces:
        searched = "Whole frames were scored, without a face search."
        return [f"{searched} {of_whole}" if _is_ensemble(result) else searched]
    if len(result.faces) == 1:
        seen = "" if result.media == "image" else f", {_seen(result.faces[0])}"
        return [f"One face was found{seen}. {of_whole}"]
    sentences = [f"{len(result.faces)} faces were found. {of_whole}"]
    for face in result.faces:
        # Each model of an ensemble has faces and coverages of its own.
        is_counted = _is_ensemble(result) or _counts(face, result)
        left_out = "" if is_counted else "; it does not count, because it was detected in too few frames"
        seen = "" if result.media == "image" else f"; it was {_seen(face)}"
        sentences.append(f"{face_name(face.track_id)} has a score of {face.fake_probability:.2f}{seen}{left_out}.")
    return sentences


def _aggregation(result: VideoResult) -> str:
    """What the score of the video is."""
    decisive = next((face for face in result.faces if face.track_id == result.decisive_track_id), None)
    if _is_ensemble(result):
        mean = f"the mean of the scores of {len(result.frame_rules)} models"
        return f"{mean}, in each of which face {decisive.track_id + 1} decided" if decisive else mean
    if len(result.faces) == 1:
        return "the score of this face"
    rule = result.settings.get("face_aggregation", "max")
    return _AGGREGATIONS[rule] + (f", that of face {decisive.track_id + 1}" if decisive else "")


def _is_ensemble(result: VideoResult) -> bool:
    return len(result.frame_rules) > 1


def _seen(face: FaceResult) -> str:
    return (
        f"seen at {clock_range(face.first_s, face.last_s)} and detected in {face.coverage:.0%} of the sampled frames"
    )


def _frames(result: VideoResult) -> list[str]:
    if result.media == "image":
        return ["The score is based on a single picture, the photo."]
    _, threshold = _numbers(result)
    frames = _count(result.frames_analyzed, "frame")
    sentences = [f"The score is based on {frames} sampled from {_sampled_part(result)}."]
    own = _decisive_frames(result)
    if own and len(result.frame_rules) == 1:
        above = sum(frame.fake_probability >= threshold for frame in own)
        highest = max(own, key=lambda frame: frame.fake_probability)
        sentences.append(
            f"Scored one by one, {above} of {_count(len(own), 'frame')} {'is' if above == 1 else 'are'} at or above "
            f"the threshold. The highest is {highest.fake_probability:.2f} at {clock(highest.time_s)}."
        )
    return sentences


def _sampled_part(result: VideoResult) -> str:
    """The video and its length, or what can be read of it."""
    if not result.duration_s:
        return "the video"
    missing = next((entry for entry in result.not_judged if entry.reason == "cut_off"), None)
    if missing is None:
        return f"the video (length {result.duration_s:.1f} s)"
    whole = "" if missing.end_s is None else f" of {missing.end_s:.1f} s"
    return f"the readable {result.duration_s:.1f} s{whole}"


def _times(result: VideoResult) -> list[str]:
    if result.media == "image":
        return ["A photo has no timeline: it shows nothing about motion and time."]
    stretches = worst_stretches(result)
    if not stretches:
        return ["No timeline was computed, so nothing is known about parts of the video; `--timeline` adds it."]
    _, threshold = _numbers(result)
    above = [stretch for stretch in stretches if stretch.fake_probability >= threshold]
    worst = stretches[0]
    where = clock_range(worst.start_s, worst.end_s)
    whose = "" if worst.track_id is None else f" ({face_name(worst.track_id).lower()})"
    if above:
        found = f"{_count(len(above), 'part')} of the timeline reach{'es' if len(above) == 1 else ''} the threshold."
    else:
        found = "No part of the timeline reaches the threshold."
    return [
        f"{found} The highest {'is' if above else 'window is'} {where}{whose} with {worst.fake_probability:.2f}.",
        "The timeline does not change the score. Its times are accurate to about "
        f"{longest_window_s(result):.1f} s, the length of its longest window.",
    ]


def _not_judged(result: VideoResult) -> list[str]:
    if result.media == "image":
        return ["The surroundings of the faces."] if result.faces else []
    sentences = []
    if result.faces:
        sentences.append("The sound, the surroundings of the faces and the frames between the sampled ones.")
    else:
        sentences.append("The sound and the frames between the sampled ones.")
    shown = result.not_judged[:_MAX_RANGES]
    sentences += [f"{range_text(entry)}: {reason_text(entry)}." for entry in shown]
    if more := len(result.not_judged) - len(shown):
        sentences.append(f"{_count(more, 'more range')}, which `not_judged` in the JSON lists.")
    if not result.timeline and any(entry.reason == "no_face" for entry in shown):
        sentences.append("These times are as accurate as the sampled frames are dense; `--timeline` samples more.")
    if result.face_coverage is not None and result.face_coverage < 1.0:
        sentences.append(f"No face was found in {1.0 - result.face_coverage:.0%} of the sampled frames.")
    known = {face.track_id for face in result.faces}
    extra = sorted({entry.track_id for entry in result.timeline if entry.track_id is not None} - known)
    if extra:
        names = ", ".join(face_name(track_id).lower() for track_id in extra)
        sentences.append(f"The score of the video does not include {names}, found only by the timeline.")
    return sentences


def _changes(result: VideoResult) -> list[str]:
    probability, threshold = _numbers(result)
    if UNTRAINED_WARNING in result.warnings:
        return ["A trained model."]
    is_fake = probability >= threshold
    sentences = [
        "No score gives a photo another verdict, because the error rates were measured on videos."
        if result.media == "image"
        else "The verdict follows from the fake probability of the whole video, the number, size and coverage of the "
        "faces, and the compression, not from the threshold or from single frames. A suspicious part in the timeline, "
        "a part of the file that could not be read, or another video stream can only turn likely real into undecided. "
        "A copy closer to the original, with less compression or larger faces, may give another verdict.",
    ]
    bound = _safe_side(probability, is_up=is_fake)
    if not is_fake:
        sentences.append(f"At a threshold at or below {bound}, the label would be fake.")
    elif probability < 1.0:
        sentences.append(f"At a threshold above {bound}, the label would be real.")
    sentences += _other_aggregations(result, is_fake=is_fake)
    if is_fake and (needed := _frames_to_remove(result)) is not None:
        sentences.append(
            f"Without its {'' if needed == 1 else f'{needed} '}highest-scoring frame{'' if needed == 1 else 's'}, the "
            "decisive face would fall below the threshold."
        )
    sentences.append("Another model may give another score.")
    return sentences


def _other_aggregations(result: VideoResult, *, is_fake: bool) -> list[str]:
    counted = [face.fake_probability for face in result.faces if _counts(face, result)]
    _, threshold = _numbers(result)
    # The faces of an ensemble have the mean scores of its models, from which no other aggregation follows.
    if len(result.faces) < 2 or not counted or _is_ensemble(result):
        return []
    scores = {"max": max(counted), "mean": sum(counted) / len(counted), "main": result.faces[0].fake_probability}
    scores.pop(result.settings.get("face_aggregation", "max"), None)
    other = "real" if is_fake else "fake"
    return [
        f"`--face-aggregation {rule}` would give {score:.2f} and the label {other}."
        for rule, score in scores.items()
        if (score >= threshold) != is_fake
    ]


def _frames_to_remove(result: VideoResult) -> int | None:
    """How many of its highest frames the decisive face must lose to fall below the threshold; `None` if unknown."""
    _, threshold = _numbers(result)
    counted = (frame for frame in _decisive_frames(result) if frame.weight > 0)
    own = sorted(counted, key=lambda frame: frame.fake_probability)
    if len(result.frame_rules) != 1 or result.frame_rules[0].aggregation is None:
        return None
    for removed in range(1, len(own)):
        if _aggregate(own[: len(own) - removed], result.frame_rules[0]) < threshold:
            return removed
    return None


def _aggregate(frames: Sequence[FrameScore], rule: FrameRule) -> float:
    """The score that a face has if its clip consists of these frames. See [`FrameRule`]."""
    total = sum(frame.weight for frame in frames)
    logits = logit([frame.fake_probability for frame in frames], _EPSILON)
    weights = np.array([frame.weight / total for frame in frames])
    if rule.aggregation == "mean-logit":
        return float(sigmoid(weights @ logits))
    mean = weights @ sigmoid(rule.temperature * (logits - rule.fake_bias))
    return float(sigmoid(logit(mean, _EPSILON) / rule.temperature + rule.fake_bias))


def _decisive_frames(result: VideoResult) -> list[FrameScore]:
    """The frames of the face that decided, or whole frames; empty if the score is a mean of faces."""
    if result.faces and result.decisive_track_id is None:
        return []
    return [frame for frame in result.frames if frame.track_id == result.decisive_track_id]


def _counts(face: FaceResult, result: VideoResult) -> bool:
    return face.track_id == result.faces[0].track_id or face.coverage >= MIN_FACE_COVERAGE


def _numbers(result: VideoResult) -> tuple[float, float]:
    return result.fake_probability or 0.0, 0.5 if result.threshold is None else result.threshold


def _safe_side(probability: float, *, is_up: bool) -> str:
    """A few digits, rounded such that a statement about all thresholds beyond stays true, and below 1 if it is."""
    rounding = ROUND_CEILING if is_up else ROUND_FLOOR
    # The largest number below 1 has 16 digits.
    for digits in range(2, 18):
        bound = Decimal(repr(float(probability))).quantize(Decimal(1).scaleb(-digits), rounding)
        if 0 < bound < 1:
            break
    return f"{bound:f}" if bound else "0"


def _sentence(text: str) -> str:
    text = printable(text).rstrip(".")
    # A message that begins with the name of a file keeps it as it is.
    starts_with_name = any(mark in text.split(" ")[0] for mark in "./")
    return f"{text if starts_with_name else text[:1].upper() + text[1:]}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
