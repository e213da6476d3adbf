# SPDX-License-Identifier: Apache-2.0
"""The report: one self-contained HTML file about one or many videos."""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from ..common.files import write_atomically
from ..common.text import printable
from .evidence import Evidence
from .naming import face_name, short_names
from .results import UNTRAINED_WARNING, TimelineEntry, VideoResult
from .stretches import Stretch, clock, entries_by_track, worst_stretches
from .verdict import verdict_text


MAX_STRETCHES = 5
CHART_WIDTH, CHART_HEIGHT = 1000, 100
STATUS_WORDS = {
    "no_face": "no face found",
    "decode_error": "damaged file",
    "unsupported": "not supported",
    "too_large": "too large",
    "not_found": "not found",
    "unreadable": "not readable",
    "timeout": "took too long",
}


@dataclass(frozen=True, kw_only=True)
class TrackChart:
    """
    The timeline of one face as lines of an SVG picture of 1000 by 100 units, with a probability of 0 at the bottom.

    Attributes:
        name: Name of the face.
        lines: `points` of polylines, one for each period in which the face is visible without a gap.
        marks: x and width of the parts above the threshold.
        peak: The highest fake probability.
        counts: Whether the score of the video includes this face.
    """

    name: str
    lines: list[str]
    marks: list[tuple[float, float]]
    peak: float
    counts: bool


@dataclass(frozen=True, kw_only=True)
class VideoPage:
    """The values that the template shows for one video."""

    anchor: str
    name: str
    path: str
    result: VideoResult
    evidence: Evidence
    tone: str
    verdict: str
    stretches: list[Stretch]
    exceeds: bool
    charts: list[TrackChart]
    ticks: list[str]
    is_trained: bool


def render_report(
    results: Sequence[VideoResult], evidence: Sequence[Evidence | None], *, with_script: bool = True
) -> str:
    """
    Render the report of one video, or an index and the reports of several.

    Args:
        results: At least one result. The index begins with the highest fake probability.
        evidence: The pictures of each result, or `None`.
        with_script: Whether to include the script that sorts the index and opens the section of a linked video.

    Returns:
        The HTML page.

    Raises:
        ValueError: If there is no result, or if the lists differ in length.
    """
    if not results:
        raise ValueError("a report needs at least one result.")
    names = short_names([result.path for result in results])
    pages = [
        _page(f"video-{number}", name, result, pictures)
        for number, (name, result, pictures) in enumerate(zip(names, results, evidence, strict=True), 1)
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"clock": clock, "face": face_name, "printable": printable}
    style, script = (_read_asset(name) for name in ("report.css", "report.js"))
    page = environment.get_template("report.html.jinja").render(
        pages=pages,
        ranked=sorted(pages, key=lambda page: -_rank(page.result)),
        counts=Counter(page.tone for page in pages),
        rates_sentences=list(dict.fromkeys(result.verdict_rates for result in results if result.verdict_rates)),
        verdict_text=verdict_text,
        style=Markup(style),
        script=Markup(script) if with_script else None,
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        status_words=STATUS_WORDS,
        chart=(CHART_WIDTH, CHART_HEIGHT),
    )
    return page


def write_report(path: str | Path, results: Sequence[VideoResult], evidence: Sequence[Evidence | None]) -> None:
    """
    Write the report of one or several videos. The file appears only when it is complete.

    Args:
        path: The HTML file.
        results: At least one result.
        evidence: The pictures of each result, or `None`.

    Raises:
        OutputError: If it cannot be written.
    """
    write_atomically(path, render_report(results, evidence).encode("utf-8"))


def _page(anchor: str, name: str, result: VideoResult, evidence: Evidence | None) -> VideoPage:
    is_trained = UNTRAINED_WARNING not in result.warnings
    stretches = worst_stretches(result)[:MAX_STRETCHES]
    # Without a window above the threshold, the only stretch is the highest window.
    exceeds = bool(result.threshold is not None and stretches and stretches[0].fake_probability >= result.threshold)
    if result.status != "ok":
        tone, verdict = "unknown", "Could not be scored"
    else:
        # The three verdicts; without measured bands every video is undecided.
        tones = {"likely fake": "fake", "likely real": "real"}
        tone = tones.get(result.verdict or "", "mixed") if is_trained else "unknown"
        verdict = (result.verdict or "undecided").capitalize()
    return VideoPage(
        anchor=anchor,
        name=name,
        path=printable(result.path),
        result=result,
        evidence=evidence or Evidence(),
        tone=tone,
        verdict=verdict,
        stretches=stretches,
        exceeds=exceeds,
        charts=_charts(result),
        ticks=_ticks(result.duration_s or 0.0),
        is_trained=is_trained,
    )


def _ticks(duration_s: float) -> list[str]:
    """Five times at equal distances, with as many digits as tell them apart."""
    times = [duration_s * quarter / 4 for quarter in range(5)]
    labels = [clock(time) for time in times]
    for digits in range(1, 4):
        if len(set(labels)) == len(labels):
            break
        labels = [f"{time:.{digits}f} s" for time in times]
    return list(dict.fromkeys(labels))


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
                name=face_name(track_id),
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


def _read_asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
