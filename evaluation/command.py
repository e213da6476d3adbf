# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video evaluate`: parse, call, print. Torch is imported only when it is needed."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..common.errors import UsageError
from ..common.exit_codes import FAILED, OK
from ..common.files import check_folder_target
from ..common.packages import require_packages
from ..scanning.command import add_face_arguments, add_model_arguments, add_speed_arguments, settings_from, use_threads
from .plan import (
    DEEPFAKEBENCH_FRAMES,
    GROUP_NAMES,
    KIND_NAMES,
    LAYOUT_NAMES,
    SPLIT_NAMES,
    Ensemble,
    EvaluationPlan,
    KindName,
)


if TYPE_CHECKING:
    from ..video_errors import VideoLimits
    from .evaluation_result import EvaluationResult
    from .progress import TerminalListener

# Scores of the second model of a comparison, within the folder of a run.
COMPARED = "compared"
# Options that choose the videos or change their scores, which saved scores can no longer follow.
_OF_VIDEOS = (
    *("model", "ensemble", "frames", "faces", "face_aggregation", "dtype", "engine"),
    *("layout", "photos", "limit", "robustness", "kind", "calibrate", "calibration_split"),
)
DESCRIPTION = (
    "Evaluate a model on a data set in its original folder layout: AUC and other metrics per video, with "
    "95 % confidence intervals. Several data sets are reported in one table."
)
EXAMPLES = """\
examples:
  deepfake-video evaluate FaceForensics++ --model FOLDER --output run1
  deepfake-video evaluate ff=FaceForensics++ celeb=Celeb-DF-v2 --model FOLDER    one table of several data sets
  deepfake-video evaluate Celeb-DF-v2 --model FOLDER --model USER/REPO --ensemble logits
  deepfake-video evaluate Celeb-DF-v2 --model FOLDER --compare USER/REPO         paired AUC difference
  deepfake-video evaluate my_videos.csv --output run2 --robustness               columns path,label[,group]
  deepfake-video evaluate FaceForensics++ --model FOLDER --calibrate CALIBRATED
  deepfake-video evaluate --scores run1 --threshold 0.7                          from saved scores; reads no video
  deepfake-video evaluate --scores run1 run2 --verdict FOLDER                    calibrate the verdict bands
  deepfake-video evaluate --average seed1 seed2 seed3                            mean and deviation over seeds
  accelerate launch -m deepfake_video.cli evaluate Celeb-DF-v2 --output run3     several GPUs; several CPU processes:
  torchrun --nproc-per-node 4 -m deepfake_video.cli evaluate Celeb-DF-v2 --device cpu --output run3

Run the same command again to resume an evaluation that was interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of `deepfake-video evaluate`.

    Args:
        parser: The parser of the command.
    """
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _add_data(parser.add_argument_group("what to evaluate"))
    scoring = parser.add_argument_group("how to score videos")
    _add_scoring(scoring)
    add_speed_arguments(scoring)
    _add_metrics(parser.add_argument_group("metrics"))
    _add_calibration(parser.add_argument_group("calibration"))
    _add_output(parser.add_argument_group("output"))


def _add_data(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "roots",
        nargs="*",
        metavar="DATA",
        help="folder, CSV file or DeepfakeBench JSON file; NAME=PATH sets its name in a table of several data sets",
    )
    group.add_argument(
        "--scores", nargs="+", type=Path, metavar="PATH", help="saved scores instead of videos: folders or CSV files"
    )
    group.add_argument(
        "--average",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="report mean and standard deviation over the saved runs of several seeds",
    )
    group.add_argument(
        "--layout", "--dataset", choices=LAYOUT_NAMES, help="layout of the data set (default: detected)"
    )
    group.add_argument(
        "--photos",
        action="store_true",
        help="pictures are photos: search for faces in them, as in videos (default: pictures are cropped faces)",
    )
    group.add_argument(
        "--split", choices=SPLIT_NAMES, help="split to evaluate (default: test, or all if there are no splits)"
    )
    group.add_argument("--limit", type=int, metavar="N", help="evaluate at most N randomly drawn videos per class")


def _add_scoring(group: "argparse._ArgumentGroup") -> None:
    add_model_arguments(group)
    group.add_argument(
        "--ensemble",
        choices=get_args(Ensemble),
        default="probabilities",
        help="what is averaged over several models (default: probabilities)",
    )
    group.add_argument(
        "--frames",
        "--num-frames",
        type=int,
        metavar="N",
        help="number of frames per video (default: the number the model was trained with)",
    )
    add_face_arguments(group)
    group.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="label a video fake at this probability or above (default: 0.5, or that of the saved scores)",
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that read videos; 0 reads and scores in the same process (default: by the number of cores)",
    )


def _add_metrics(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--deepfakebench",
        action="store_true",
        help=f"add rows by the protocol of DeepfakeBench: mean probability of {DEEPFAKEBENCH_FRAMES} frames, and "
        "DeepfakeBench's definition of the EER",
    )
    group.add_argument(
        "--compare",
        metavar="ID",
        help="paired AUC difference from another model; with --scores, from its saved scores",
    )
    group.add_argument(
        "--robustness", action="store_true", help="also score corrupted videos: seven kinds at five levels"
    )
    group.add_argument(
        "--kind", action="append", default=[], choices=KIND_NAMES, help="only this kind of corruption; repeatable"
    )
    group.add_argument(
        "--group-by",
        choices=GROUP_NAMES,
        default="identity",
        help="unit of the bootstrap: identities, or single videos (default: identities, if known)",
    )
    group.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="bootstrap draws (default: 1000)")
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of intervals, --limit and corruptions (default: 0)"
    )


def _add_calibration(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--calibrate", type=Path, metavar="FOLDER", help="write a calibrated checkpoint here")
    group.add_argument(
        "--calibration-split",
        choices=SPLIT_NAMES[:3],
        help="split to calibrate on (default: val, or half of the identities)",
    )
    group.add_argument(
        "--verdict",
        type=Path,
        metavar="FOLDER",
        help="calibrate the verdict bands on these scores, measure their error rates, and write both to verdict.json "
        "and the model card in this folder; each data set is one source and is left out in turn",
    )


def _add_output(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--output", type=Path, metavar="DIR", help="write tables, scores and plots; the run can be resumed"
    )
    group.add_argument(
        "--plots", choices=["png", "svg", "none"], help="plots in DIR (default: png if matplotlib is installed)"
    )
    group.add_argument("--json", action="store_true", help="print JSON instead of tables")
    group.add_argument("--quiet", action="store_true", help="show no progress on standard error")


def run(arguments: argparse.Namespace) -> int:
    """
    Evaluate, save and print.

    Args:
        arguments: Those of [`add_arguments`].

    Returns:
        The exit code.

    Raises:
        UsageError: If the request is invalid.
    """
    _check(arguments)
    plan = _plan(arguments, use_threads(arguments.threads, decode_device=arguments.decode_device))
    if arguments.average is not None:
        return _average(arguments, plan)
    if arguments.scores is not None:
        return _rescore(arguments, plan)
    return _evaluate(arguments, plan)


def _check(arguments: argparse.Namespace) -> None:
    """
    Raises:
        UsageError: If options contradict each other.
    """
    sources = (bool(arguments.roots), arguments.scores is not None, arguments.average is not None)
    if sum(sources) != 1:
        raise UsageError("give either DATA, or saved scores with --scores or --average.")
    if not arguments.roots:
        given = [name for name in _OF_VIDEOS if getattr(arguments, name) != arguments.parser.get_default(name)]
        if given:
            option = given[0].replace("_", "-")
            raise UsageError(f"--{option} needs the videos: give DATA instead of saved scores.")
    if arguments.average is not None and (arguments.output or arguments.compare or arguments.verdict):
        raise UsageError("--average prints one table; omit --output, --compare and --verdict.")
    if arguments.verdict is not None:
        _check_verdict(arguments)
    if arguments.output is not None:
        check_folder_target(arguments.output)
    if arguments.plots in ("png", "svg"):
        if arguments.output is None:
            raise UsageError("--plots needs --output DIR to write to.")
        require_packages("--plots", "matplotlib", extra="plots")


def _check_verdict(arguments: argparse.Namespace) -> None:
    from .verdict_folder import check_model_folder

    if arguments.calibrate is not None:
        raise UsageError(
            "--verdict and --calibrate cannot be combined: calibrate first, then evaluate the new folder."
        )
    if len(arguments.model) > 1:
        raise UsageError("--verdict needs one model: verdict bands cannot be stored for an ensemble.")
    check_model_folder(arguments.verdict)


def _plan(arguments: argparse.Namespace, limits: "VideoLimits | None") -> EvaluationPlan:
    if arguments.calibrate is not None and arguments.compare is not None:
        raise UsageError("--calibrate and --compare cannot be combined; run evaluate twice.")
    settings = settings_from(arguments, limits, num_frames=arguments.frames, threshold=arguments.threshold)
    return EvaluationPlan(
        layout=arguments.layout,
        photos=arguments.photos,
        split=arguments.split,
        limit=arguments.limit,
        group_by=arguments.group_by,
        deepfakebench=arguments.deepfakebench,
        settings=settings,
        ensemble=arguments.ensemble,
        device=arguments.device,
        workers=arguments.workers,
        corruptions=tuple(arguments.kind) if arguments.kind or not arguments.robustness else get_args(KindName),
        calibrated_folder=arguments.calibrate,
        calibration_split=arguments.calibration_split,
        resamples=arguments.bootstrap,
        seed=arguments.seed,
    )


def _evaluate(arguments: argparse.Namespace, plan: EvaluationPlan) -> int:
    from ..common.processes import ProcessGroup
    from .evaluator import check_request, evaluate
    from .parts import typed_roots

    data, processes = typed_roots(arguments.roots), ProcessGroup(plan.device)
    options: dict[str, Any] = {"plan": plan, "processes": processes, "listener": _listener(arguments)}
    compared = None if arguments.output is None else arguments.output / COMPARED
    try:
        if arguments.compare is not None or arguments.verdict is not None:
            asked = {"compared": arguments.compare, "verdict_folder": arguments.verdict}
            check_request(arguments.model, data, plan=plan, processes=processes, **asked)
        result = evaluate(arguments.model, data, output=arguments.output, **options)
        other = partial(evaluate, arguments.compare, data, output=compared, **options)
        scored = _complete(result, arguments, plan, other, is_first=processes.is_first)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command to resume." if arguments.output else "") from None
    # A launcher takes any exit code but 0 for a crash of the process.
    return OK if all(one.is_complete for one in scored) or processes.size > 1 else FAILED


def _rescore(arguments: argparse.Namespace, plan: EvaluationPlan) -> int:
    from .rescoring import check_output, rescore

    if arguments.output is not None:
        check_output(arguments.output, arguments.scores)
    result = rescore(arguments.scores, plan=plan)
    scored = _complete(result, arguments, plan, partial(rescore, arguments.compare, plan=replace(plan, resamples=0)))
    return OK if all(one.is_complete for one in scored) else FAILED


def _complete(
    result: "EvaluationResult",
    arguments: argparse.Namespace,
    plan: EvaluationPlan,
    score_other: Callable[[], "EvaluationResult"],
    *,
    is_first: bool = True,
) -> list["EvaluationResult"]:
    """Add comparison and verdicts to a result and publish it, even if one of them fails; return what was scored."""
    from .comparing import with_comparison

    scored = [result]
    try:
        if arguments.compare is not None:
            scored.append(score_other())
            result = with_comparison(result, scored[-1], plan=plan)
        if arguments.verdict is not None and is_first:
            result = _with_verdicts(result, arguments)
    except Exception:
        # The scores may have taken hours, and the tables do not depend on what failed.
        if is_first:
            _publish(result, arguments)
        raise
    if is_first:
        _publish(result, arguments)
    return scored


def _with_verdicts(result: "EvaluationResult", arguments: argparse.Namespace) -> "EvaluationResult":
    from ..hub.model_files import VERDICT_NAME
    from .verdicts import write_verdicts

    file = arguments.verdict / VERDICT_NAME
    replaced = ", in place of those that were there" if file.exists() else ""
    verdicts = write_verdicts(result, arguments.verdict).to_dict()
    _listener(arguments).announce([f"verdict bands written to {file} and the model card{replaced}"])
    return replace(result, verdicts=verdicts)


def _average(arguments: argparse.Namespace, plan: EvaluationPlan) -> int:
    from ..common.console import print_json
    from .comparing import average_seeds
    from .metric_tables import print_parts, seed_parts
    from .rescoring import rescore

    if len({path.resolve() for path in arguments.average}) < len(arguments.average):
        raise UsageError("--average needs different runs, but one is given twice.")
    results = [rescore(path, plan=replace(plan, resamples=0)) for path in arguments.average]
    rows, runs = average_seeds(results), [str(path) for path in arguments.average]
    if arguments.json:
        print_json(json.dumps({"runs": runs, "rows": [asdict(row) for row in rows], "notes": rows.notes}, indent=2))
    else:
        print_parts(seed_parts(rows, len(results)))
    return OK if all(result.is_complete for result in results) else FAILED


def _publish(result: "EvaluationResult", arguments: argparse.Namespace) -> None:
    """Save the result if there is an output folder, and print it even if that fails."""
    from ..common.console import print_json
    from .metric_tables import print_parts, result_parts

    try:
        if arguments.output is not None:
            saved = result.save(arguments.output, plots=arguments.plots)
            if not arguments.quiet:
                hint = "" if saved.has_plots or arguments.plots == "none" else _PLOTS_HINT
                _listener(arguments).announce([f"written to {saved.folder}{hint}"])
    finally:
        if arguments.json:
            print_json(json.dumps(result.to_dict(), indent=2, allow_nan=False))
        else:
            print_parts(result_parts(result))


_PLOTS_HINT = "; for plots: pip install 'deepfake-video[plots]'"


def _listener(arguments: argparse.Namespace) -> "TerminalListener":
    from .progress import TerminalListener

    return TerminalListener(quiet=arguments.quiet)
