# SPDX-License-Identifier: Apache-2.0
"""
The verdict on a video: "likely fake", "undecided" or "likely real".

It follows from the score and the calibrated bands of the checkpoint, see [`VerdictBands`]. The bands are valid only
for the weights, the configuration with its calibration, the preprocessing and the settings they were measured with;
with any others, every video is undecided, and `reason` says why. Nothing here needs torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..common.logistic import logit, sigmoid
from ..common.text import tell_apart
from .results import FaceResult, NotJudged, VerdictLimits, VerdictName, VideoResult
from .settings import MIN_FACE_COVERAGE
from .verdict_bands import BOUND_SETTINGS, VerdictBands, read_bands


NO_BANDS = "no error rates were measured for this checkpoint"
# A video of which a larger share was not read is not called likely real. A choice, not a measurement: the error rates
# were measured on complete videos, and a few damaged frames are common.
MAX_UNREAD_SHARE = 0.1
NOT_FOR_PHOTOS = "the error rates were measured on videos, and this is a photo"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    The verdict on one video.

    Attributes:
        verdict: `"likely fake"`, `"undecided"` or `"likely real"`.
        reason: Reason for the verdict, in one sentence.
        rates: The measured error rates of the checkpoint, in words; `None` without bands.
        limits: The fake probabilities that separate the verdicts; `None` without bands.
    """

    verdict: VerdictName
    reason: str
    rates: str | None = None
    limits: VerdictLimits | None = None


@dataclass(frozen=True, kw_only=True)
class VerdictRule:
    """
    How the scores of a scan become verdicts.

    Attributes:
        bands: The measured bands of the checkpoint, if there are any.
        absence: Reason why there are no bands.

    Example:

        >>> from deepfake_video.scanning.verdict import VerdictRule
        >>> VerdictRule(bands=None).decide(0.99).verdict
        'undecided'
    """

    bands: VerdictBands | None
    absence: str = NO_BANDS

    def decide(
        self,
        fake_probability: float,
        faces: Sequence[FaceResult] = (),
        *,
        seldom: Sequence[FaceResult] = (),
        num_different: int | None = None,
        bits_per_pixel: float | None = None,
        num_left_out: int = 0,
    ) -> Verdict:
        """
        Decide the verdict for one video.

        It depends on the probability, the faces, the number of different frames and the bit rate, but not on the label
        or its threshold.

        The score of a video is the highest of its faces, and the highest of k real faces exceeds a bound more often
        than one does. Hence the odds are divided by k before they are compared with the upper band. The odds of a
        calibrated classifier are proportional to the likelihood ratio of fake to real, whose mean over real faces is
        1, so that at most 1 in t of them exceeds t (Markov). If the tail falls as fast as this bound, each of k faces
        exceeds k times the odds at most 1 / k as often, so a video with k faces exceeds the band no more often than a
        single face does. If the measured people show a heavier tail, the odds are divided by a higher power of k, see
        `face_exponent` and `by_faces` of the bands. The alternative without an assumption, a conformal bound at 1 / k
        of the error rate, needs k times as many people: 49 for one face, 249 for five. The lower band needs no
        correction: further faces only raise the score of a fake video.

        Args:
            fake_probability: Score of the video.
            faces: Faces that count for the score; empty for whole frames.
            seldom: Faces that were found too seldom to count for it.
            num_different: Number of different frames that were scored, if known.
            bits_per_pixel: Bits of the video stream per pixel, if known.
            num_left_out: Number of faces that were found and not scored. They count for the upper band, and a video
                with any is not called likely real.
        """
        bands = self.bands
        if bands is None:
            return Verdict(verdict="undecided", reason=self.absence)
        number = max(1, len(faces) + num_left_out)
        high = None
        if bands.high is not None:
            high = float(sigmoid(logit(bands.high) + bands.face_exponent * math.log(number)))
        known: dict[str, Any] = {"rates": bands.sentence, "limits": VerdictLimits(low=bands.low, high=high)}
        of_faces = f" for {number} faces" if number > 1 else ""
        shown, low_text, high_text = tell_apart(fake_probability, bands.low, high)
        shown = f"the fake probability {shown}"
        verdict: VerdictName = "undecided"
        if high is not None and fake_probability > high:
            verdict, reason = "likely fake", f"{shown} is above {high_text}{of_faces}"
            seen = [max(faces, key=lambda face: face.fake_probability)] if faces else []
        elif bands.low is not None and fake_probability < bands.low:
            verdict, reason = "likely real", f"{shown} is below {low_text}"
            seen = list(faces)
        else:
            reason = f"{shown} is in the undecided range: {_bounds(low_text, high_text, of_faces)}"
            return Verdict(verdict="undecided", reason=reason, **known)
        if problem := _out_of_range(seen, num_different, bits_per_pixel, bands):
            return Verdict(verdict="undecided", reason=problem, **known)
        if verdict == "likely real" and (problem := self._suspicious_face(seldom)):
            return Verdict(verdict="undecided", reason=problem, **known)
        if verdict == "likely real" and num_left_out:
            problem = f"the scores are low, but {num_left_out} further faces were found and not scored"
            return Verdict(verdict="undecided", reason=problem, **known)
        return Verdict(verdict=verdict, reason=reason, **known)

    def decide_photo(self) -> Verdict:
        """Leave a photo undecided: the bands and their rates were measured on videos."""
        return Verdict(verdict="undecided", reason=self.absence if self.bands is None else NOT_FOR_PHOTOS)

    def after_timeline(
        self, verdict: VerdictName | None, reason: str | None, highest: float, *, is_crowded: bool = False
    ) -> tuple[VerdictName | None, str | None]:
        """
        Reconsider a verdict once the timeline is known: a video with a suspicious part, or with faces that only the
        timeline found and that were not scored, is not called likely real.

        Args:
            verdict: The verdict based on the score of the video.
            reason: Its reason.
            highest: Highest fake probability of a window.
            is_crowded: Whether a frame of the timeline shows more faces than are scored.
        """
        if verdict != "likely real":
            return verdict, reason
        if highest <= self._suspicion_bound:
            problem = "the scores are low, but some frames show further faces, which were not scored"
            return ("undecided", problem) if is_crowded else (verdict, reason)
        reason = f"the video as a whole has a low fake probability, but a part of it has one of {highest:.3g}"
        return "undecided", reason

    @property
    def _suspicion_bound(self) -> float:
        """Fake probability of a part or face above which a video is not called likely real."""
        return 0.5 if self.bands is None or self.bands.high is None else self.bands.high

    def _suspicious_face(self, faces: Sequence[FaceResult]) -> str | None:
        """Why faces that do not count for the score forbid to call the video likely real, if they do."""
        worst = max(faces, key=lambda face: face.fake_probability, default=None)
        if worst is None or worst.fake_probability <= self._suspicion_bound:
            return None
        return (
            f"the score of the video is low, but a face that was found in only {worst.coverage:.0%} of the sampled "
            f"frames, too seldom to count for it, has a fake probability of {worst.fake_probability:.3g}"
        )

    def describe(self) -> dict[str, Any] | None:
        """Return the bands as plain values for the description of a run; `None` without bands."""
        bands = self.bands
        return (
            None
            if bands is None
            else {"low": bands.low, "high": bands.high, "faces": bands.face_exponent, "rates": bands.sentence}
        )


def find_rule(
    folder: Path | None,
    *,
    weights_sha256: str | None,
    temperature: float,
    fake_bias: float,
    settings: Mapping[str, Any],
    function: Mapping[str, Mapping[str, Any]],
    is_trained: bool = True,
    num_models: int = 1,
) -> VerdictRule:
    """
    Find the rule of a scan: the bands stored with the weights, if they match the weights, the configuration, the
    preprocessing and the settings.

    A custom threshold and the engine do not affect verdicts, because the bands apply to the probability, which neither
    changes.

    Args:
        folder: Folder of the checkpoint.
        weights_sha256: SHA-256 of the weights that were loaded.
        temperature: Temperature of the loaded configuration.
        fake_bias: Fake bias of the loaded configuration.
        settings: The settings of the scan, with its number of frames.
        function: Configuration and preprocessing of the model, see `fingerprint.function_of`.
        is_trained: Whether the weights are trained.
        num_models: Number of models. No error rates are measured for the mean of several models.

    Raises:
        VerdictFileError: If the file is damaged.
    """
    if not is_trained:
        return VerdictRule(bands=None, absence="the weights are random")
    if num_models != 1:
        return VerdictRule(bands=None, absence="no error rates were measured for an ensemble")
    bands = None if folder is None else read_bands(folder)
    if bands is None:
        return VerdictRule(bands=None)
    problem = describe_mismatch(
        bands,
        weights_sha256=weights_sha256,
        temperature=temperature,
        fake_bias=fake_bias,
        settings=settings,
        function=function,
    )
    return VerdictRule(bands=bands) if problem is None else VerdictRule(bands=None, absence=problem)


def describe_mismatch(
    bands: VerdictBands,
    *,
    weights_sha256: str | None,
    temperature: float,
    fake_bias: float,
    settings: Mapping[str, Any],
    function: Mapping[str, Mapping[str, Any]],
) -> str | None:
    """
    Describe why bands do not apply to the scores of a model; `None` if they do.

    Args:
        bands: The bands.
        weights_sha256: See [`find_rule`].
        temperature: See [`find_rule`].
        fake_bias: See [`find_rule`].
        settings: See [`find_rule`].
        function: See [`find_rule`].
    """
    calibration = (float(temperature), float(fake_bias))
    if bands.weights_sha256 != weights_sha256 or calibration != (float(bands.temperature), float(bands.fake_bias)):
        return "the error rates were measured with different weights or a different calibration"
    pairs = [(name, bands.settings[name], settings.get(name)) for name in BOUND_SETTINGS]
    for part, recorded in bands.function.items():
        # A setting that did not exist when the bands were measured is not compared: later versions may add some.
        pairs += [(name, value, function[part].get(name, "no value")) for name, value in recorded.items()]
    for name, before, after in pairs:
        if before != after:
            setting = f"{before} frames" if name == "num_frames" else f"{name.replace('_', ' ')} {before}"
            return f"the error rates were measured with {setting}, not with {after}"
    return None


def add_not_judged(result: VideoResult, ranges: Sequence[NotJudged]) -> VideoResult:
    """
    Add the ranges that were not judged to a result. It is no longer likely real if a larger part was not read.

    Args:
        result: The result of a video that was scored.
        ranges: What was not judged of it, see [`find_not_judged`].
    """
    result = replace(result, not_judged=list(ranges))
    problem = _unread(result) if result.verdict == "likely real" else None
    return result if problem is None else replace(result, verdict="undecided", verdict_reason=problem)


def verdict_text(result: VideoResult) -> str:
    """
    Return the reason for a verdict and the error rates of the checkpoint, as complete sentences.

    Args:
        result: The result of a video that could be scored.
    """
    reason = result.verdict_reason or NO_BANDS
    return " ".join(part for part in (f"{reason[0].upper()}{reason[1:]}.", result.verdict_rates) if part)


def _out_of_range(
    faces: Sequence[FaceResult], num_different: int | None, bits_per_pixel: float | None, bands: VerdictBands
) -> str | None:
    """Why the rates do not hold for this video, if they do not."""
    wanted = bands.settings["num_frames"]
    # As few as a face may be found in. Fewer frames are nearly a photo, or one in the form of a video.
    if num_different is not None and num_different < MIN_FACE_COVERAGE * wanted:
        plural = " was" if num_different == 1 else "s were"
        return (
            f"only {num_different} different frame{plural} scored; the error rates were measured with {wanted} frames"
        )
    coverage = min((face.coverage for face in faces), default=1.0)
    if coverage < MIN_FACE_COVERAGE:
        return f"the face was found in {f'only {coverage:.0%}' if coverage else 'none'} of the sampled frames"
    smallest = min((face.size_px for face in faces if face.size_px is not None), default=None)
    if smallest is not None and bands.min_face_px is not None and smallest < bands.min_face_px:
        return (
            f"a face is only {smallest:.0f} pixels wide; the error rates were measured only for faces of at least "
            f"{bands.min_face_px:.0f} pixels"
        )
    least = bands.min_bits_per_pixel
    if bits_per_pixel is not None and least is not None and bits_per_pixel < least:
        return (
            f"the video is compressed to {bits_per_pixel:.2g} bits per pixel; the error rates were measured only for "
            f"at least {least:.2g}"
        )
    return None


def _unread(result: VideoResult) -> str | None:
    """Why what was not read of a file forbids to call it likely real, if it does."""
    others = sum(entry.reason == "other_stream" for entry in result.not_judged)
    if others:
        streams = "another video stream" if others == 1 else f"{others} other video streams"
        return f"the scores are low, but the file contains {streams}, not scored"
    unread = [entry for entry in result.not_judged if entry.reason in ("cut_off", "undecodable")]
    ends_s = [entry.end_s for entry in unread if entry.end_s is not None]
    if len(ends_s) < len(unread):
        return "the scores are low, but the file is incomplete, and how much is missing is not known"
    length_s = max([result.duration_s or 0.0, *ends_s])
    unread_s = sum(end_s - entry.start_s for entry, end_s in zip(unread, ends_s, strict=True))
    if unread_s <= MAX_UNREAD_SHARE * length_s:
        return None
    return (
        f"the scores are low, but {unread_s:.3g} of {length_s:.3g} seconds could not be read, because the file is "
        "incomplete or damaged"
    )


def _bounds(low: str, high: str, of_faces: str) -> str:
    below = f"likely real below {low}" if low else "likely real is never reported"
    above = f"likely fake above {high}{of_faces}" if high else "likely fake is never reported"
    return f"{below}, {above}"
