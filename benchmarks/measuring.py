# SPDX-License-Identifier: Apache-2.0
"""Time several implementations of one task in turns, so that a disturbance affects all of them."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    Attributes:
        group: Which part it belongs to.
        what: What is compared, ours ÷ the peer's.
        value: The ratio, or the figure itself; `None` where it was not measured.
        goal: As the table shows it, with "≤" or "≥"; empty without one.
        ours: Our median, with its unit.
        peer: The peer's median, with its unit.
        exactness: How far the outputs agree, or why there is no value.
    """

    group: str
    what: str
    value: float | None = None
    goal: str = ""
    ours: str = ""
    peer: str = ""
    exactness: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; `None` where there is none or no figure."""
        if self.value is None or not self.goal:
            return None
        bound = float(self.goal[1:])
        return self.value <= bound if self.goal[0] == "≤" else self.value >= bound

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "is_met": self.is_met}


@dataclass(frozen=True)
class Times:
    """Seconds of each round: on the clock, and of the processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def interleave(ways: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, Times], dict[str, Any]]:
    """Run each way once to warm up, then once per round in rotating order; return the times and the first outputs."""
    answers = {name: way() for name, way in ways.items()}
    times = {name: Times() for name in ways}
    names = list(ways)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            wall, cpu = time.perf_counter(), time.process_time()
            ways[name]()
            times[name].cpu.append(time.process_time() - cpu)
            times[name].wall.append(time.perf_counter() - wall)
    return times, answers


@contextmanager
def clock(spent: dict[str, float], part: str) -> Iterator[None]:
    """Add the CPU time of the block in seconds to a part."""
    start = time.process_time()
    yield
    spent[part] += time.process_time() - start


def timed(function: Callable[..., Any], spent: dict[str, float], part: str) -> Callable[..., Any]:
    """Wrap a function so that the CPU time of its calls in seconds is added to a part."""

    def wrapped(*arguments: Any) -> Any:
        with clock(spent, part):
            return function(*arguments)

    return wrapped


def compare(
    group: str, what: str, ours: Times, peer: Times, *, goal: str = "", exactness: str = "", clock: str = "wall"
) -> Row:
    """A row of the ratio of two medians."""
    a, b = getattr(ours, clock), getattr(peer, clock)
    return Row(
        group,
        f"{what}, {'CPU time' if clock == 'cpu' else 'wall'}",
        statistics.median(a) / statistics.median(b),
        goal,
        f"{statistics.median(a) * 1e3:.0f} ms",
        f"{statistics.median(b) * 1e3:.0f} ms",
        exactness,
        {"ours": a, "peer": b},
    )
