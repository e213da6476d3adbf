# SPDX-License-Identifier: Apache-2.0
"""The report: one self-contained HTML file about one or many videos."""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from ..common.files import write_atomically
from ..common.text import printable
from .evidence import Evidence
from .naming import short_names
from .not_judged import range_text, reason_text
from .results import UNTRAINED_WARNING, TimelineEntry, VideoResult
from .stretches import Stretch, clock, clock_length, clock_range, entries_by_track, longest_window_s, worst_stretches
from .texts import Texts, meaning_key, verdict_key
from .verdict import verdict_text


MAX_STRETCHES = 5
CHART_WIDTH, CHART_HEIGHT = 1000, 100
# Distances of the times below a chart, in seconds.
TICK_STEPS_S = (
    *(0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 15, 20, 30),
    *(60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400),
)
# As many fit the width of a phone.
MAX_TICKS = 5
# Times in shorter videos are shown with tenths of a second, so that they differ.
SHORT_S = 5.0
_TONES = {"likely fake": "fake", "likely real": "real"}


@dataclass(frozen=True, kw_only=True)
class Tick:
    """
    A time below a chart.

    Attributes:
        percent: Its place, from 0 at the start of the video to 100 at its end.
        label: The time in words.
        anchor: The part of the label that stands at this place: "start", "middle" or "end".
    """

    percent: float
    label: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class TrackChart:
    """
    The timeline of one face as lines of an SVG picture of 1000 by 100 units, with a probability of 0 at the bottom.

    Attributes:
        track_id: Number of the face; `None` for whole frames.
        lines: `points` of polylines, one for each period in which the face is visible without a gap.
        marks: x and width of the parts above the threshold.
        peak: The highest fake probability.
        counts: Whether the score of the video includes this face.
    """

    track_id: int | None
    lines: list[str]
    marks: list[tuple[float, float]]
    peak: float
    counts: bool


@dataclass(frozen=True, kw_only=True)
class VideoPage:
    """
    The values that the template shows for one video.

    Attributes:
        limits: The fake probabilities that separate the verdicts, in words; `None` if there are none.
        limit_marks: The same as numbers.
    """

    anchor: str
    name: str
    path: str
    result: VideoResult
    evidence: Evidence
    tone: str
    verdict: str
    meaning: str
    stretches: list[Stretch]
    exceeds: bool
    charts: list[TrackChart]
    ticks: list[Tick]
    limits: Markup | None
    limit_marks: list[float]
    is_trained: bool
    is_short: bool
    longest_window_s: float


def render_report(
    results: Sequence[VideoResult],
    evidence: Sequence[Evidence | None],
    *,
    with_script: bool = True,
    texts: Texts | None = None,
) -> str:
    """
    Render the report of one video, or an index and the reports of several.

    Args:
        results: At least one result. The index begins with the highest fake probability.
        evidence: The pictures of each result, or `None`.
        with_script: Whether to include the script that sorts the index and opens the section of a linked video.
        texts: The texts of another language; English by default.

    Returns:
        The HTML page.

    Raises:
        ValueError: If there is no result, or if the lists differ in length.
    """
    if not results:
        raise ValueError("a report needs at least one result.")
    texts = texts or Texts.read()
    names = short_names([result.path for result in results])
    pages = [
        _page(f"video-{number}", name, result, pictures, texts)
        for number, (name, result, pictures) in enumerate(zip(names, results, evidence, strict=True), 1)
    ]
    style, script = (_read_asset(name) for name in ("report.css", "report.js"))
    style += _running_titles(pages, texts)
    return (
        _environment(texts)
        .get_template("report.html.jinja")
        .render(
            pages=pages,
            ranked=sorted(pages, key=lambda page: -_rank(page.result)),
            counts=Counter(_tone(page.result) for page in pages),
            rates_sentences=list(dict.fromkeys(result.verdict_rates for result in results if result.verdict_rates)),
            verdict_text=verdict_text,
            style=Markup(style),
            script=Markup(script) if with_script else None,
            style_hash=_csp_hash(style),
            script_hash=_csp_hash(script),
            t=texts,
            clock_range=clock_range,
            width=CHART_WIDTH,
            height=CHART_HEIGHT,
        )
    )


def write_report(
    path: str | Path,
    results: Sequence[VideoResult],
    evidence: Sequence[Evidence | None],
    *,
    texts: Texts | None = None,
) -> None:
    """
    Write the report of one or several videos. The file appears only when it is complete.

    Args:
        path: The HTML file.
        results: At least one result.
        evidence: The pictures of each result, or `None`.
        texts: The texts of another language; English by default.

    Raises:
        OutputError: If it cannot be written.
    """
    write_atomically(path, render_report(results, evidence, texts=texts).encode("utf-8"))


def _environment(texts: Texts) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "clock": clock,
        "clock_length": clock_length,
        "face": lambda track_id: _face_name(track_id, texts),
        "printable": printable,
        "range": range_text,
        "reason": reason_text,
        "span": lambda part: clock_range(part.start_s, part.end_s),
    }
    return environment


def _page(anchor: str, name: str, result: VideoResult, evidence: Evidence | None, texts: Texts) -> VideoPage:
    is_trained = UNTRAINED_WARNING not in result.warnings
    stretches = worst_stretches(result)[:MAX_STRETCHES]
    # Without a window above the threshold, the only stretch is the highest window.
    exceeds = bool(result.threshold is not None and stretches and stretches[0].fake_probability >= result.threshold)
    verdict = verdict_key(result)
    marks = _limit_marks(result)
    return VideoPage(
        anchor=anchor,
        name=name,
        path=printable(result.path),
        result=result,
        evidence=evidence or Evidence(),
        tone=_tone(result) if is_trained else "unknown",
        verdict=texts(f"verdict.{verdict}"),
        meaning=meaning_key(result),
        stretches=stretches,
        exceeds=exceeds,
        charts=_charts(result),
        ticks=_ticks(result.duration_s or 0.0, texts),
        limits=texts(f"band.limits_{'_'.join(marks)}", **{name: f"{at:.3g}" for name, at in marks.items()})
        if marks
        else None,
        limit_marks=list(marks.values()),
        is_trained=is_trained,
        is_short=(result.duration_s or 0.0) < SHORT_S,
        longest_window_s=longest_window_s(result),
    )


def _limit_marks(result: VideoResult) -> dict[str, float]:
    """The probabilities that separate the verdicts, by the name of the limit."""
    places = asdict(result.verdict_limits) if result.verdict_limits else {}
    return {name: place for name, place in places.items() if place is not None}


def _tone(result: VideoResult) -> str:
    """The class of a verdict in the style sheet; a video without one, as without measured bands, is undecided."""
    return "unknown" if result.status != "ok" else _TONES.get(result.verdict or "", "mixed")


def _face_name(track_id: int | None, texts: Texts) -> str:
    return texts("face.whole") if track_id is None else texts("face.numbered", number=track_id + 1)


def _ticks(duration_s: float, texts: Texts) -> list[Tick]:
    """Times at round distances, each at its exact place."""
    if duration_s < TICK_STEPS_S[0]:
        return [Tick(percent=0.0, label=clock(0.0), anchor="start")]
    fitting = (step for step in TICK_STEPS_S if duration_s / step < MAX_TICKS)
    step = next(fitting, duration_s / (MAX_TICKS - 1))
    ticks = []
    for number in range(int(duration_s / step + 1e-9) + 1):
        percent = min(100.0, 100 * number * step / duration_s)
        label = clock(number * step) if step >= 1 else texts("seconds", number=f"{number * step:g}")
        anchor = "start" if number == 0 else "end" if percent > 92 else "middle"
        ticks.append(Tick(percent=round(percent, 3), label=label, anchor=anchor))
    return ticks


def _charts(result: VideoResult) -> list[TrackChart]:
    duration = result.duration_s or 1.0
    known: set[int | None] = {face.track_id for face in result.faces} or {None}
    threshold = result.threshold if result.threshold is not None else 1.0
    charts = []
    for track_id, entries in entries_by_track(result).items():
        marks = [
            (CHART_WIDTH * entry.start_s / duration, CHART_WIDTH * (entry.end_s - entry.start_s) / duration)
            for entry in worst_stretches(result)
            if entry.track_id == track_id and entry.fake_probability >= threshold
        ]
        charts.append(
            TrackChart(
                track_id=track_id,
                lines=[_points(run, duration) for run in _unbroken(entries)],
                marks=[(round(x, 1), round(width, 1)) for x, width in marks],
                peak=max(entry.fake_probability for entry in entries),
                counts=track_id in known,
            )
        )
    return charts


def _unbroken(entries: Sequence[TimelineEntry]) -> list[list[TimelineEntry]]:
    runs: list[list[TimelineEntry]] = []
    for entry in entries:
        if runs and entry.start_s < runs[-1][-1].end_s:
            runs[-1].append(entry)
        else:
            runs.append([entry])
    return runs


def _points(entries: Sequence[TimelineEntry], duration: float) -> str:
    """A line through the middles of the windows, extended to the start of the first and the end of the last one."""
    first, last = entries[0], entries[-1]
    knots = [(first.start_s, first.fake_probability)]
    knots += [((entry.start_s + entry.end_s) / 2, entry.fake_probability) for entry in entries]
    knots += [(last.end_s, last.fake_probability)]
    return " ".join(f"{CHART_WIDTH * x / duration:.1f},{CHART_HEIGHT * (1 - y):.1f}" for x, y in knots)


def _rank(result: VideoResult) -> float:
    return -1.0 if result.fake_probability is None else result.fake_probability


def _running_titles(pages: Sequence[VideoPage], texts: Texts) -> str:
    """Rules of a style sheet that print the name of the video at the top of each sheet of paper."""
    title = pages[0].name if len(pages) == 1 else texts.plain("page.videos", count=len(pages))
    rules = [f"@page {{ @top-left {{ content: {_css_string(title)} }} }}"]
    if len(pages) > 1:
        for page in pages:
            rules.append(f"@page {page.anchor} {{ @top-left {{ content: {_css_string(page.name)} }} }}")
            rules.append(f"@media print {{ #{page.anchor} {{ page: {page.anchor} }} }}")
    return "\n".join([*rules, f"@page {{ @bottom-left {{ content: {_css_string(texts.plain('page.kind'))} }} }}", ""])


def _css_string(text: str) -> str:
    """A string of a style sheet, which neither ends early nor ends the sheet, whatever the text is."""
    plain = (letter if letter.isascii() and letter.isalnum() else f"\\{ord(letter):06x}" for letter in text)
    return f'"{"".join(plain)}"'


def _read_asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
