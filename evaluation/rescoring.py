# SPDX-License-Identifier: Apache-2.0
"""Tables of saved scores: of one run, or of the runs of one model on several data sets."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..common.files import as_paths
from ..common.json_files import as_dataclass, as_object, read_json
from ..common.plans import check_plan
from ..scanning.detector import DECISION_THRESHOLD
from ..scanning.fingerprint import RUN_NAME, RunMismatchError
from ..scanning.results import UNTRAINED_WARNING, Count, FakeBias, Probability, Temperature
from .evaluation_result import EvaluationResult
from .evaluator import join_results, make_result
from .plan import DEEPFAKEBENCH_FRAMES, EvaluationPlan
from .samples import EvaluationError, name_split
from .scores import CSV_NAME, LINES_PATTERN, Score, read_scores
from .warnings import num_videos


_NO_RUN = "there is no run.json that names the checkpoint of these scores"


@dataclass(frozen=True)
class _SavedModel:
    """What a model computes apart from its weights, see [`fingerprint.function_of`]; other entries are not read."""

    configuration: dict[str, Any]
    preprocessing: dict[str, Any]


@dataclass(frozen=True)
class _SavedSetup:
    models: list[dict[str, Any]]


@dataclass(frozen=True)
class _SavedRun:
    """What tables, calibration and verdict bands take from a description of a run, see [`run_folder.describe`]."""

    models: str
    weights_sha256: str | None
    threshold: Probability
    num_frames: list[Count]
    frame_sampling: list[str]
    ensemble: str
    faces: str
    face_aggregation: str
    temperatures: list[Temperature]
    fake_biases: list[FakeBias]
    function: dict[str, Any]
    dataset: str = ""
    layout: str | None = None
    derived_name: str | None = None
    is_trained: bool = True
    dtype: str = ""
    engine: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        models = as_dataclass(_known(self.function, _SavedSetup), _SavedSetup).models
        if not models:
            raise ValueError("function names no model")
        for model in models:
            as_dataclass(_known(model, _SavedModel), _SavedModel)
        for name in ("num_frames", "frame_sampling", "temperatures", "fake_biases"):
            if len(getattr(self, name)) != len(models):
                raise ValueError(f"{name} must have as many values as there are models, {len(models)}")


def _known(content: dict[str, Any], kind: type) -> dict[str, Any]:
    """The entries of an object that a dataclass reads."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in content.items() if name in names}


def rescore(scores: str | Path | Sequence[str | Path], *, plan: EvaluationPlan | None = None) -> EvaluationResult:
    """
    Compute the tables of saved scores again; no model is loaded and no video is opened.

    Args:
        scores: Folder that [`evaluate`] wrote, its `scores.csv`, or a CSV file with the columns `key` (or `path`),
            `label` and `fake_probability`. Several must come from the same model; each is treated as one data set.
        plan: Settings for computing the rows; of the scoring settings, only the threshold is used.

    Raises:
        EvaluationError: If there are no scores, they are damaged, several are of different models or thresholds, or
            the plan asks for the rule of DeepfakeBench and they are of another number of frames.

    Example:
        >>> import pathlib, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = pathlib.Path(folder.name, "other_tool.csv")
        >>> _ = file.write_text("path,label,fake_probability\\na.mp4,real,0.2\\nb.mp4,fake,0.9\\n")
        >>> rescore(file, plan=EvaluationPlan(resamples=0)).metrics["auc"]
        1.0
    """
    plan = plan or EvaluationPlan()
    check_plan(plan, EvaluationPlan)
    paths = [Path(path) for path in as_paths("scores", scores)]
    if len(paths) == 1:
        return _rescore(paths[0], plan)
    single = replace(plan, resamples=0)
    results = {_name(path): _rescore(path, single) for path in paths}
    if len(results) < len(paths) or not paths:
        raise EvaluationError("the saved scores of several data sets must be in folders or files of different names.")
    return join_results(results, plan)


def check_output(output: Path, scores: Sequence[Path]) -> None:
    """
    Check that tables of saved scores are not written into the folder of a different run.

    Args:
        output: Folder to write the tables to.
        scores: The saved scores.

    Raises:
        RunMismatchError: If the folder holds the scores of another run.
    """
    is_own = len(scores) == 1 and output.resolve() == scores[0].resolve()
    if (output / RUN_NAME).is_file() and not is_own:
        raise RunMismatchError(
            f"{output}: contains the scores of a different run from {scores[0]}; choose another --output for its "
            "tables."
        )


def _name(path: Path) -> str:
    """A run is named by its folder, a table of another tool by its file."""
    is_of_run = path.name == CSV_NAME or path.match(LINES_PATTERN)
    return path.resolve().parent.name if is_of_run else path.stem if path.is_file() else path.resolve().name


def _rescore(path: Path, plan: EvaluationPlan) -> EvaluationResult:
    found, notes = read_scores(path), []
    split = plan.split or ("test" if any(score.split == "test" for score in found) else "all")
    scores = found if split == "all" else [score for score in found if score.split == split]
    if not scores:
        raise EvaluationError(f"{path}: no score belongs to the split {split!r}.")
    if plan.split is None and len(scores) < len(found):
        left_out = {score.key for score in found} - {score.key for score in scores}
        notes.append(f"{num_videos(len(left_out))} of other splits left out; --split all includes them")
    if all(score.corruption is not None for score in scores):
        raise EvaluationError(f"{path}: contains only scores of corrupted videos.")
    threshold, run = _saved_run(path)
    chosen = plan.settings.threshold
    notes += [] if run.get("is_trained", True) else [UNTRAINED_WARNING]
    if not run and chosen is None:
        notes.append(f"the threshold {threshold:g} is assumed: {_NO_RUN}")
    if plan.deepfakebench:
        notes += _check_frames(path, scores, run)
    result = make_result(
        scores,
        plan,
        split=name_split(score.split for score in scores),
        threshold=threshold if chosen is None else chosen,
        run=run,
        notes=notes,
    )
    return replace(result, name=_name(path))


def _check_frames(path: Path, scores: Sequence[Score], run: dict[str, Any]) -> list[str]:
    """Refuse scores of another number of frames than DeepfakeBench's, and note what is not known about them."""
    numbers = run.get("num_frames", [])
    if any(number != DEEPFAKEBENCH_FRAMES for number in numbers):
        raise EvaluationError(
            f"{path}: scores of {', '.join(map(str, numbers))} frames of a video, but DeepfakeBench takes "
            f"{DEEPFAKEBENCH_FRAMES}; evaluate the videos with --deepfakebench."
        )
    if not any(score.frame_probabilities for score in scores):
        return [
            f"{path}: no rows by the rule of DeepfakeBench, because the scores of single frames are not stored here"
        ]
    return [] if numbers else [f"the {DEEPFAKEBENCH_FRAMES} frames of DeepfakeBench are assumed: {_NO_RUN}"]


def _saved_run(path: Path) -> tuple[float, dict[str, Any]]:
    """The stored threshold and the description of the run that the scores come from, if they come from one."""
    is_of_run = path.is_dir() or path.name == CSV_NAME or path.match(LINES_PATTERN)
    file = (path if path.is_dir() else path.parent) / RUN_NAME
    if not is_of_run or not file.is_file():
        return DECISION_THRESHOLD, {}
    try:
        run = _known(as_object(read_json(file), RUN_NAME), _SavedRun)
        return float(as_dataclass(run, _SavedRun).threshold), run
    except ValueError as error:
        raise EvaluationError(f"{file}: damaged ({str(error).removesuffix('.')}).") from error
