# SPDX-License-Identifier: Apache-2.0
"""One evaluation from the typed choices to the written results."""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ..common.console import print_json
from ..common.files import lock_folder, write_atomically
from ..common.interrupts import unfinished
from ..common.processes import ProcessGroup
from ..common.text import printable
from ..scanning.detector import DECISION_THRESHOLD
from ..scanning.fingerprint import RUN_NAME, RunMismatchError
from ..scanning.results import UNTRAINED_WARNING
from ..scanning.settings import ScanSettings, check_threshold
from .calibration import HALF, calibrate, hold_out
from .corruptions import KINDS, grid
from .datasets import open_benchmark
from .judging import Judge
from .plots import write_plots
from .report import Report, list_unscored, make_rows, make_warnings, model_index, robustness_table, seen_line
from .run_folder import describe
from .runner import Work, evaluate
from .samples import Benchmark, EvaluationError, Sample
from .scores import CSV_NAME, LINES_PATTERN, Score, read_scores, write_csv_scores
from .tables import print_report, report_text


MAX_LISTED = 20
MISSING_NAME = "missing.txt"
# Parts of a run's folder: scores that calibrate, and tables of what is left to evaluate then.
HELD_OUT, REMAINING = "held-out", "remaining"
NO_RUN = "no run.json says which checkpoint made these scores"


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is evaluated, and what calibrates: two parts with nobody in common."""

    whole: Benchmark
    split: str
    evaluated: list[Sample]
    held_out: list[Sample]
    held_out_name: str


def evaluate_dataset(arguments: argparse.Namespace) -> bool:
    """
    Score a data set and report.

    Returns:
        Whether any video could not be scored. Among several processes always False: a launcher takes any other exit
        status for a crash.

    Raises:
        ValueError: If something was asked for that cannot be done.
        OSError: If results cannot be written.
    """
    settings = ScanSettings(
        num_frames=arguments.num_frames,
        faces=arguments.faces,
        face_aggregation=arguments.face_aggregation,
        threshold=arguments.threshold,
        dtype=arguments.dtype,
        engine=arguments.engine,
    )
    plan = _make_plan(arguments)
    processes = ProcessGroup(arguments.device)
    if processes.is_first:
        _announce(plan, arguments.output)
    logging.disable_progress_bar()
    device = processes.device or arguments.device
    judge = Judge(arguments.model, device=device, settings=settings, ensemble=arguments.ensemble)
    for processor in judge.processors:
        # A number of frames that does not go with the sampling is said here, not at the first video.
        processor.frame_indices(1, num_frames=settings.num_frames)
    corruptions = grid(arguments.kind or KINDS) if arguments.robustness or arguments.kind else []
    with ExitStack() as stack:
        stack.callback(processes.close)
        stack.enter_context(unfinished())
        folder = arguments.output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepfake-video-")))
        stack.callback(lock_folder(folder, processes.rank, work="evaluation").close)
        run = describe(judge, root=plan.whole.root, layout=plan.whole.layout, seed=arguments.seed)
        options: dict[str, Any] = {"processes": processes, "description": run}
        options |= {"workers": arguments.workers, "quiet": arguments.quiet}
        held_out: list[Score] = []
        if plan.held_out:
            part = Work(samples=plan.held_out, whole=plan.whole.samples)
            held_out = evaluate(judge, part, folder=folder / HELD_OUT, **options)
        work = Work(samples=plan.evaluated, whole=plan.whole.samples, corruptions=corruptions, seed=arguments.seed)
        scores = evaluate(judge, work, folder=folder, **options)
        if not processes.is_first:
            return False
        report = _make_report(plan, judge, scores, held_out, run, arguments)
        _publish(report, scores, arguments)
        return bool(report.unscored) and processes.size == 1


def _make_plan(arguments: argparse.Namespace) -> _Plan:
    whole = open_benchmark(arguments.root, arguments.dataset)
    split = arguments.split or ("test" if whole.has_splits else "all")
    evaluated = whole.select(arguments.split).samples
    held_out: list[Sample] = []
    name = ""
    if arguments.calibrate is not None:
        chosen = arguments.calibration_split
        held_out, evaluated, name = hold_out(whole, arguments.split, chosen, seed=arguments.seed)
        if name == HALF:
            split = f"{split}, without {HALF}"
    return _Plan(whole=whole, split=split, evaluated=evaluated, held_out=held_out, held_out_name=name)


def _make_report(
    plan: _Plan,
    judge: Judge,
    scores: Sequence[Score],
    held_out: Sequence[Score],
    run: dict[str, Any],
    arguments: argparse.Namespace,
) -> Report:
    clean = [score for score in scores if score.corruption is None]
    rows = make_rows(clean, judge.threshold, resamples=arguments.bootstrap, seed=arguments.seed)
    dataset = ", ".join(sorted({score.dataset for score in clean}))
    calibration: dict[str, Any] | None = None
    few: list[str] = []
    if plan.held_out:
        fitted = calibrate(
            held_out,
            clean,
            model=judge.models[0],
            dataset=dataset,
            split=plan.held_out_name,
            folder=arguments.calibrate,
            samples=plan.held_out,
        )
        calibration = asdict(fitted)
        few = [fitted.warning] if fitted.warning else []
    return Report(
        dataset=dataset,
        split=plan.split,
        threshold=judge.threshold,
        run=run,
        rows=rows,
        robustness=robustness_table(scores) if len(clean) < len(scores) else {},
        unscored=list_unscored([*scores, *held_out]),
        warnings=[*judge.warnings, *plan.whole.notes, *few, *seen_line(clean), *make_warnings(rows)],
        calibration=calibration,
    )


def rescore(arguments: argparse.Namespace) -> bool:
    """
    Report on saved scores; no model is loaded and no video opened.

    Returns:
        Whether any video has no score.

    Raises:
        ValueError: If there are no scores, or they are damaged.
        OSError: If results cannot be written.
    """
    scores = read_scores(arguments.scores)
    if arguments.split not in (None, "all"):
        scores = [score for score in scores if score.split == arguments.split]
        if not scores:
            raise ValueError(f"{arguments.scores}: no score belongs to the split {arguments.split!r}.")
    threshold, run = _saved_run(arguments.scores)
    assumed = [] if run or arguments.threshold is not None else [f"the threshold {threshold:g} is assumed: {NO_RUN}"]
    threshold = threshold if arguments.threshold is None else arguments.threshold
    clean = [score for score in scores if score.corruption is None]
    if not clean:
        raise ValueError(f"{arguments.scores}: holds scores of degraded videos only.")
    rows = make_rows(clean, threshold, resamples=arguments.bootstrap, seed=arguments.seed)
    splits = sorted({score.split or "all" for score in clean})
    report = Report(
        dataset=", ".join(sorted({score.dataset for score in clean})),
        split=arguments.split or ", ".join(splits),
        threshold=threshold,
        run=run,
        rows=rows,
        robustness=robustness_table(scores) if len(clean) < len(scores) else {},
        unscored=list_unscored(scores),
        warnings=[
            *([] if run.get("is_trained", True) else [UNTRAINED_WARNING]),
            *assumed,
            *seen_line(clean),
            *make_warnings(rows),
        ],
    )
    _check_output(arguments)
    _publish(report, scores, arguments)
    return bool(report.unscored)


def _check_output(arguments: argparse.Namespace) -> None:
    """
    Raises:
        RunMismatchError: If tables of saved scores would replace those of another run.
    """
    output, source = arguments.output, arguments.scores
    if output is None or not (output / RUN_NAME).is_file() or output.resolve() == source.resolve():
        return
    raise RunMismatchError(
        f"{output}: holds another run than {source}, whose tables would stand beside its scores; choose another "
        "--output."
    )


def _announce(plan: _Plan, output: Path | None) -> None:
    """What will be evaluated, and what is missing, by name, before anything is computed."""
    samples = [*plan.evaluated, *plan.held_out]
    reals = sum(not sample.is_fake for sample in samples)
    where = f"{plan.whole.root}: {plan.whole.layout}, split {plan.split}"
    lines = [f"{where}: {reals} real and {len(samples) - reals} fake videos", *plan.whole.notes]
    if plan.held_out:
        lines.append(f"{len(plan.held_out)} of them calibrate ({plan.held_out_name}), the others are evaluated")
    named = {sample.key for sample in samples}
    missing = [key for key in plan.whole.missing if key in named]
    if missing:
        lines.append(f"{len(missing)} of them are missing; they count as not scored:")
        lines += [f"  {key}" for key in missing[:MAX_LISTED]]
        if len(missing) > MAX_LISTED:
            rest = f"{len(missing) - MAX_LISTED} more"
            lines.append(f"  and {rest}" if output is None else f"  and {rest}, see {output / MISSING_NAME}")
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            write_atomically(output / MISSING_NAME, "".join(f"{key}\n" for key in missing).encode("utf-8", "replace"))
    for line in lines:
        print(printable(line), file=sys.stderr)


def _saved_run(path: Path) -> tuple[float, dict[str, Any]]:
    """The stored threshold and the description of the run that a folder comes from."""
    is_of_run = path.is_dir() or path.name == CSV_NAME or path.match(LINES_PATTERN)
    file = (path if path.is_dir() else path.parent) / RUN_NAME
    if not is_of_run or not file.is_file():
        return DECISION_THRESHOLD, {}
    try:
        run: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        threshold = float(run["threshold"])
        check_threshold(threshold)
        return threshold, run
    except (ValueError, TypeError, KeyError) as error:
        raise EvaluationError(f"{file}: is damaged ({error}).") from error


def _publish(report: Report, scores: Sequence[Score], arguments: argparse.Namespace) -> None:
    """Write the report where there is an output folder, and print it whether that succeeds or not."""
    try:
        if arguments.output is not None:
            # What calibrates is missing from these tables: they must not replace those of a run over everything.
            folder = arguments.output / REMAINING if report.calibration else arguments.output
            _write(report, scores, folder, arguments)
    finally:
        if arguments.json:
            print_json(json.dumps(report.to_dict(), indent=2, allow_nan=False))
        else:
            print_report(report)


def _write(report: Report, scores: Sequence[Score], output: Path, arguments: argparse.Namespace) -> None:
    """Each file whole or not at all."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".unfinished-") as name:
        folder = Path(name)
        report.write_json(folder / "metrics.json")
        (folder / "table.txt").write_text(report_text(report), encoding="utf-8")
        write_csv_scores(scores, folder / CSV_NAME)
        if report.run.get("is_trained", True):
            block = model_index(report, Path(str(report.run.get("models", "scores"))).name)
            (folder / "model-index.yml").write_text(block, encoding="utf-8")
        image_format = arguments.plots or ("png" if importlib.util.find_spec("matplotlib") else "none")
        if image_format != "none":
            clean = [score for score in scores if score.corruption is None]
            write_plots(report, clean, folder, image_format=image_format)
        for file in sorted(folder.iterdir()):
            file.replace(output / file.name)
    if not arguments.quiet:
        hint = "" if image_format != "none" else "; for plots: pip install 'deepfake-video[plots]'"
        print(f"written to {output}{hint}", file=sys.stderr)
