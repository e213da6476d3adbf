# SPDX-License-Identifier: Apache-2.0
"""Timestamps as a player shows them, on one clock: invalid values are repaired, gaps are kept, and both are reported.

The clock of a video is the clock of its container, counted from the container's start time: a picture that begins
two seconds after the sound begins at 2.0 s, and an MPEG transport stream whose clock starts at three hours begins
at 0 s. Where a container's start time is unusable, time counts from the first picture.

Frames stay in the order of presentation, so their timestamps have to increase. Wherever they do not, or a step is
longer than `GAP_S` and `GAP_INTERVALS` median intervals, the timestamps that follow decide what has happened:

* They go on from where the clock was before: what lies between is invalid (missing, repeated, far ahead or behind)
  and is replaced by interpolation. All other timestamps stay.
* They go on from the new value, which lies ahead by at most `MAX_GAP_S` (`MAX_CLOCK_STEP_S` in MPEG transport and
  program streams, whose clock may be reset): a gap, as in a slide show or a recording that waits for motion. It stays.
* They go on from another new value: the clock jumped (was reset, wrapped around, or two recordings were joined). What
  follows is moved so that no time passes between the two pictures but the median interval.

A single picture at the beginning or the end whose distance from the others exceeds both `MAX_CLOCK_STEP_S` and the
total duration of all other pictures also counts as a jump, unless the sound lasts as long.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream


__all__ = ["NOMINAL_FPS", "ContainerClock", "FrameTimes", "are_orderly", "container_clock", "read_times"]

# Assumed if no frame rate is given.
NOMINAL_FPS = 25.0
# A step longer than both is a gap: no new picture for so long.
GAP_S, GAP_INTERVALS = 2.0, 10
# FFmpeg takes a step of more than ten seconds for a new clock where a container may change its clock.
MAX_CLOCK_STEP_S = 10.0
MAX_GAP_S = 3600.0
# What lies beyond is invalid: float64 counts ticks exactly up to here, 3,000 years at 90 kHz.
_MAX_TICKS = 2**53
# So many timestamps in a row that continue each other make a clock; fewer are invalid values.
_CLOCK_LENGTH = 5
# Pictures are stored at most this many places away from where they are shown (H.264, A.3.1: 16 frames).
_MAX_REORDERING = 16


@dataclass(frozen=True, kw_only=True)
class ContainerClock:
    """What a container says about its clock.

    Args:
        time_base: Seconds per tick.
        start_s: When the container starts, in seconds of its own clock; `None` if it does not say.
        nominal_fps: Frames per second where no timestamp is usable.
        has_resets: Whether the clock may be reset inside the file.
        sound_end_s: When the sound ends, in seconds of the container's own clock; `None` if it does not say.
    """

    time_base: float
    start_s: float | None = None
    nominal_fps: float = NOMINAL_FPS
    has_resets: bool = False
    sound_end_s: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameTimes:
    """Display times of the frames of a video.

    Args:
        seconds: (T,) float64, increasing, on the clock described in this module.
        interval_s: Median seconds from one frame to the next.
        fps: Average frames per second, gaps left out.
        end_s: End of the last frame.
        gaps: (G,) int64, indices of the frames that are followed by a gap.
        warnings: Sentences about what was repaired or is unusual.
    """

    seconds: np.ndarray
    interval_s: float
    fps: float
    end_s: float
    gaps: np.ndarray
    warnings: list[str]

    @property
    def gap_starts_s(self) -> dict[int, float]:
        """Index of each frame followed by a gap, and its end in seconds if it lasted for the median interval."""
        return {int(index): float(self.seconds[index]) + self.interval_s for index in self.gaps}


def container_clock(container: InputContainer, stream: VideoStream, nominal_fps: float) -> ContainerClock:
    """Read the clock of an open container, for the times of `stream`."""
    kind, time_base = container.format.name.split(",")[0], float(stream.time_base or 0) or 1e-6
    start_s = None if container.start_time is None else container.start_time / 1e6
    if start_s is not None and kind in ("mov", "matroska"):
        # Their clock begins at 0: what lies before is sound that only prepares the decoder.
        start_s = max(start_s, 0.0)
    ends = [
        float((sound.start_time or 0) + sound.duration) * float(sound.time_base or 0)
        for sound in container.streams.audio
        if sound.duration is not None
    ]
    return ContainerClock(
        time_base=time_base,
        start_s=start_s,
        nominal_fps=nominal_fps,
        has_resets=kind in ("mpegts", "mpeg"),
        sound_end_s=max(ends, default=None),
    )


def are_orderly(pts: np.ndarray, order: np.ndarray, dts: np.ndarray | None = None) -> bool:
    """Return whether sorting packets by timestamp gives the order in which the decoder outputs the pictures.

    Args:
        pts: (packets,) int64 presentation times in the order of the file.
        order: (frames,) int64 packets of the frames, sorted by `pts`.
        dts: (packets,) int64 decoding times, where the container stores them.
    """
    if len(order) < 2:
        return True
    if np.any((pts < -_MAX_TICKS) | (pts > _MAX_TICKS)):
        return False
    if dts is not None and np.any(np.diff(dts) < 0):
        return False
    positions = np.argsort(np.argsort(order))
    if np.abs(positions - np.arange(len(order))).max() > _MAX_REORDERING:
        return False
    steps = np.diff(pts[order])
    # Across a long step nothing is reordered, unless the step is the error.
    is_long = steps > GAP_INTERVALS * _lower_median(steps)
    last_before = np.maximum.accumulate(positions)[:-1]
    first_after = np.minimum.accumulate(positions[::-1])[::-1][1:]
    return not np.any(is_long & (last_before > first_after))


def read_times(
    ticks: Sequence[int | None] | np.ndarray, clock: ContainerClock, *, last_duration: int = 0
) -> FrameTimes:
    """Compute the timestamps of the frames of a video in seconds.

    Args:
        ticks: (T,) timestamps in the file, in the order of presentation; `None` if missing. At least one.
        clock: What the container says about its clock.
        last_duration: Duration of the last frame in ticks; 0 if it is unknown.
    """
    if not isinstance(ticks, np.ndarray):
        ticks = [tick if tick is not None and abs(tick) <= _MAX_TICKS else None for tick in ticks]
    if all(tick is None for tick in ticks):
        seconds = np.arange(len(ticks)) / clock.nominal_fps
        interval_s, warnings = 1 / clock.nominal_fps, []
        if len(ticks) > 1:
            warnings = [f"the file has no timestamps; {clock.nominal_fps:g} frames per second were assumed"]
    else:
        repair = _Repair(ticks, clock)
        shown = repair.run()
        lead_s, warnings = _lead_s(float(shown[0]) * clock.time_base, clock)
        seconds = (shown - shown[0]) * clock.time_base + lead_s
        warnings = [*repair.sentences(seconds), *warnings]
        interval_s = repair.interval * clock.time_base
    steps = np.diff(seconds)
    gaps = np.flatnonzero(steps > max(GAP_S, GAP_INTERVALS * interval_s) + 1e-6)
    if len(gaps):
        longest = gaps[np.argmax(steps[gaps])]
        start_s = seconds[longest] + interval_s
        said = f"no new picture for {steps[longest] - interval_s:.1f} s, starting at {start_s:.1f} s"
        more = f"; {len(gaps)} such gaps, the first at {seconds[gaps[0]] + interval_s:.1f} s" if len(gaps) > 1 else ""
        warnings.append(f"{said}{more}")
    return FrameTimes(
        seconds=seconds,
        interval_s=interval_s,
        fps=_average_fps(seconds, gaps, interval_s),
        end_s=float(seconds[-1]) + _last_duration_s(last_duration * clock.time_base, steps, interval_s),
        gaps=gaps,
        warnings=warnings,
    )


def _lead_s(first_s: float, clock: ContainerClock) -> tuple[float, list[str]]:
    """Return the seconds from the start of the container to its first picture, and a warning if they are unusable."""
    if clock.start_s is None:
        return 0.0, []
    # Start times are rounded to microseconds. A picture before the start is a start that is later than it says.
    lead_s = first_s - clock.start_s
    if lead_s < 2e-6:
        return 0.0, []
    if lead_s > (MAX_CLOCK_STEP_S if clock.has_resets else MAX_GAP_S):
        return 0.0, [
            f"the picture's clock is {lead_s:.1f} s ahead of the container's; times count from the first frame"
        ]
    return lead_s, []


def _average_fps(seconds: np.ndarray, gaps: np.ndarray, interval_s: float) -> float:
    num_steps, span_s = len(seconds) - 1, float(seconds[-1] - seconds[0])
    if len(gaps):
        num_steps, span_s = num_steps - len(gaps), span_s - float(np.diff(seconds)[gaps].sum())
    return num_steps / span_s if num_steps > 0 and span_s > 0 else 1 / interval_s


def _last_duration_s(own_s: float, steps: np.ndarray, interval_s: float) -> float:
    """Return the duration of the last frame: its own unless that is a placeholder or invalid."""
    longest_s = max(MAX_CLOCK_STEP_S, GAP_INTERVALS * interval_s, min(float(steps.sum()), MAX_GAP_S))
    shortest_s = float(steps.min()) if len(steps) else 0.0
    return own_s if own_s > 0 and shortest_s / 2 <= own_s <= longest_s else interval_s


def _lower_median(steps: np.ndarray) -> int:
    return int(np.partition(steps, (len(steps) - 1) // 2)[(len(steps) - 1) // 2])


@dataclass
class _Repair:
    """One pass over the timestamps of a video that finds invalid ones, gaps and jumps of the clock.

    Attributes:
        interval: Median ticks from one frame to the next.
        invalid: Position and kind of each timestamp that was replaced.
        jumps: Position of the first frame on a new clock, and by how many ticks the clock jumped.
    """

    ticks: Sequence[int | None] | np.ndarray
    clock: ContainerClock
    interval: float = 0.0
    invalid: list[tuple[int, str]] = field(default_factory=list)
    jumps: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> np.ndarray:
        """Return increasing timestamps, (T,): int64 if nothing had to be repaired, otherwise float64."""
        if isinstance(self.ticks, np.ndarray) or None not in self.ticks:
            plain = np.asarray(self.ticks, np.int64)
            steps = np.diff(plain)
            self._measure(steps)
            if not len(steps) or (steps.min() > 0 and steps.max() <= self._gap):
                return plain
        known = [(position, int(tick)) for position, tick in enumerate(self.ticks) if tick is not None]
        self._measure(np.array([b - a for (i, a), (j, b) in itertools.pairwise(known) if j == i + 1]))
        self.invalid = [(position, "missing") for position, tick in enumerate(self.ticks) if tick is None]
        good = self._walk(known)
        self.invalid.sort()
        positions = np.array([position for position, _ in good])
        if len(good) == len(self.ticks):
            return np.array([value for _, value in good], np.int64)
        return self._interpolate(positions, np.array([value for _, value in good], np.float64))

    def _measure(self, steps: np.ndarray) -> None:
        ahead = steps[steps > 0]
        ticks_per_s = 1 / self.clock.time_base
        self.interval = float(_lower_median(ahead)) if len(ahead) else ticks_per_s / self.clock.nominal_fps
        self._gap = max(GAP_S * ticks_per_s, GAP_INTERVALS * self.interval)
        longest_s = MAX_CLOCK_STEP_S if self.clock.has_resets else MAX_GAP_S
        self._longest = max(longest_s * ticks_per_s, GAP_INTERVALS * self.interval)
        self._lone = max(MAX_CLOCK_STEP_S * ticks_per_s, max(GAP_INTERVALS, len(self.ticks)) * self.interval)

    def _walk(self, known: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return position and value of the valid timestamps, with the values of all clocks mapped to the first one."""
        good, offset = [known[0]], 0
        sizes: dict[int, int] = {0: 1}
        pending: list[tuple[int, int]] = []
        for item in [*known[1:], None]:  # `None` is the end
            if item is not None:
                position, value = item
                # Timestamps that continue each other behind a gap are not invalid, although they also continue the
                # clock: the longer it is without a valid timestamp, the longer a step it may take. Another gap may
                # follow them, as between bursts of pictures.
                is_behind_gap = bool(
                    pending
                    and pending[-1][1] + offset > good[-1][1]
                    and self._continues(pending[-1], item, self._longest)
                )
                if not is_behind_gap and self._continues(good[-1], (position, value + offset), self._gap):
                    self._reject(pending, good[-1], offset)
                    pending = []
                    good.append((position, value + offset))
                    sizes[offset] += 1
                    continue
                if pending and not self._continues(pending[-1], item, self._longest):
                    back_to_clock = good[-1][1] < value + offset <= pending[-1][1] + offset
                    self._reject(pending, good[-1], offset)
                    pending = []
                    if back_to_clock and self._continues(good[-1], (position, value + offset), self._longest):
                        good.append((position, value + offset))
                        sizes[offset] += 1
                        continue
                pending.append(item)
            if item is None and len(pending) == 1 and pending[0][1] + offset <= good[-1][1]:
                self._reject(pending, good[-1], offset)
            elif pending and (item is None or len(pending) == _CLOCK_LENGTH):
                is_lone = len(good) == 1 or (item is None and len(pending) == 1)
                offset = self._accept(pending, good, offset, sizes, is_lone=is_lone)
                pending = []
        # The container's start time belongs to the first clock, unless that is nothing but invalid values.
        base = next((each for each, size in sizes.items() if size >= _CLOCK_LENGTH), 0)
        return [(position, value - base) for position, value in good]

    def _continues(self, before: tuple[int, int], after: tuple[int, int], longest: float) -> bool:
        return 0 < after[1] - before[1] <= longest * (after[0] - before[0])

    def _reject(self, pending: list[tuple[int, int]], before: tuple[int, int], offset: int) -> None:
        for position, value in pending:
            ahead_s = (value + offset - before[1]) * self.clock.time_base
            kind = "repeated" if ahead_s == 0 else f"{abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}"
            self.invalid.append((position, kind))

    def _accept(
        self,
        pending: list[tuple[int, int]],
        good: list[tuple[int, int]],
        offset: int,
        sizes: dict[int, int],
        *,
        is_lone: bool,
    ) -> int:
        """Take the pending timestamps for valid, after a gap or on another clock; returns the offset of the clock."""
        (position, value), (before, latest) = pending[0], good[-1]
        end_s = self.clock.sound_end_s
        has_sound = end_s is not None and value * self.clock.time_base <= end_s and not self.clock.has_resets
        longest = self._longest
        if is_lone and len(self.ticks) > 2:
            longest = min(max(self._lone, latest - good[0][1]), longest)
        fitting = [
            each for each in (offset, *sizes) if self._continues((before, latest), (position, value + each), longest)
        ]
        if has_sound and value + offset > latest:
            fitting = [offset]
        if not fitting:
            step = value + offset - latest
            offset = latest + round(self.interval * (position - before)) - value
            self.jumps.append((position, step))
        else:
            offset = fitting[0]
        good += [(position, value + offset) for position, value in pending]
        sizes[offset] = sizes.get(offset, 0) + len(pending)
        return offset

    def _interpolate(self, positions: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return values for all frames: linear between valid ones, and at the median interval outside them."""
        everywhere = np.arange(len(self.ticks))
        shown = np.interp(everywhere, positions, values)
        before, after = everywhere < positions[0], everywhere > positions[-1]
        shown[before] = values[0] - self.interval * (positions[0] - everywhere[before])
        shown[after] = values[-1] + self.interval * (everywhere[after] - positions[-1])
        return shown

    def sentences(self, seconds: np.ndarray) -> list[str]:
        """Describe what was repaired, with the resulting display times."""
        said = []
        if self.invalid:
            position, kind = self.invalid[0]
            where = f"{kind}, at {seconds[position]:.2f} s"
            said.append(
                f"1 of {len(seconds)} timestamps is invalid ({where}) and was replaced by interpolation"
                if len(self.invalid) == 1
                else f"{len(self.invalid)} of {len(seconds)} timestamps are invalid (the first: {where}) and were "
                "replaced by interpolation"
            )
        if self.jumps:
            position, step = self.jumps[0]
            more = f"; {len(self.jumps)} such jumps" if len(self.jumps) > 1 else ""
            step_s = abs(step) * self.clock.time_base
            said.append(
                f"timestamps jump {'forward' if step > 0 else 'back'} by {step_s:.1f} s at {seconds[position]:.2f} s; "
                f"the jump was removed{more}"
            )
        return said
