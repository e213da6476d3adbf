# SPDX-License-Identifier: Apache-2.0
"""Select the scores on which verdict bands are measured: videos of people that one checkpoint has not seen."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..scanning.fingerprint import RUN_NAME, function_of
from ..scanning.settings import MIN_FACE_COVERAGE
from ..scanning.verdict_bands import BOUND_SETTINGS
from .evaluation_result import EvaluationResult
from .known_videos import divide_by_people
from .samples import EvaluationError
from .scores import Score
from .warnings import num_videos


# Share of the measured videos that may be smaller or more compressed than the limits that are stored.
RANGE_LEVEL = 0.01
# What the videos of a list decided; those of the third list, "calibration", decided temperature and bias only.
CHOSE_WEIGHTS = ("training", "validation")


def usable_scores(parts: Sequence[EvaluationResult]) -> tuple[list[Score], list[str]]:
    """
    Select the scores of people that the checkpoint has not seen, in videos that may get a verdict.

    Args:
        parts: Results of single data sets.

    Returns:
        The scores, in which data sets of the same name are the same, and notes on what was left out.

    Raises:
        EvaluationError: If there are only pictures.
    """
    found = [s for scores in _with_distinct_names(parts) for s in scores if s.fake_probability is not None]
    # Of scores that another program made, it is not known.
    videos = [score for score in found if score.media in ("video", None)]
    if found and not videos:
        raise EvaluationError(
            "verdict bands are for videos, but all scores are those of photos or of pictures of cropped faces; "
            "evaluate videos."
        )
    # Several runs may contain the same file under different names.
    first: dict[object, Score] = {}
    for number, score in enumerate(videos):
        first.setdefault(score.sha256 or number, score)
    scored = list(first.values())
    chose = [score for score in scored if score.seen in CHOSE_WEIGHTS]
    seen, unseen = divide_by_people(scored, chose)
    kept = [score for score in unseen if score.face_coverage is None or score.face_coverage >= MIN_FACE_COVERAGE]
    notes = []
    if pictures := len(found) - len(videos):
        kind = "photo or picture of cropped faces" if pictures == 1 else "photos or pictures of cropped faces"
        notes.append(f"{pictures} {kind} left out, because verdicts are for videos")
    if repeated := len(videos) - len(scored):
        notes.append(f"{num_videos(repeated)} left out, because the same file occurs again")
    if seen:
        count = num_videos(len(seen))
        notes.append(f"{count} left out, because the checkpoint was trained or validated on the people shown")
    if calibrated := sum(score.seen == "calibration" for score in kept):
        notes.append(
            f"{num_videos(calibrated)} also served to fit temperature and bias, which does not change the order of "
            "the scores"
        )
    if faceless := len(unseen) - len(kept):
        notes.append(f"{num_videos(faceless)} left out, because a face was found in too few frames")
    if nameless := sum(not score.identities for score in kept):
        notes.append(f"{num_videos(nameless)} without an identity label, each counted as a separate person")
    if any(part.run.get("layout") == "dfdc" for part in parts):
        notes.append("each source video of DFDC counted as a person, because DFDC does not name its people")
    if any(score.num_faces is None for score in kept):
        notes.append("the number of faces is not known for some videos; one face is assumed for them")
    return kept, notes


def _with_distinct_names(parts: Sequence[EvaluationResult]) -> list[list[Score]]:
    """
    The scores of each part, with different names for data sets that took the same name from different places.

    A name in a file is kept: re-encoded copies of the same people, in several lists, have the same name there.
    """
    places: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for dataset in {score.dataset for score in part.clean_scores}:
            places[dataset].add(_place(part))
    taken = set(places)
    names: dict[tuple[str, str], str] = {}
    renamed = []
    for part in parts:
        name, scores = part.run.get("derived_name"), part.clean_scores
        if name is not None and len(places[name]) > 1:
            key = (name, _place(part))
            if key not in names:
                names[key] = _free_name(part.name or name, taken)
                taken.add(names[key])
            scores = [replace(s, dataset=names[key]) if s.dataset == name else s for s in scores]
        renamed.append(scores)
    return renamed


def _place(part: EvaluationResult) -> str:
    """Folder or file of the data set."""
    return str(part.run.get("dataset"))


def _free_name(name: str, taken: set[str]) -> str:
    numbered = (f"{name} ({number})" for number in range(1, len(taken) + 2))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def measured_limits(scores: Sequence[Score]) -> tuple[float | None, float | None]:
    """Return the smallest face and the strongest compression for which the rates are measured."""
    return _lowest([score.face_px for score in scores]), _lowest([score.bits_per_pixel for score in scores])


def _lowest(values: Sequence[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[int(RANGE_LEVEL * len(known))] if known else None


def common_run(results: Sequence[EvaluationResult]) -> dict[str, Any]:
    """
    Return the checkpoint and the settings that made all scores.

    Args:
        results: Results of single data sets.

    Raises:
        EvaluationError: If there are several, or the weights are random.
    """
    needed = ("weights_sha256", "temperatures", "fake_biases", "function", *BOUND_SETTINGS)
    found = []
    for result in results:
        if not set(needed) <= result.run.keys():
            raise EvaluationError(f"the run does not name the checkpoint of its scores: {RUN_NAME} is missing.")
        found.append({name: result.run[name] for name in needed})
        found[-1]["function"] = function_of(result.run["function"])
        if len(found[-1]["temperatures"]) > 1:
            raise EvaluationError(
                "verdict bands cannot be stored for an ensemble, which has no single model folder; evaluate one model."
            )
        if not result.run.get("is_trained", True) or result.run["weights_sha256"] is None:
            raise EvaluationError("verdict bands cannot be calibrated for random weights; evaluate a trained model.")
    if not found or any(run != found[0] for run in found):
        raise EvaluationError("the scores were made with different weights or settings; give runs of one checkpoint.")
    run = found[0]
    return {
        "weights_sha256": run["weights_sha256"],
        "temperature": float(run["temperatures"][0]),
        "fake_bias": float(run["fake_biases"][0]),
        "settings": {name: run[name][0] if name == "num_frames" else run[name] for name in BOUND_SETTINGS},
        "function": run["function"],
    }
