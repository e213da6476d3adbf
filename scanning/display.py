# SPDX-License-Identifier: Apache-2.0
"""Results in a terminal: a table with one row per video, and progress bars."""

import os
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..common.text import printable as printable
from .results import DEFAULT_ID, DEFAULT_TERMS, UNTRAINED_WARNING, VideoResult
from .stretches import clock, worst_stretches


BAR_CELLS = 16
# Columns of a table that is not printed in a terminal: no name is broken into lines.
_PIPED_WIDTH = 10_000
_LEVELS = "▁▂▃▄▅▆▇█"


def print_table(results: Sequence[VideoResult], console: Console | None = None) -> None:
    """
    Print one row per video, then messages, warnings, the model and the threshold.

    Args:
        results: At least one.
        console: Where to print; standard output by default.
    """
    console = console or Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("video", overflow="fold")
    if any(result.timeline for result in results):
        _fill_with_timelines(table, results)
    else:
        _fill(table, results)
    console.print(table)
    for note in _notes(results):
        console.print(Text(note), soft_wrap=True)


def _fill(table: Table, results: Sequence[VideoResult]) -> None:
    for heading in ("verdict", "status", "label"):
        table.add_column(heading)
    for heading in ("fake probability", "faces", "coverage", "frames", "length"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            _name(result),
            Text(result.verdict or "–", style=_style(result)),
            Text(result.status, style="" if result.status == "ok" else "yellow"),
            Text(result.label or "–"),
            _score(result),
            str(len(result.faces) or "–"),
            "–" if result.face_coverage is None else f"{result.face_coverage:.0%}",
            str(result.frames_analyzed or "–"),
            _length(result),
        )


def _fill_with_timelines(table: Table, results: Sequence[VideoResult]) -> None:
    """Fewer columns, so that a row fits in 80 characters."""
    table.add_column("verdict")
    for heading in ("fake", "faces", "length"):
        table.add_column(heading, justify="right")
    table.add_column("timeline", no_wrap=True)
    table.add_column("highest", no_wrap=True)
    for result in results:
        table.add_row(
            _name(result),
            Text(result.verdict or result.status, style=_style(result)),
            _score(result),
            str(len(result.faces) or "–"),
            _length(result),
            *_timeline(result),
        )


def _name(result: VideoResult) -> Text:
    return Text(printable(os.path.basename(result.path.rstrip("/")) or result.path))


def _score(result: VideoResult) -> str:
    return "–" if result.fake_probability is None else f"{result.fake_probability:.3f}"


def _style(result: VideoResult) -> str:
    """Colour of a verdict; none if it is undecided."""
    if result.status != "ok":
        return "yellow"
    return {"likely fake": "bold red", "likely real": "bold green"}.get(result.verdict or "", "")


def _timeline(result: VideoResult) -> tuple[Text, str]:
    worst = worst_stretches(result)
    if not worst:
        return Text("–"), "–"
    return _bar(result), f"{clock(worst[0].start_s)}–{clock(worst[0].end_s)} {worst[0].fake_probability:.2f}"


def _bar(result: VideoResult) -> Text:
    """The highest fake probability of all faces over time, as a row of blocks; red at or above the threshold."""
    bar = Text()
    duration = result.duration_s or 0.0
    for cell in range(BAR_CELLS):
        start, end = (duration * edge / BAR_CELLS for edge in (cell, cell + 1))
        inside = [entry.fake_probability for entry in result.timeline if entry.start_s < end and start < entry.end_s]
        if not inside:
            bar.append(" ")
            continue
        level = max(inside)
        is_above = result.threshold is not None and level >= result.threshold
        style = "red" if is_above and UNTRAINED_WARNING not in result.warnings else ""
        bar.append(_LEVELS[min(int(level * len(_LEVELS)), len(_LEVELS) - 1)], style=style)
    return bar


def _length(result: VideoResult) -> str:
    if result.duration_s is None:
        return "–"
    minutes, seconds = divmod(result.duration_s, 60)
    return f"{int(minutes)}:{seconds:04.1f}"


def _notes(results: Sequence[VideoResult]) -> list[str]:
    notes = [printable(result.message) for result in results if result.message]
    # The warning about the model is printed once, any other one with the name of its video.
    for result in results:
        name = printable(os.path.basename(result.path.rstrip("/")) or result.path)
        notes += [f"{name}: {printable(warning)}" for warning in result.warnings if warning != UNTRAINED_WARNING]
    if any(UNTRAINED_WARNING in result.warnings for result in results):
        notes.append(UNTRAINED_WARNING)
    notes += _verdict_notes(results)
    model = results[0].model
    sha256 = f", weights {model.weights_sha256[:12]}" if model.weights_sha256 else ""
    threshold = results[0].threshold
    rule = ": not loaded" if threshold is None else f"; called fake at a probability of {threshold:g} or above"
    notes.append(f"model {printable(model.id)}{sha256}{rule}")
    if model.id == DEFAULT_ID:
        notes.append(DEFAULT_TERMS)
    return notes


def _verdict_notes(results: Sequence[VideoResult]) -> list[str]:
    """Why videos are undecided, as far as few sentences say it, and the measured error rates."""
    reasons = [result.verdict_reason for result in results if result.verdict == "undecided" and result.verdict_reason]
    # Without bands, the reason is the same for all.
    notes = [f"undecided: {printable(reasons[0])}"] if reasons and len(set(reasons)) == 1 else []
    return notes + list(dict.fromkeys(printable(result.verdict_rates) for result in results if result.verdict_rates))


class ScanProgress:
    """
    Progress bars on standard error: the number of videos done, and the position of the timeline in a long video.

    Args:
        total: Number of videos.
        is_quiet: Whether to show nothing. Nothing is shown either if standard error is not a terminal.
    """

    def __init__(self, total: int, *, is_quiet: bool = False) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = is_quiet or not console.is_terminal
        self._progress = Progress(*columns, console=console, disable=hidden, transient=True)
        self._videos = self._progress.add_task("videos", total=total, visible=total > 1)
        self._seconds: TaskID | None = None
        self._progress.start()

    def video_done(self) -> None:
        """Count one more video."""
        self._progress.advance(self._videos)
        if self._seconds is not None:
            self._progress.remove_task(self._seconds)
        self._seconds = None

    def timeline_at(self, second: float) -> None:
        """Show the position of the timeline in the current video."""
        if self._seconds is None:
            self._seconds = self._progress.add_task("", total=None)
        self._progress.update(self._seconds, description=f"timeline at {clock(second)}")

    def close(self) -> None:
        """Remove the bars."""
        self._progress.stop()
