# SPDX-License-Identifier: Apache-2.0
"""Results in a terminal: a table with one row per video, one with a row per face, and progress bars."""

import os
from collections.abc import Collection, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..common.progress import make_progress
from ..common.text import printable
from .naming import face_name, short_names
from .not_judged import describe_shortly
from .results import FRAMES_WARNING, PHOTO_WARNING, UNTRAINED_WARNING, TimelineEntry, VideoResult
from .stretches import Stretch, clock, clock_length, clock_range, entries_by_track, worst_stretches


BAR_CELLS = 16
# Columns of a table that is not printed in a terminal, unless the variable COLUMNS gives another number.
PIPED_WIDTH = 80
_SHORTEST_NAME = 8
# Below it rich would leave out the names, so a narrower terminal wraps the lines.
_SMALLEST_WIDTH = 72
# Videos in a folder differ in length, so the remaining time follows from the last half hour.
_SPEED_PERIOD_S = 1800.0
_PRINTED_ONCE = (PHOTO_WARNING, FRAMES_WARNING, UNTRAINED_WARNING)
_LEVELS = "▁▂▃▄▅▆▇█"


def print_table(
    results: Sequence[VideoResult], console: Console | None = None, *, kept: Collection[str] = frozenset()
) -> None:
    """
    Print one row per video, one row per face if there is a timeline, then messages, warnings and the model.

    A name that does not fit is shortened in its middle, so that rows stay within the width of the terminal.

    Args:
        results: At least one.
        console: Console to print to; standard output by default.
        kept: Paths of the results that an earlier run stored.
    """
    console = console or Console()
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = PIPED_WIDTH
    console.width = max(console.width, _SMALLEST_WIDTH)
    names = short_names([result.path for result in results])
    console.print(_video_table(results, names, kept))
    if any(result.timeline for result in results):
        console.print()
        console.print(_face_table(results, names))
    for note in [*_notes(results, names), *_kept_note(results, kept)]:
        # A terminal gets whole words in its lines; a file gets whole lines.
        console.print(Text(note), soft_wrap=not console.is_terminal)


class _Name:
    """A name in a cell, shortened in its middle if the column is too narrow."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = cell_len(self._name)
        return Measurement(min(width, _SHORTEST_NAME), width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shorten_middle(self._name, options.max_width), no_wrap=True, overflow="ellipsis")


def shorten_middle(name: str, width: int) -> str:
    """
    Shorten a name to a number of terminal cells. Its end, which tells files of one series apart, is kept longer.

    Args:
        name: The name.
        width: Number of cells, at least 3.

    Example:

        >>> from deepfake_video.scanning.display import shorten_middle
        >>> shorten_middle("interview_2026-11-24_part3.mp4", 16)
        'interv…part3.mp4'
    """
    if cell_len(name) <= width:
        return name
    front = set_cell_size(name, (width - 1) * 2 // 5).rstrip()
    back = name
    while cell_len(back) > width - 1 - cell_len(front):
        back = back[1:]
    return f"{front}…{back}"


def _table(*columns: str, numbers: Collection[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        # The only column that may wrap is the first that rich makes narrower.
        is_name = column == "video"
        table.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=not is_name,
        )
    return table


def _video_table(results: Sequence[VideoResult], names: Sequence[str], kept: Collection[str]) -> Table:
    numbers = ("fake", "faces", "coverage", "length")
    tells_run = any(result.path in kept for result in results)
    table = _table("video", "verdict", "status", *numbers, *(["run"] if tells_run else []), numbers=numbers)
    for result, name in zip(results, names, strict=True):
        table.add_row(
            _Name(name),
            Text(result.verdict or "–", style=_style(result)),
            Text(result.status, style="" if result.status == "ok" else "yellow"),
            _score(result.fake_probability),
            str(len(result.faces) or "–"),
            _percent(result.face_coverage),
            "–" if result.duration_s is None else clock_length(result.duration_s),
            *(["old" if result.path in kept else "new"] if tells_run else []),
        )
    return table


def _face_table(results: Sequence[VideoResult], names: Sequence[str]) -> Table:
    """The timeline of each face. The score of a face that only the timeline found is a dash."""
    table = _table("video", "face", "fake", "coverage", "timeline", "highest", numbers=("fake", "coverage"))
    for result, name in zip(results, names, strict=True):
        faces = {face.track_id: face for face in result.faces}
        tracks = entries_by_track(result)
        stretches = worst_stretches(result)
        for number, track_id in enumerate(dict.fromkeys([*tracks, *faces])):
            face = None if track_id is None else faces.get(track_id)
            entries = tracks.get(track_id, [])
            table.add_row(
                _Name("" if number else name),
                face_name(track_id).lower() if track_id is None else str(track_id + 1),
                _score(face.fake_probability if face else result.fake_probability if track_id is None else None),
                _percent(face.coverage if face else None),
                _bar(entries, result),
                _highest(track_id, entries, stretches),
            )
    return table


def _highest(track_id: int | None, entries: Sequence[TimelineEntry], stretches: Sequence[Stretch]) -> str:
    if not entries:
        return "–"
    highest: Stretch | TimelineEntry = next(
        (stretch for stretch in stretches if stretch.track_id == track_id),
        max(entries, key=lambda entry: entry.fake_probability),
    )
    return f"{clock_range(highest.start_s, highest.end_s)} {highest.fake_probability:.2f}"


def _score(probability: float | None) -> str:
    return "–" if probability is None else f"{probability:.3f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _style(result: VideoResult) -> str:
    """Colour of a verdict; none if it is undecided."""
    if result.status != "ok":
        return "yellow"
    return {"likely fake": "bold red", "likely real": "bold green"}.get(result.verdict or "", "")


def _bar(entries: Sequence[TimelineEntry], result: VideoResult) -> Text:
    """The fake probability of a face over time, as a row of blocks; in colour at or above the threshold."""
    bar = Text()
    duration = result.duration_s or 0.0
    for cell in range(BAR_CELLS):
        start, end = (duration * edge / BAR_CELLS for edge in (cell, cell + 1))
        inside = [entry.fake_probability for entry in entries if entry.start_s < end and start < entry.end_s]
        if not inside:
            bar.append(" ")
            continue
        level = max(inside)
        is_above = result.threshold is not None and level >= result.threshold
        colour = "red" if result.verdict == "likely fake" else "yellow"
        style = colour if is_above and UNTRAINED_WARNING not in result.warnings else ""
        bar.append(_LEVELS[min(int(level * len(_LEVELS)), len(_LEVELS) - 1)], style=style)
    return bar


def _notes(results: Sequence[VideoResult], names: Sequence[str]) -> list[str]:
    notes = [printable(result.message) for result in results if result.message]
    # The warnings about the model and about photos are printed once, any other one with the name of its video.
    for result, name in zip(results, names, strict=True):
        notes += [f"{name}: {printable(warning)}" for warning in result.warnings if warning not in _PRINTED_ONCE]
        if result.timeline and (left_out := describe_shortly(result)):
            notes.append(f"{name}: {left_out}")
        if result.provenance is not None and result.provenance.is_found:
            notes.append(f"{name}: {printable(result.provenance.summary)}")
    notes += [once for once in _PRINTED_ONCE if any(once in result.warnings for result in results)]
    notes += [*_verdict_notes(results), *_fetched_note(results)]
    model = results[0].model
    hashes = " + ".join(sha256[:12] for sha256 in (model.weights_sha256 or "").split(" + "))
    weights = f", weights {hashes}" if hashes else ""
    threshold = results[0].threshold
    rule = ": not loaded" if threshold is None else f"; label for programs (CSV, JSON): fake at {threshold:g} or above"
    notes.append(f"model {printable(model.id)}{weights}{rule}")
    if model.terms:
        notes.append(model.terms)
    return notes


def _verdict_notes(results: Sequence[VideoResult]) -> list[str]:
    """Why videos are undecided, as far as few sentences say it, and the measured error rates."""
    reasons = [result.verdict_reason for result in results if result.verdict == "undecided" and result.verdict_reason]
    # Without bands, the reason is the same for all.
    notes = [f"undecided: {printable(reasons[0])}"] if reasons and len(set(reasons)) == 1 else []
    return notes + list(dict.fromkeys(printable(result.verdict_rates) for result in results if result.verdict_rates))


def _fetched_note(results: Sequence[VideoResult]) -> list[str]:
    """How much of the videos in stores was read."""
    fetched = [result.fetched for result in results if result.fetched is not None]
    total, size = sum(one.num_bytes for one in fetched), sum(one.size_bytes for one in fetched)
    return [f"fetched {total / 1e6:.2f} of {size / 1e6:.2f} MB"] if fetched else []


def _kept_note(results: Sequence[VideoResult], kept: Collection[str]) -> list[str]:
    num_kept = sum(result.path in kept for result in results)
    return [kept_note(num_kept, len(results) - num_kept)] if num_kept else []


def kept_note(num_kept: int, num_new: int) -> str:
    """
    The sentence about a scan that was resumed.

    Args:
        num_kept: Number of results that an earlier run stored.
        num_new: Number of results of this run.
    """
    return f"{num_kept} result{'s' if num_kept > 1 else ''} of an earlier run, {num_new or 'none'} new"


class ScanProgress:
    """
    Progress bars on standard error: the number of videos done, and the position of the timeline in a long video.

    Args:
        total: Number of videos.
        is_quiet: Whether to hide the bars. They are also hidden if standard error is not a terminal.
    """

    def __init__(self, total: int, *, is_quiet: bool = False) -> None:
        self._progress = make_progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            is_hidden=is_quiet,
            speed_period_s=_SPEED_PERIOD_S,
        )
        self._total = total
        self._videos = self._progress.add_task("videos", total=total, visible=total > 1)
        self._seconds: TaskID | None = None
        self._progress.start()

    def video_kept(self) -> None:
        """Exclude a video that was scored earlier, because it says nothing about the remaining time."""
        self._total -= 1
        self._progress.reset(self._videos, total=self._total, visible=self._total > 1)

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
