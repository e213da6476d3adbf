# SPDX-License-Identifier: Apache-2.0
"""`evaluate`: score one or several data sets with a model, and compute tables of metrics."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ..common.files import as_paths, check_folder_target, lock_folder
from ..common.interrupts import unfinished
from ..common.plans import check_plan
from ..common.processes import ProcessGroup
from ..hub.model_files import WEIGHTS_NAME
from ..hub.packaged import DEFAULT_CHECKPOINT
from ..scanning.file_stamps import hash_files
from ..scanning.fingerprint import with_engine_of
from .calibration import check_held_out, check_labels, check_new_folder, check_source, write_calibration
from .corruptions import Corruption, grid
from .evaluation_result import EvaluationResult
from .frame_scorer import FrameScorer
from .metric_rows import RowOptions, interval_unit, make_rows, robustness_table, unseen_scores
from .parts import HELD_OUT, Data, Part, announce, check_classes, check_sources, named_roots, open_part
from .plan import DEEPFAKEBENCH_FRAMES, EvaluationPlan, GroupBy
from .progress import EvaluationListener
from .run_folder import describe
from .runner import Work, score_samples
from .samples import EvaluationError
from .scores import Score
from .verdict_folder import check_weights
from .warnings import list_unscored, make_warnings, seen_warnings


def evaluate(
    model: str | Path | Sequence[str | Path] | None,
    data: Data,
    *,
    group_by: GroupBy | None = None,
    output: str | Path | None = None,
    plan: EvaluationPlan | None = None,
    processes: ProcessGroup | None = None,
    listener: EvaluationListener | None = None,
) -> EvaluationResult:
    """
    Score a data set with a model and compute the standard metrics with 95 % confidence intervals.

    Every video is read once, so an evaluation takes about as long as a scan; the intervals for 1000 videos take
    seconds. Under `accelerate launch` or `torchrun` the processes share the videos, and each returns the same result.

    Args:
        model: Folder or Hub id; several are an ensemble, `None` is the packaged checkpoint.
        data: Original folder, CSV file or DeepfakeBench JSON file. Several, as a list or as a mapping from name to
            path, are reported in one table.
        group_by: Resampling unit of the bootstrap: "identity" (all videos of a person or source video) or "video";
            that of the plan by default.
        output: Folder in which the score of each video is stored, so that an interrupted evaluation can be resumed.
            With several data sets, each has a subfolder with its name. [`EvaluationResult.save`] adds tables and
            plots.
        plan: All other choices.
        processes: Process group that shares the work, if the caller has created one.
        listener: Receives descriptions of the data sets, and the progress.

    Returns:
        The result; a video that cannot be scored lowers the coverage and is listed in it.

    Raises:
        EvaluationError: If a data set cannot be read, or cannot be evaluated as the plan asks.
        ModelLoadError: If a model cannot be loaded.
        RunMismatchError: If `output` holds scores of another model or data set.
        OSError: If `output` cannot be written.

    Example:
        >>> plan = EvaluationPlan(resamples=20, workers=0)
        >>> data = {"ff": "FaceForensics++", "celeb": "Celeb-DF-v2"}
        >>> result = evaluate("model", data, group_by="identity", output="run", plan=plan)
        >>> [row.name for row in result.rows if row.kind == "dataset" and row.level == "video"]
        ['celeb', 'ff']
        >>> result.save("run").folder.name
        'run'
    """
    plan = _complete(plan or EvaluationPlan(), group_by)
    folder = None if output is None else Path(output)
    models, roots = _model_names(model), named_roots(data)
    _check_targets(folder, models, roots, plan)
    parts = [open_part(name, root, plan) for name, root in roots.items()]
    processes = processes or ProcessGroup(plan.device)
    heard = (listener or EvaluationListener()) if processes.is_first else EvaluationListener()
    return _evaluate_parts(parts, models, folder, plan, processes, heard)


def check_request(
    model: str | Path | Sequence[str | Path] | None,
    data: Data,
    *,
    plan: EvaluationPlan,
    processes: ProcessGroup,
    compared: str | None = None,
    verdict_folder: Path | None = None,
) -> None:
    """
    Check before hours of scoring that another model can be compared, or that verdict bands can be measured.

    Args:
        model: See [`evaluate`].
        data: See [`evaluate`].
        plan: See [`evaluate`].
        processes: Processes that share the work.
        compared: Folder or Hub id of the model to compare.
        verdict_folder: Model folder for verdict bands.

    Raises:
        EvaluationError: If a data set cannot be read, the other model does not fit the plan, the videos lack a
            class or a second source that is needed, or the verdict bands would be those of other weights.
        ModelLoadError: If a model that is needed for these checks cannot be loaded.
    """
    plan = _complete(plan, None)
    parts = [open_part(name, root, plan) for name, root in named_roots(data).items()]
    if verdict_folder is not None:
        check_sources(parts)
        models = _model_names(model)
        weights_sha256 = hash_files([Path(next(iter(models), DEFAULT_CHECKPOINT)) / WEIGHTS_NAME])
        if weights_sha256 is None:
            # They are on the Hub, or in several files.
            weights_sha256 = _load(models, plan, processes, []).identity.weights_sha256
        if weights_sha256 is not None:
            check_weights(verdict_folder, weights_sha256)
    if compared is not None:
        check_classes(parts)
        both = ([compared], _model_names(model))
        check_classes(parts, [_load(models, plan, processes, []).known_videos for models in both])


def _evaluate_parts(
    parts: Sequence[Part],
    models: Sequence[str],
    folder: Path | None,
    plan: EvaluationPlan,
    processes: ProcessGroup,
    listener: EvaluationListener,
) -> EvaluationResult:
    for part in parts:
        announce(part, folder if len(parts) == 1 or folder is None else folder / part.name, listener, processes)
    folders = [] if folder is None else [folder, *(folder / part.name for part in parts)]
    scorer = _load(models, plan, processes, folders)
    with ExitStack() as stack:
        stack.enter_context(unfinished())
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepfake-video-")))
        stack.callback(lock_folder(folder, processes.rank, work="evaluation").close)
        if len(parts) == 1:
            return _evaluate_part(parts[0], scorer, folder, plan, processes, listener)
        # The intervals are those of the joined table.
        single = replace(plan, resamples=0)
        results = {}
        for part in parts:
            with lock_folder(folder / part.name, processes.rank, work="evaluation"):
                results[part.name] = _evaluate_part(part, scorer, folder / part.name, single, processes, listener)
        return join_results(results, plan)


def join_results(results: Mapping[str, EvaluationResult], plan: EvaluationPlan) -> EvaluationResult:
    """
    Join the results of one model on several data sets into one result with a row for each data set.

    Args:
        results: Result of each data set by its name.
        plan: Settings for computing the rows.

    Raises:
        EvaluationError: If the scores were made by different models, or have different thresholds.
    """
    functions = [result.run.get("function") for result in results.values() if result.run]
    if any(function != functions[0] for function in functions):
        raise EvaluationError(
            f"the scores of {', '.join(results)} were made with different models or settings; one table compares data "
            "sets, not models: to compare two models, use --compare."
        )
    thresholds = sorted({result.threshold for result in results.values()})
    if len(thresholds) > 1:
        raise EvaluationError(
            f"the runs {', '.join(results)} have the thresholds {', '.join(f'{value:g}' for value in thresholds)}; "
            "choose one for the table with --threshold."
        )
    scores = [
        replace(score, key=f"{name}/{score.key}", dataset=name, people_of=_people_of(score, result, name))
        for name, result in results.items()
        for score in result.scores
    ]
    first = next(iter(results.values()))
    run = {
        **first.run,
        **{
            key: {name: result.run.get(key) for name, result in results.items()}
            for key in ("dataset", "layout", "derived_name")
        },
    }
    notes = [note for result in results.values() for note in result.notes]
    joined = make_result(
        scores,
        plan,
        split=", ".join(sorted({result.split for result in results.values()})),
        threshold=first.threshold,
        run=run if first.run else {},
        notes=list(dict.fromkeys(notes)),
    )
    return replace(joined, parts=tuple(replace(result, name=name) for name, result in results.items()))


def _people_of(score: Score, result: EvaluationResult, name: str) -> str:
    """
    The data set that names the people of a score.

    The same people may be in several parts, as in copies at several compressions. A name that comes from the folder or
    file says nothing of that: the part is taken for a source of its own.
    """
    is_named = score.dataset != result.run.get("derived_name")
    return (score.people_of or score.dataset) if is_named else name


def make_result(
    scores: Sequence[Score],
    plan: EvaluationPlan,
    *,
    split: str,
    threshold: float,
    run: dict[str, Any],
    notes: Sequence[str] = (),
    held_out: Sequence[Score] = (),
    calibration: dict[str, Any] | None = None,
) -> EvaluationResult:
    """
    Compute the rows and warnings of scores.

    Args:
        scores: Scores of the evaluated videos, corrupted ones too.
        plan: Settings for computing the rows.
        split: Name of the part that was evaluated.
        threshold: Fake probability at or above which a video is called fake.
        run: Settings that determined the scores.
        notes: Warnings about the model and the data set.
        held_out: Scores of the calibration videos.
        calibration: Fitted calibration.
    """
    clean = [score for score in scores if score.corruption is None]
    options = RowOptions(
        threshold=threshold,
        group_by=plan.group_by,
        deepfakebench=plan.deepfakebench,
        resamples=plan.resamples,
        seed=plan.seed,
    )
    rows = make_rows(clean, options)
    return EvaluationResult(
        dataset=", ".join(sorted({score.dataset for score in clean})),
        split=split,
        threshold=threshold,
        run=run,
        rows=rows,
        interval_unit=interval_unit(clean, plan.group_by),
        robustness=robustness_table(scores) if len(clean) < len(scores) else {},
        unscored=list_unscored([*scores, *held_out]),
        warnings=[*notes, *seen_warnings(clean), *make_warnings(rows)],
        calibration=calibration,
        scores=list(scores),
        notes=list(notes),
    )


def _complete(plan: EvaluationPlan, group_by: GroupBy | None) -> EvaluationPlan:
    """The plan with the grouping that was asked for, and with the frames of DeepfakeBench where they are wanted."""
    check_plan(plan, EvaluationPlan)
    if group_by is not None:
        plan = replace(plan, group_by=group_by)
    if plan.deepfakebench:
        plan = replace(plan, settings=replace(plan.settings, num_frames=DEEPFAKEBENCH_FRAMES))
    return plan


def _check_targets(
    output: Path | None, models: Sequence[str], roots: Mapping[str, Path], plan: EvaluationPlan
) -> None:
    """
    Raises:
        UsageError: If a folder cannot be written to, or the models to calibrate have no single checkpoint.
    """
    if output is not None:
        check_folder_target(output)
    if plan.calibrated_folder is None:
        return
    check_new_folder(plan.calibrated_folder)
    check_folder_target(plan.calibrated_folder)
    if len(models) > 1:
        raise EvaluationError("an ensemble cannot be calibrated: it has no single checkpoint; give one model.")
    if len(roots) > 1:
        raise EvaluationError("a checkpoint is calibrated on one data set, but several were given.")


def _model_names(model: str | Path | Sequence[str | Path] | None) -> list[str]:
    if model is None:
        return []
    return as_paths("model", model)


def _load(
    models: Sequence[str], plan: EvaluationPlan, processes: ProcessGroup, folders: Sequence[Path]
) -> FrameScorer:
    logging.disable_progress_bar()
    device = processes.device or plan.device
    settings = with_engine_of(plan.settings, folders, device)
    scorer = FrameScorer(models, device=device, settings=settings, ensemble=plan.ensemble)
    if plan.calibrated_folder is not None:
        check_labels(scorer.models[0])
        check_source(scorer.models[0].folder)
    return scorer


def _evaluate_part(
    part: Part,
    scorer: FrameScorer,
    folder: Path,
    plan: EvaluationPlan,
    processes: ProcessGroup,
    listener: EvaluationListener,
) -> EvaluationResult:
    run = describe(scorer, part.whole, seed=plan.seed)
    options: dict[str, Any] = {"processes": processes, "description": run, "workers": plan.workers}
    held_out: list[Score] = []
    if part.held_out:
        check_held_out(part.held_out, scorer.known_videos)
        work = Work(samples=part.held_out, whole=part.whole.samples)
        held_out = score_samples(scorer, work, folder=folder / HELD_OUT, listener=listener, **options)
    corruptions: list[Corruption] = grid(plan.corruptions)
    work = Work(samples=part.evaluated, whole=part.whole.samples, corruptions=corruptions, seed=plan.seed)
    scores = score_samples(scorer, work, folder=folder, listener=listener, **options)
    calibration: dict[str, Any] | None = None
    calibrated: list[str] = []
    if plan.calibrated_folder is not None and processes.is_first:
        clean = [score for score in scores if score.corruption is None]
        fitted = write_calibration(
            held_out,
            {"the evaluated videos": unseen_scores(clean)},
            model=scorer.models[0],
            dataset=", ".join(sorted({score.dataset for score in clean})),
            split=part.held_out_name,
            folder=plan.calibrated_folder,
        )
        calibration = asdict(fitted)
        calibrated = fitted.warnings
    return make_result(
        scores,
        plan,
        split=part.split,
        threshold=scorer.threshold,
        run=run,
        notes=[*scorer.warnings, *part.notes, *calibrated],
        held_out=held_out,
        calibration=calibration,
    )
