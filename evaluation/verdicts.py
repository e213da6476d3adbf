# SPDX-License-Identifier: Apache-2.0
"""
Calibrate the verdict bands on scores of people and sources that a checkpoint has not seen.

Split conformal prediction by class (Vovk, Gammerman and Shafer, 2005): among n exchangeable scores and a new one, the
new one exceeds that of rank ceil((n + 1) (1 - a)) with a probability of at most a. This is a single order statistic,
so no library is needed. People, not videos, are exchangeable, and sources of videos differ. Therefore each person
counts once, and the bands are widened until they are valid for each source to which they were not fitted.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.files import write_atomically
from ..common.logistic import logit, sigmoid
from ..hub.terms import CARD_NAME, read_card
from ..scanning.verdict_bands import (
    MAX_FALSE_ALARMS,
    MAX_MISSES,
    FaceCountRate,
    Rate,
    VerdictBands,
    write_bands,
)
from .evaluation_result import EvaluationResult
from .frame_scorer import PROBABILITY_EPSILON
from .intervals import clopper_pearson_interval
from .parts import few_sources
from .plan import EvaluationPlan
from .rescoring import rescore
from .samples import EvaluationError, source_of_people
from .scores import Score
from .verdict_card import card_section, with_section
from .verdict_folder import check_model_folder, check_verdict_folder
from .verdict_scores import common_run, measured_limits, usable_scores


# Numbers of faces for which the false alarms are stated.
FACE_COUNTS = (1, 2, 3, 5)
# Powers of the number of faces that divide the odds; the first that keeps the error rate is used.
FACE_EXPONENTS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class PersonScore:
    """
    One real person, or one person in the fakes of one method.

    Attributes:
        source: Name of the source of the videos.
        logit: Logit of the fake probability of the video; if there are several videos, that of the video closest to
            being misclassified.
        corrected: The logit minus the logarithm of the number of faces.
    """

    source: str
    logit: float
    corrected: float


@dataclass(frozen=True)
class _Bounds:
    """Logits of the limits of the two bands; infinite for a band that is not used."""

    low: float
    high: float


def conformal_bound(scores: Sequence[float], level: float) -> float:
    """
    The bound that a new score exceeds with a probability of at most `level`, if it is exchangeable with the others.

    Args:
        scores: At least `1 / level - 1` scores are needed for a finite bound.
        level: Error rate.

    Returns:
        The score of rank `ceil((n + 1) (1 - level))`, or infinity if there are too few.

    Example:
        >>> conformal_bound(range(1, 50), 0.02), conformal_bound(range(1, 49), 0.02)
        (49.0, inf)
    """
    rank = math.ceil((len(scores) + 1) * (1 - level) - 1e-9)
    return float(sorted(scores)[rank - 1]) if 0 < rank <= len(scores) else math.inf


def measure_verdicts(runs: "EvaluationResult | str | Path | Sequence[EvaluationResult | str | Path]") -> VerdictBands:
    """
    Calibrate the verdict bands, and measure their error rates, on the scores of one or several evaluations.

    Videos that the checkpoint was trained or validated on are left out with everyone they show. Those that it was
    calibrated on are kept: temperature and bias do not change the order of the scores, on which the bands rest. A
    source is a data set, or a value of the column `dataset` in a CSV file; data sets that took the same name from
    different folders or files are two, and data sets that share their people, such as Celeb-DF-v2 and Celeb-DF++, are
    one. Photos and pictures of cropped faces are left out, because verdicts are for
    videos. At most 1 in 50 real people are called likely fake and at most 1 in 10 fakes likely real, each source left
    out in turn; a band for which there are too few people is not used.

    Args:
        runs: Results of [`evaluate`], or the folders that it wrote, all for one checkpoint and the same settings.

    Raises:
        EvaluationError: If the scores are those of several checkpoints, of an ensemble or of random weights, or come
            from a single source, or from no video.

    Example:
        >>> import random
        >>> from deepfake_video.evaluation.evaluator import make_result
        >>> draw = random.Random(0)
        >>> scores = [Score(key=f"{label}{i}", label=label, dataset="abc"[i % 3], fake_probability=draw.uniform(*span))
        ...           for i in range(90) for label, span in (("real", (0.0, 0.6)), ("fake", (0.4, 1.0)))]
        >>> settings = {"num_frames": [20], "faces": "auto", "face_aggregation": "max", "dtype": "float32"}
        >>> run = {"weights_sha256": "0" * 64, "temperatures": [1.0], "fake_biases": [0.0], **settings}
        >>> run["function"] = {"models": [{"configuration": {}, "preprocessing": {}}]}
        >>> plan = EvaluationPlan(resamples=0)
        >>> bands = measure_verdicts(make_result(scores, plan, split="all", threshold=0.5, run=run))
        >>> bands.people, bands.false_alarms.number, 0.5 < bands.high < 0.65
        (90, 90, True)
    """
    listed = [runs] if isinstance(runs, (EvaluationResult, str, Path)) else list(runs)
    # What was trained or validated on is left out by name, not by split.
    plan = EvaluationPlan(split="all", resamples=0)
    results = [run if isinstance(run, EvaluationResult) else rescore(run, plan=plan) for run in listed]
    # In a joined table, the name of a run takes the place of its data sets.
    parts = [part for result in results for part in result.parts or [result]]
    common = common_run(parts)
    scores, notes = usable_scores(parts)
    reals, fakes = reduce_to_people(scores, is_fake=False), reduce_to_people(scores, is_fake=True)
    sources = tuple(sorted({unit.source for unit in (*reals, *fakes)}))
    if len(sources) < 2:
        raise EvaluationError(few_sources(sources))
    return _measure(reals, fakes, sources, common=common, notes=notes, limits=measured_limits(scores))


def write_verdicts(
    runs: "EvaluationResult | str | Path | Sequence[EvaluationResult | str | Path]", folder: str | Path
) -> VerdictBands:
    """
    Write [`measure_verdicts`] into `verdict.json` of a model folder, and the error rates into its card.

    Args:
        runs: See [`measure_verdicts`].
        folder: Folder of the checkpoint that made the scores.

    Raises:
        EvaluationError: See [`measure_verdicts`]; and if the folder is missing, or its weights, configuration or
            preprocessing are not those of the scores.
        ModelLoadError: If its JSON files are damaged.
        TermsError: If its card cannot be read.
        OutputError: If a file cannot be written.
    """
    folder = Path(folder)
    check_model_folder(folder)
    bands = measure_verdicts(runs)
    check_verdict_folder(folder, bands)
    card = read_card(folder)
    write_bands(bands, folder)
    if card is not None:
        write_atomically(folder / CARD_NAME, with_section(card, card_section(bands)).encode())
    return bands


def reduce_to_people(scores: Iterable[Score], *, is_fake: bool) -> list[PersonScore]:
    """
    Reduce scores to people: the highest score of each real person, the lowest of each person in fakes of one method.

    Args:
        scores: Scores of videos.
        is_fake: Whether to take the fakes, or the real videos.
    """
    grouped: dict[tuple[str | None, ...], list[Score]] = defaultdict(list)
    for score in scores:
        if score.is_fake == is_fake and score.fake_probability is not None:
            method = (score.method,) if is_fake else ()
            grouped[(source_of_people(score.dataset), _person(score), *method)].append(score)
    worst: Callable[[Iterable[float]], float] = min if is_fake else max
    return [
        PersonScore(source=str(source), logit=worst(map(_logit, group)), corrected=worst(map(_corrected, group)))
        for (source, *_), group in grouped.items()
    ]


def _measure(
    reals: Sequence[PersonScore],
    fakes: Sequence[PersonScore],
    sources: Sequence[str],
    *,
    common: dict[str, Any],
    notes: list[str],
    limits: tuple[float | None, float | None],
) -> VerdictBands:
    folds = {name: _fit(_without(reals, name), _without(fakes, name)) for name in sources}
    over = [unit.corrected - folds[unit.source].high for unit in reals if math.isfinite(folds[unit.source].high)]
    under = [folds[unit.source].low - unit.logit for unit in fakes if math.isfinite(folds[unit.source].low)]
    raised, lowered = _margin(over, MAX_FALSE_ALARMS), _margin(under, MAX_MISSES)
    whole = _fit(reals, fakes)
    # Without a source that could be left out, the rate would not be measured, and the band is not used.
    bounds = _Bounds(
        -math.inf if not under else min(0.0, whole.low - lowered),
        math.inf if not over else max(0.0, whole.high + raised),
    )
    folds = {name: _Bounds(min(0.0, fold.low - lowered), max(0.0, fold.high + raised)) for name, fold in folds.items()}
    has_low, has_high = math.isfinite(bounds.low), math.isfinite(bounds.high)
    of_reals = [(unit, folds[unit.source]) for unit in reals if not has_high or math.isfinite(folds[unit.source].high)]
    of_fakes = [(unit, folds[unit.source]) for unit in fakes if not has_low or math.isfinite(folds[unit.source].low)]
    exponent, by_faces = _correct_for_faces([unit.logit - fold.high for unit, fold in of_reals])
    notes = [*notes, *_notes(reals, fakes, has_low, has_high, lowered, raised)]
    if has_high and len(of_reals) < len(reals):
        few = len(reals) - len(of_reals)
        notes.append(
            f"{few} real people are not included in the rates, because too few people remain for a band "
            "when their source is left out"
        )
    return VerdictBands(
        **common,
        low=float(sigmoid(bounds.low)) if has_low else None,
        high=float(sigmoid(bounds.high)) if has_high else None,
        false_alarms=_rate([unit.corrected > fold.high for unit, fold in of_reals]) if has_high else None,
        misses=_rate([unit.logit < fold.low for unit, fold in of_fakes]) if has_low else None,
        undecided_real=_rate([_is_undecided(*pair) for pair in of_reals]),
        undecided_fake=_rate([_is_undecided(*pair) for pair in of_fakes]),
        face_exponent=exponent,
        by_faces=tuple(by_faces) if has_high else (),
        people=len(reals),
        fakes=len(fakes),
        sources=tuple(sources),
        notes=tuple(notes),
        min_face_px=limits[0],
        min_bits_per_pixel=limits[1],
    )


def _fit(reals: Sequence[PersonScore], fakes: Sequence[PersonScore]) -> _Bounds:
    return _Bounds(
        -conformal_bound([-unit.logit for unit in fakes], MAX_MISSES),
        conformal_bound([unit.corrected for unit in reals], MAX_FALSE_ALARMS),
    )


def _without(units: Sequence[PersonScore], source: str) -> list[PersonScore]:
    return [unit for unit in units if unit.source != source]


def _margin(excesses: Sequence[float], level: float) -> float:
    """How far a band is widened so that at most this share of the people of left-out sources lies beyond it."""
    allowed = math.floor(level * len(excesses) + 1e-9)
    ordered = sorted(excesses, reverse=True)
    if allowed >= len(ordered) or ordered[allowed] <= 0:
        return 0.0
    # A little more, so that rounding does not put the person at the bound beyond it.
    return ordered[allowed] + 1e-9


def _is_undecided(unit: PersonScore, fold: _Bounds) -> bool:
    return not (unit.corrected > fold.high or unit.logit < fold.low)


def _rate(are_counted: Sequence[bool]) -> Rate | None:
    if not are_counted:
        return None
    count, number = sum(are_counted), len(are_counted)
    interval = clopper_pearson_interval(count, number)
    return Rate(count=count, number=number, low=interval.low, high=interval.high)


def _correct_for_faces(excesses: Sequence[float]) -> tuple[float, list[FaceCountRate]]:
    """
    The lowest power of the number of faces that keeps the rate of false alarms, and the rates with it.

    Args:
        excesses: By how much the logit of each person exceeds the band.
    """
    for exponent in FACE_EXPONENTS:
        rates = [_of_faces(excesses, number, exponent) for number in FACE_COUNTS if number <= len(excesses)]
        if all(row.rate <= MAX_FALSE_ALARMS for row in rates[1:]):
            break
    return exponent, rates


def _of_faces(excesses: Sequence[float], num_faces: int, exponent: float) -> FaceCountRate:
    """Share of the groups of so many people in which at least one is called likely fake, in closed form."""

    def share(shift: float) -> float:
        beyond = sum(excess > shift for excess in excesses)
        return 1 - math.comb(len(excesses) - beyond, num_faces) / math.comb(len(excesses), num_faces)

    return FaceCountRate(num_faces=num_faces, rate=share(exponent * math.log(num_faces)), uncorrected=share(0.0))


def _notes(
    reals: Sequence[PersonScore],
    fakes: Sequence[PersonScore],
    has_low: bool,
    has_high: bool,
    lowered: float,
    raised: float,
) -> list[str]:
    notes = []
    for has_band, units, level, name in (
        (has_high, reals, MAX_FALSE_ALARMS, "likely fake"),
        (has_low, fakes, MAX_MISSES, "likely real"),
    ):
        if not has_band:
            needed = round(1 / level) - 1
            noun = "real people" if name == "likely fake" else "fakes"
            notes.append(
                f"no video is called {name}, because there are only {len(units)} {noun}; at least {needed} are "
                "needed, even when any one source is left out"
            )
    for name, margin in (("likely fake", raised if has_high else 0.0), ("likely real", lowered if has_low else 0.0)):
        if margin > 0:
            notes.append(
                f"the band {name} was widened by {margin:.2f} logits, chosen on the same people, so that it is valid "
                "for left-out sources"
            )
    return notes


def _person(score: Score) -> str:
    return score.identities[0] if score.identities else score.key


def _logit(score: Score) -> float:
    return float(logit(score.fake_probability or 0.0, PROBABILITY_EPSILON))


def _corrected(score: Score) -> float:
    return _logit(score) - math.log(score.num_faces or 1)
