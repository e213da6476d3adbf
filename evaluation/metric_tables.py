# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation as human-readable tables."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..common.text import printable
from ..scanning.verdict_bands import VerdictBands
from .comparing import SeedMetric, SeedRow, SeedRows
from .evaluation_result import EvaluationResult
from .intervals import MIN_CLUSTERS
from .metric_rows import Row
from .metrics import FRAME_METRICS, VIDEO_METRICS, Estimate
from .warnings import num_videos, unscored_lines


# Width of a file, and of output that is not a terminal.
WIDTH = 132
HEADINGS = {
    "auc": "AUC",
    "ap": "AP",
    "eer": "EER",
    "balanced_accuracy": "bal. acc.",
    "f1": "F1",
    "tpr_at_1_fpr": "TPR@1%",
    "brier": "Brier",
    "ece": "ECE",
    "sensitivity": "sens.",
    "specificity": "spec.",
}
Parts = Sequence[Table | Text]


def print_parts(parts: Parts, console: Console | None = None) -> None:
    """
    Print tables and lines; if the output is not a terminal, they are not wrapped.

    Args:
        parts: Result of [`result_parts`] or [`seed_parts`].
        console: Console to print to; standard output by default.
    """
    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH
    for part in parts:
        # A terminal wraps long lines by itself, and a file keeps them whole.
        console.print(part, soft_wrap=isinstance(part, Text))


def result_text(result: EvaluationResult) -> str:
    """Return the tables of a result as plain text."""
    console = Console(width=WIDTH, color_system=None, force_terminal=False, no_color=True, legacy_windows=False)
    with console.capture() as capture:
        print_parts(result_parts(result), console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def result_parts(result: EvaluationResult) -> list[Table | Text]:
    """
    Lay out the tables and lines of a result.

    Args:
        result: The result.
    """
    rows = {level: [row for row in result.rows if row.level == level] for level in ("video", "deepfakebench", "frame")}
    rule = ", by the rule of this package" if rows["deepfakebench"] else ""
    title = f"{printable(result.dataset)}, split {printable(result.split)}, one score per video{rule}"
    parts: list[Table | Text] = [Text(title, style="bold"), _metric_table(rows["video"], VIDEO_METRICS)]
    if any(estimate.low is not None for row in result.rows for estimate in row.estimates.values()):
        unit = result.interval_unit
        interval = (
            f"95 % confidence interval, bootstrap over {unit}. Where all draws are equal, it is in closed form; "
            f"otherwise none is given for fewer than {MIN_CLUSTERS} of a class"
        )
        parts.append(Text(f"below each number: {interval}", style="dim"))
    if rows["deepfakebench"]:
        rule = (
            "\nby the rule of DeepfakeBench: mean fake probability of the frames of a video, its definition of the EER"
        )
        parts += [Text(rule, style="bold"), _metric_table(rows["deepfakebench"], FRAME_METRICS)]
    if rows["frame"]:
        parts += [Text("\nsingle frames", style="bold"), _metric_table(rows["frame"], FRAME_METRICS)]
    if result.robustness:
        parts += [Text("\nAUC of corrupted videos (DeeperForensics)", style="bold"), _robustness(result)]
    parts.append(Text(""))
    if result.verdicts is not None:
        bands = VerdictBands.from_dict(result.verdicts)
        parts += [Text(printable(line)) for line in (bands.sentence, *bands.notes)]
    parts += [Text(printable(line)) for line in _lines(result, rows["video"][0])]
    return parts


def seed_parts(rows: SeedRows, num_runs: int) -> list[Table | Text]:
    """
    Lay out the table over seeds.

    Args:
        rows: Rows of [`average_seeds`].
        num_runs: Number of runs.
    """
    parts: list[Table | Text] = []
    for level, title, metrics in (
        ("video", "one score per video", VIDEO_METRICS),
        ("deepfakebench", "by the rule of DeepfakeBench", FRAME_METRICS),
        ("frame", "single frames", FRAME_METRICS),
    ):
        table = _new_table("", *(HEADINGS[metric] for metric in metrics))
        of_level = [row for row in rows if row.level == level]
        for row in of_level:
            cells = (_seed_cell(row.estimates.get(metric)) for metric in metrics)
            table.add_row(Text(printable(_row_name(row))), *cells)
        if of_level:
            parts += [Text(f"{title}: mean ± standard deviation of {num_runs} runs", style="bold"), table]
    return parts + [Text(printable(note)) for note in rows.notes]


def _seed_cell(metric: SeedMetric | None) -> str:
    return "–" if metric is None else f"{_short(metric.mean, 3)} ± {_short(metric.deviation, 3)}"


def _row_name(row: Row | SeedRow) -> str:
    return f"compression {row.name}" if row.kind == "compression" else row.name


def _new_table(*columns: str) -> Table:
    """A table whose first column has names, and whose other columns have numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name, justify="right")
    return table


def _metric_table(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    table = _new_table("", "real", "fake", "scored", *(HEADINGS[metric] for metric in metrics))
    for row in rows:
        cells = [_cell(row.estimates[metric], is_auc=metric == "auc") for metric in metrics]
        name = Text(printable(_row_name(row)))
        table.add_row(name, str(row.num_real), str(row.num_fake), f"{_floor_percent(row.coverage)} %", *cells)
    return table


def _floor_percent(share: float) -> int:
    """Whole percent, rounded down: 100 only if nothing is missing."""
    return int(share * 100 + 1e-9)


def _cell(estimate: Estimate, *, is_auc: bool) -> str:
    if estimate.value is None:
        return "undefined" if is_auc else "–"
    if estimate.low is None or estimate.high is None:
        return _short(estimate.value, 3)
    return f"{_short(estimate.value, 3)}\n{_short(estimate.low, 2)}–{_short(estimate.high, 2)}"


def _short(value: float | None, digits: int) -> str:
    """ ".812", as papers write it."""
    return "–" if value is None else f"{value:.{digits}f}".removeprefix("0")


def _robustness(result: EvaluationResult) -> Table:
    table = _new_table("", "none", "1", "2", "3", "4", "5", "mean 1–5")
    for kind, values in result.robustness.items():
        corrupted = [value for value in values[1:] if value is not None]
        mean = sum(corrupted) / len(corrupted) if corrupted else None
        table.add_row(kind, *(_short(value, 3) for value in values), _short(mean, 3))
    return table


def _lines(result: EvaluationResult, whole: Row) -> list[str]:
    lines = []
    specificity = whole.estimates["specificity"]
    if specificity.value is not None:
        interval = "" if specificity.low is None else f" [{_short(specificity.low, 2)}–{_short(specificity.high, 2)}]"
        lines.append(
            f"specificity at the threshold {result.threshold:g}: {_short(specificity.value, 3)}{interval} "
            "of the real videos are called real"
        )
    if result.comparison:
        lines.append(_comparison_line(result.comparison))
    if result.calibration:
        lines += _calibration_lines(result.calibration)
    lines += result.warnings
    lines += unscored_lines(result.unscored)
    lines.append(_run_line(result.run))
    return lines


def _comparison_line(comparison: dict[str, Any]) -> str:
    """A [`Comparison`], as a dictionary, in one line."""
    interval = ""
    if comparison["low"] is not None:
        interval = (
            f" [{comparison['low']:+.3f} to {comparison['high']:+.3f}], 95 % paired bootstrap interval over "
            f"{comparison['interval_unit']}"
        )
    num_seen = comparison["num_seen"]
    seen = f", without {num_videos(num_seen)} that one of them has seen before" if num_seen else ""
    return (
        f"AUC of {comparison['second']}: {_short(comparison['second_auc'], 3)}, of {comparison['first']}: "
        f"{_short(comparison['first_auc'], 3)}; difference {comparison['difference']:+.3f}{interval} "
        f"({num_videos(comparison['num_videos'])} scored by both{seen})"
    )


def _calibration_lines(calibration: dict[str, Any]) -> list[str]:
    """A [`Calibration`], as a dictionary: the fitted values, the data and the effect."""
    return [
        f"calibrated on {calibration['dataset']} ({calibration['split']}, {calibration['num_videos']} videos): "
        f"temperature {calibration['temperature']:.4g}, bias {calibration['fake_bias']:.4g}",
        *(
            "ECE on {}: {} before, {} after".format(
                where, *("–" if value is None else f"{value:.4f}" for value in values)
            )
            for where, values in calibration["ece"].items()
        ),
        f"written to {calibration['folder']}",
    ]


def _run_line(run: dict[str, Any]) -> str:
    if not run:
        return "scores from a file: no video was read"
    weights = run.get("weights_sha256")
    short = f", weights {weights[:12]}" if weights else ""
    frames = ", ".join(
        f"{number} frames ({sampling})"
        for number, sampling in zip(run["num_frames"], run["frame_sampling"], strict=True)
    )
    ensemble = f", mean of the {run['ensemble']}" if len(run["num_frames"]) > 1 else ""
    return f"model {run['models']}{short}{ensemble}; {frames}, faces {run['faces']} ({run['face_aggregation']})"
