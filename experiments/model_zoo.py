# SPDX-License-Identifier: Apache-2.0
"""
Evaluate several checkpoints and ensembles on several data sets, and write the page of the model zoo.

`python experiments/model_zoo.py --model default=checkpoints/default --data celeb=Celeb-DF-v2 --output docs` writes
`docs/model_zoo.md` and, in `docs/model_zoo/`, one CSV file per model with the score of every video. A model is
NAME=FOLDER, or NAME=FOLDER+FOLDER for an ensemble by the mean of logits. `--work` keeps the evaluations, so that the
command can be stopped and resumed.
"""

import argparse
import csv
import io
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from deepfake_video import evaluate
from deepfake_video.common.errors import UsageError
from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.common.files import write_atomically
from deepfake_video.evaluation.evaluation_result import EvaluationResult
from deepfake_video.evaluation.metric_rows import Row, RowOptions, make_rows
from deepfake_video.evaluation.metrics import Estimate
from deepfake_video.evaluation.plan import EvaluationPlan


PAGE, SCORES = "model_zoo.md", "model_zoo"
COLUMNS = ("dataset", "video", "label", "method", "fake_probability", "seen", "status")
_INTRODUCTION = (
    "The tables give the metrics of each checkpoint and ensemble on each available data set, per video, with 95 % "
    "intervals in brackets (bootstrap over people where the data set names them). `–` marks what is undefined, such "
    "as the AUC of a data set without fakes. Sensitivity and specificity use a threshold of 0.5. Only videos that a "
    "model was trained on are left out of its row; unlike the result of `evaluate`, the tables contain the videos of "
    "validation and calibration. The notes under a table state what videos were used for, if their files are recorded "
    "with the model; re-encoded copies are not recognised."
)
_METRICS = {"auc": "AUC", "eer": "EER", "sensitivity": "sensitivity", "specificity": "specificity"}

_USES = {
    "training": "training, and left out",
    "validation": "validation, so the checkpoint may have been chosen by them",
    # Not in an ensemble, in which the temperature of a model is its weight.
    "calibration": "calibration, on which sensitivity and specificity depend, but not AUC and EER",
}


@dataclass(frozen=True, kw_only=True)
class ZooPlan:
    """
    What the page shows.

    Attributes:
        models: Folders by the name of the model; several folders are an ensemble.
        data: Folders or CSV files by the name of the data set.
        output: Folder of the page.
        work: Folder that keeps the evaluations.
        workers: Processes that read videos; `None` decides by the number of cores.
        resamples: Bootstrap draws of the intervals.
        note: Sentences at the end of the introduction.
    """

    models: Mapping[str, tuple[str, ...]]
    data: Mapping[str, str]
    output: Path
    work: Path
    workers: int | None = None
    resamples: int = 1000
    note: str = ""


def write_zoo(plan: ZooPlan) -> Path:
    """
    Evaluate each model on each data set and write the page and the scores.

    Returns:
        The page.

    Raises:
        EvaluationError: If a data set cannot be read.
        ModelLoadError: If a model cannot be loaded.
        OSError: If a file cannot be written.
    """
    (plan.output / SCORES).mkdir(parents=True, exist_ok=True)
    results = {}
    for name, folders in plan.models.items():
        choices = EvaluationPlan(ensemble="logits", split="all", workers=plan.workers, resamples=plan.resamples)
        result = evaluate(folders, plan.data, output=plan.work / name, plan=choices)
        write_atomically(plan.output / SCORES / f"{name}.csv", scores_csv(result).encode())
        results[name] = result
    page = plan.output / PAGE
    write_atomically(page, zoo_page(plan, results).encode())
    return page


def scores_csv(result: EvaluationResult) -> str:
    """The score of every video as CSV: file names without folders, no frames."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for score in sorted(result.clean_scores, key=lambda score: (score.dataset, score.key)):
        probability = "" if score.fake_probability is None else f"{score.fake_probability:.6f}"
        video = PurePath(score.key).name
        writer.writerow(
            [score.dataset, video, score.label, score.method or "", probability, score.seen or "", score.status]
        )
    return stream.getvalue()


def zoo_page(plan: ZooPlan, results: Mapping[str, EvaluationResult]) -> str:
    """The page: one table per data set, a row per model, and what a reader must know about the videos."""
    links = [f"[{name}.csv]({SCORES}/{name}.csv)" for name in plan.models]
    introduction = " ".join([_INTRODUCTION, f"The score of every video is in {', '.join(links)}.", plan.note]).strip()
    lines = [
        "# Model zoo",
        "",
        *textwrap.wrap(introduction, 119, break_long_words=False, break_on_hyphens=False),
        "",
        *_command_lines(plan),
    ]
    for name in plan.data:
        rows = {model: _row_of(plan, result, name) for model, result in results.items()}
        first = next(iter(results.values()))
        is_fake = [score.is_fake for score in first.clean_scores if score.dataset == name]
        lines += [f"## {name}", "", f"{is_fake.count(False)} real videos, {is_fake.count(True)} fakes.", ""]
        lines += [f"| model | scored | {' | '.join(_METRICS.values())} |", f"|---|---|{'---|' * len(_METRICS)}"]
        for model, row in rows.items():
            cells = [_cell(row.estimates[metric]) for metric in _METRICS]
            lines.append(f"| {model} | {row.num_scored} | {' | '.join(cells)} |")
        lines += ["", *_seen_lines(plan, name, results)]
    return "\n".join([*lines, *_models_section(plan, results)]) + "\n"


def _command_lines(plan: ZooPlan) -> list[str]:
    """The command that writes the page, without the folders of this machine."""
    words = ["python experiments/model_zoo.py"]
    words += [f"--model {name}={'+'.join('FOLDER' for _ in folders)}" for name, folders in plan.models.items()]
    words += [f"--data {name}=DATA" for name in plan.data]
    return [
        "This command writes the page:",
        "",
        "<!-- not run: needs the data sets -->",
        "```bash",
        *(f"{'    ' * (number > 0)}{word} \\" for number, word in enumerate(words)),
        "    --output docs",
        "```",
        "",
    ]


def _row_of(plan: ZooPlan, result: EvaluationResult, dataset: str) -> Row:
    """
    The row of a data set.

    Unlike the result of an evaluation, it contains the videos that a model was validated or calibrated on: the page
    says so below the table, and hardly any others exist for some methods.
    """
    of_dataset = [score for score in result.clean_scores if score.dataset == dataset and score.seen != "training"]
    options = RowOptions(threshold=result.threshold, resamples=plan.resamples)
    return make_rows([replace(score, seen=None) for score in of_dataset], options)[0]


def _cell(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    interval = "" if estimate.low is None else f" [{estimate.low:.2f}–{estimate.high:.2f}]"
    return f"{estimate.value:.2f}{interval}"


def _seen_lines(plan: ZooPlan, dataset: str, results: Mapping[str, EvaluationResult]) -> list[str]:
    """Which models have seen videos of a data set before, by the lists in their folders."""
    lines = []
    for model, result in results.items():
        seen = Counter(score.seen for score in result.clean_scores if score.dataset == dataset and score.seen)
        for part, number in seen.items():
            use = part if part == "calibration" and len(plan.models[model]) > 1 else _USES[part]
            lines.append(f"- {model}: {number} of these videos {'was' if number == 1 else 'were'} used for {use}.")
    return [*lines, ""] if lines else []


def _models_section(plan: ZooPlan, results: Mapping[str, EvaluationResult]) -> list[str]:
    lines = ["## Models", "", "| model | networks | SHA-256 of the weights |", "|---|---|---|"]
    for name, folders in plan.models.items():
        kind = "1" if len(folders) == 1 else f"{len(folders)}, mean of logits"
        hashes = str(results[name].run["weights_sha256"]).split(" + ")
        lines.append(f"| {name} | {kind} | {', '.join(f'`{sha256[:16]}`' for sha256 in hashes)} |")
    return lines


def _named(words: Sequence[str], option: str) -> dict[str, str]:
    """
    Read NAME=VALUE words.

    Raises:
        UsageError: If a word has another form or a name is repeated.
    """
    found: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not value or not re.fullmatch(r"[\w. -]+", name) or name in found:
            raise UsageError(
                f"{option} takes NAME=VALUE; each NAME is unique and consists of letters, digits, spaces, . - and _; "
                f"got {word!r}."
            )
        found[name] = value
    return found


def _plan(arguments: argparse.Namespace) -> ZooPlan:
    models = {name: tuple(value.split("+")) for name, value in _named(arguments.model, "--model").items()}
    return ZooPlan(
        models=models,
        data=_named(arguments.data, "--data"),
        output=arguments.output,
        work=arguments.work or arguments.output / SCORES / "runs",
        workers=arguments.workers,
        resamples=arguments.bootstrap,
        note=arguments.note,
    )


def _write_and_print(arguments: argparse.Namespace) -> int:
    print(write_zoo(_plan(arguments)))
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FOLDER[+FOLDER]", help="repeatable")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=PATH", help="data set; repeatable")
    parser.add_argument("--output", required=True, type=Path, help="folder of the page, such as docs")
    parser.add_argument("--work", type=Path, help="folder of the evaluations (default: OUTPUT/model_zoo/runs)")
    parser.add_argument("--note", default="", metavar="TEXT", help="sentences at the end of the introduction")
    parser.add_argument("--workers", type=int, help="processes that read videos")
    parser.add_argument("--bootstrap", type=int, default=1000, help="bootstrap draws (default: 1000)")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _write_and_print(arguments))


if __name__ == "__main__":
    sys.exit(main())
