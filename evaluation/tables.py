# SPDX-License-Identifier: Apache-2.0
"""The report as tables for people."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..scanning.display import printable
from .metrics import FRAME_METRICS, VIDEO_METRICS, Estimate
from .report import Report, Row


# Of a file, and of a terminal that does not say how wide it is.
WIDTH = 132
MAX_UNSCORED = 20
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


def print_report(report: Report, console: Console | None = None) -> None:
    """Print all tables; where the output is no terminal, at a width that holds them."""
    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH
    _print(report, console)


def report_text(report: Report) -> str:
    """The same as plain text."""
    console = Console(width=WIDTH, color_system=None, force_terminal=False, no_color=True, legacy_windows=False)
    with console.capture() as capture:
        _print(report, console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _print(report: Report, console: Console) -> None:
    for part in _parts(report):
        # A long line is for the terminal to break, and a file keeps it whole.
        console.print(part, soft_wrap=isinstance(part, Text))


def _parts(report: Report) -> list[Table | Text]:
    videos = [row for row in report.rows if row.level == "video"]
    frames = [row for row in report.rows if row.level == "frame"]
    parts: list[Table | Text] = [
        Text(f"{printable(report.dataset)}, split {report.split}, one score a video", style="bold"),
        _metric_table(videos, VIDEO_METRICS),
        Text("below each number: 95 % bootstrap interval over videos", style="dim"),
    ]
    if frames:
        parts += [Text("\nsingle frames", style="bold"), _metric_table(frames, FRAME_METRICS)]
    if report.robustness:
        parts += [Text("\nAUC of degraded videos (DeeperForensics)", style="bold"), _robustness(report)]
    parts.append(Text(""))
    parts += [Text(printable(line)) for line in _lines(report, videos[0])]
    return parts


def _metric_table(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", overflow="fold")
    for name in ("real", "fake", "scored", *(HEADINGS[metric] for metric in metrics)):
        table.add_column(name, justify="right")
    for row in rows:
        cells = [_cell(row.estimates[metric], is_auc=metric == "auc") for metric in metrics]
        name = row.name if row.kind != "compression" else f"compression {row.name}"
        table.add_row(
            Text(printable(name)), str(row.num_real), str(row.num_fake), f"{_floor_percent(row.coverage)} %", *cells
        )
    return table


def _floor_percent(share: float) -> int:
    """100 only if nothing is missing."""
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


def _robustness(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in ("none", "1", "2", "3", "4", "5", "mean 1–5"):
        table.add_column(name, justify="right")
    for kind, values in report.robustness.items():
        degraded = [value for value in values[1:] if value is not None]
        mean = sum(degraded) / len(degraded) if degraded else None
        table.add_row(kind, *(_short(value, 3) for value in values), _short(mean, 3))
    return table


def _lines(report: Report, whole: Row) -> list[str]:
    lines = []
    specificity = whole.estimates["specificity"]
    if specificity.value is not None:
        interval = "" if specificity.low is None else f" [{_short(specificity.low, 2)}–{_short(specificity.high, 2)}]"
        lines.append(
            f"specificity at the threshold {report.threshold:g}: {_short(specificity.value, 3)}{interval} "
            "of the real videos are called real"
        )
    if report.calibration:
        lines += calibration_lines(report.calibration)
    lines += report.warnings
    for entry in report.unscored[:MAX_UNSCORED]:
        cell = f" ({entry['corruption']})" if entry["corruption"] else ""
        lines.append(f"not scored: {entry['key']}{cell}: {entry['message'] or entry['status']}")
    if len(report.unscored) > MAX_UNSCORED:
        lines.append(f"and {len(report.unscored) - MAX_UNSCORED} more")
    lines.append(_run_line(report.run))
    return lines


def calibration_lines(calibration: dict[str, Any]) -> list[str]:
    """What was fitted, on what, and what it changed."""
    return [
        f"calibrated on {calibration['dataset']} ({calibration['split']}, {calibration['num_videos']} videos): "
        f"temperature {calibration['temperature']:.4g}, bias {calibration['fake_bias']:.4g}",
        *(
            f"ECE on {where}: {before:.4f} before, {after:.4f} after"
            for where, (before, after) in calibration["ece"].items()
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
