# SPDX-License-Identifier: Apache-2.0
"""The section of a model card about the verdicts."""

import re

from ..scanning.verdict_bands import VerdictBands


CARD_HEADING = "## Verdicts"


def card_section(bands: VerdictBands) -> str:
    """
    The section of a model card about the verdicts.

    Args:
        bands: The measured bands.
    """
    low = "never" if bands.low is None else f"below a fake probability of {bands.low:.3g}"
    high = "never" if bands.high is None else f"above a fake probability of {bands.high:.3g}"
    exponent = "" if bands.face_exponent == 1 else f" to the power of {bands.face_exponent:g}"
    lines = [
        f"{CARD_HEADING}\n",
        f"A video is called likely real {low}, likely fake {high}, and undecided otherwise. With k faces, the odds "
        f"are divided by k{exponent} before the comparison with the upper band. {bands.sentence}\n",
        f"Measured on {bands.people} real people and {bands.fakes} fakes (person and method) of {len(bands.sources)} "
        f"sources, each left out in turn: {', '.join(bands.sources)}.\n",
        *(f"- {note}" for note in bands.notes),
    ]
    if bands.by_faces:
        lines += ["", "| faces | real videos called likely fake | without the division |", "|---|---|---|"]
        lines += [f"| {row.num_faces} | {row.rate:.1%} | {row.uncorrected:.1%} |" for row in bands.by_faces]
    return "\n".join(lines) + "\n"


def with_section(card: str, section: str) -> str:
    """The text of a card with its section about the verdicts replaced, or added at the end."""
    pattern = re.compile(rf"^{CARD_HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(card):
        return pattern.sub(lambda _: section + "\n", card, count=1).rstrip() + "\n"
    return f"{card.rstrip()}\n\n{section}"
