# SPDX-License-Identifier: Apache-2.0
"""Progress of an evaluation: the listener interface, and its display in a terminal or a log."""

import sys
import time
from collections.abc import Sequence

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..common.progress import make_progress
from ..common.text import printable


LINE_EVERY_S = 30.0


class EvaluationListener:
    """Receives what an evaluation reports while it runs; this one ignores it. Override the methods to use it."""

    def announce(self, lines: Sequence[str]) -> None:
        """
        Called before anything is computed, once for each data set.

        Args:
            lines: Description of the data to evaluate and of missing files.
        """

    def start(self, total: int, label: str) -> None:
        """
        Called before the videos of a data set are scored.

        Args:
            total: Number of videos and corrupted videos that this process will score.
            label: Label of the progress bar.
        """

    def advance(self) -> None:
        """Called after each video."""

    def finish(self) -> None:
        """Called after the last video, or when an error ends the scoring."""


class _Rate(ProgressColumn):
    """Videos per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("–/s" if speed is None else f"{speed:.2g}/s")


class TerminalListener(EvaluationListener):
    """
    Shows progress on standard error: a bar in a terminal, a line every half minute in a log.

    Args:
        quiet: Show announcements, but no progress.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._label, self._total, self._done = "", 0, 0
        self._started = self._said = 0.0

    def announce(self, lines: Sequence[str]) -> None:
        for line in lines:
            print(printable(line), file=sys.stderr)

    def start(self, total: int, label: str) -> None:
        self._label, self._total, self._done = label, total, 0
        self._started = self._said = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        bar = make_progress(*columns, is_hidden=self._quiet)
        if bar.disable:
            return
        self._bar = bar
        self._bar.add_task(label, total=total)
        self._bar.start()

    def advance(self) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
            return
        now = time.monotonic()
        if self._quiet or now - self._said < LINE_EVERY_S:
            return
        self._said = now
        rate = self._done / (now - self._started)
        left_min = (self._total - self._done) / rate / 60
        print(
            f"{self._label}: {self._done} of {self._total}, {rate:.2g}/s, {left_min:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
