# SPDX-License-Identifier: Apache-2.0
"""How far an evaluation is: a bar in a terminal, a line every half minute in a log."""

import sys
import time
from types import TracebackType

from rich.console import Console
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


LINE_EVERY_S = 30.0


class _Rate(ProgressColumn):
    """Videos a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("–/s" if speed is None else f"{speed:.2g}/s")


class EvaluationProgress:
    """
    Progress on standard error, with the rate and the time that is left. Use it as a context manager.

    Args:
        total: Tasks in all.
        done: How many were finished before.
        label: What is counted.
        quiet: Whether to say nothing.
    """

    def __init__(self, total: int, *, done: int = 0, label: str = "scoring", quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._is_terminal, self._quiet = console.is_terminal, quiet
        self._label, self._total, self._before, self._done = label, total, done, done
        self._started = self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=total, completed=done)

    def __enter__(self) -> "EvaluationProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One more is finished."""
        self._done += 1
        self._bar.advance(self._task)
        now = time.monotonic()
        if self._quiet or self._is_terminal or now - self._said < LINE_EVERY_S:
            return
        self._said = now
        rate = (self._done - self._before) / (now - self._started)
        left_min = (self._total - self._done) / rate / 60
        print(
            f"{self._label}: {self._done} of {self._total}, {rate:.2g}/s, {left_min:.0f} min left",
            file=sys.stderr,
            flush=True,
        )
