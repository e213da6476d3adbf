# SPDX-License-Identifier: Apache-2.0
"""
Write the figures of the packaged checkpoint into README.md and docs/: `python .ci/docs_figures.py`.

Run it after replacing the packaged checkpoint; a test fails until then. A section is what stands between the
comments `figures: NAME` and `end of figures`.
"""

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path

from deepfake_video.cli import main
from deepfake_video.evaluation.intervals import clopper_pearson_interval
from deepfake_video.hub.packaged import DEFAULT_CHECKPOINT
from deepfake_video.scanning.verdict_bands import Rate, VerdictBands, read_bands


ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# The newsroom: clips, and how many of them are fake.
CLIPS, FAKES = 1000, 10
_LISTED_SOURCES = 5
_SECTION = re.compile(r"(<!-- figures: ([\w-]+) -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)


def sample_section() -> str:
    """What `deepfake-video predict` prints for the sample video."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        code = main(["predict"])
    if code:
        raise SystemExit(f"predict ended with exit code {code}")
    return f"```text\n{output.getvalue()}```\n"


def verdicts_section() -> str:
    """The rates of the verdicts, and what they mean for a newsroom."""
    bands = _bands()
    real = _shares(bands.false_alarms, bands.undecided_real)
    fake = _shares(bands.misses, bands.undecided_fake)
    likely_real = _right(bands.false_alarms, bands.undecided_real)
    likely_fake = _right(bands.misses, bands.undecided_fake)
    names = f"{', '.join(bands.sources[:-1])} and {bands.sources[-1]}" if bands.sources[1:] else bands.sources[0]
    sources = names if len(bands.sources) <= _LISTED_SOURCES else "listed in its card"
    num_real = CLIPS - FAKES
    undecided, missed = num_real * real[1] + FAKES * fake[1], FAKES * fake[0]
    alarms, found = num_real * real[0], FAKES * fake[2]
    lines = [
        f"Measured on {bands.people} real people and {bands.fakes} fakes that the checkpoint was not trained on (the "
        "clips of one real person count as one, and so do the fakes of one person by one method), from "
        f"{len(bands.sources)} sources ({sources}), each source with limits that were set without it:",
        "",
        f"| verdict | of {CLIPS:,} real clips | of {CLIPS:,} fakes |",
        "|---|---|---|",
        f"| likely fake | {_of_thousand(bands.false_alarms, real[0])} | {_of_thousand(likely_fake, fake[2])} |",
        f"| undecided | {_of_thousand(bands.undecided_real, real[1])} | "
        f"{_of_thousand(bands.undecided_fake, fake[1])} |",
        f"| likely real | {_of_thousand(likely_real, real[2])} | {_of_thousand(bands.misses, fake[0])} |",
        "",
        "Exact 95 % intervals are in brackets; they are wide because few people were measured. Of "
        f"{CLIPS:,} clips of which {FAKES} are fake, these rates give:",
        "",
        f"- likely fake: {_clips(alarms + found, found)};",
        f"- undecided: {_clips(undecided, FAKES * fake[1])};",
        f"- likely real: {_clips(num_real * real[2] + missed, missed)}.",
        "",
        _advice(bands, found, alarms),
    ]
    return "\n".join(lines) + "\n"


def labels_section() -> str:
    """False alarms and misses of the labels, from the table in the card of the checkpoint."""
    rows = label_rates((DEFAULT_CHECKPOINT / "README.md").read_text(encoding="utf-8"))
    if not rows:
        return "Not measured for the packaged checkpoint.\n"
    lines = [
        "| videos | real clips, fakes measured | of 1,000 real clips, labelled fake | of 1,000 fakes, labelled fake |",
        "|---|---|---|---|",
        *(
            f"| {name} | {numbers} | {1000 * (1 - specificity):.0f} | {1000 * sensitivity:.0f} |"
            for name, numbers, sensitivity, specificity in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def label_rates(card: str) -> list[tuple[str, str, float, float]]:
    """
    Read the sensitivity and specificity at the threshold of 0.5 from the table in a card.

    Returns:
        Name of the videos, their numbers, sensitivity and specificity, for rows that have both.
    """
    rows: list[tuple[str, str, float, float]] = []
    header: list[str] = []
    for line in card.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if {"sensitivity", "specificity"} <= set(cells):
            header = cells
        elif not cells:
            header = []
        elif header and len(cells) == len(header):
            row = dict(zip(header, cells, strict=True))
            found = [re.match(r"[\d.]+", row[name]) for name in ("sensitivity", "specificity")]
            if found[0] and found[1]:
                rows.append((cells[0], cells[1], float(found[0][0]), float(found[1][0])))
    return rows


def _bands() -> VerdictBands:
    bands = read_bands(DEFAULT_CHECKPOINT)
    if bands is None:
        raise SystemExit("the packaged checkpoint has no verdict.json")
    return bands


def _shares(wrong: Rate | None, undecided: Rate | None) -> tuple[float, float, float]:
    """Shares of the wrong verdict, of undecided and of the right verdict."""
    first = wrong.count / wrong.number if wrong else 0.0
    second = undecided.count / undecided.number if undecided else 1.0
    return first, second, max(0.0, 1.0 - first - second)


def _right(wrong: Rate | None, undecided: Rate | None) -> Rate | None:
    """The rate of the right verdict."""
    if wrong is None or undecided is None:
        return None
    count = wrong.number - wrong.count - undecided.count
    interval = clopper_pearson_interval(count, wrong.number)
    return Rate(count=count, number=wrong.number, low=interval.low, high=interval.high)


def _of_thousand(rate: Rate | None, share: float) -> str:
    if rate is None:
        return f"{CLIPS * share:.0f}"
    return f"{CLIPS * share:.0f} ({CLIPS * rate.low:.0f} to {CLIPS * rate.high:.0f})"


def _clips(number: float, fakes: float) -> str:
    if not number:
        return "none"
    return f"{number:.0f} clip" + "s" * (round(number) != 1) + f", of which on average {fakes:.1f} are fake"


def _advice(bands: VerdictBands, found: float, alarms: float) -> str:
    if bands.high is None:
        return (
            "So the packaged checkpoint does not pick out the fakes in such a stream. It sorts out clips that need no "
            "further examination, and misses the fakes in the last line."
        )
    return (
        f"So of the clips called likely fake, {alarms / max(alarms + found, 1e-9):.0%} are real: a verdict is a "
        "reason to examine a clip, not to publish that it is fake."
    )


SECTIONS: dict[str, Callable[[], str]] = {
    "sample": sample_section,
    "verdicts": verdicts_section,
    "labels": labels_section,
}


def with_figures(text: str) -> str:
    """The text of a page with all its sections renewed."""
    return _SECTION.sub(lambda match: f"{match[1]}{SECTIONS[match[2]]()}{match[4]}", text)


if __name__ == "__main__":
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        if (after := with_figures(before)) != before:
            page.write_text(after, encoding="utf-8")
            print(page.relative_to(ROOT))
