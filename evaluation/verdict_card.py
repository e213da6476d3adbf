# SPDX-License-Identifier: Apache-2.0
"""The section of a model card about the verdicts."""

import re

from ..scanning.verdict_bands import VerdictBands


CARD_HEADING = "## Verdicts"
# Up to the next section or the end of the card.
_SECTION = re.compile(rf"^{CARD_HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def card_section(bands: VerdictBands) -> str:
    """
    The section of a model card about the verdicts.

    Args:
        bands: The measured bands.
    """
    low, high = (
        f"No video is called {name}."
        if bound is None
        else f"A video is called {name} {side} a fake probability of {bound:.3g}."
        for name, side, bound in (("likely real", "below", bands.low), ("likely fake", "above", bands.high))
    )
    exponent = "" if bands.face_exponent == 1 else f" to the power of {bands.face_exponent:g}"
    lines = [
        f"{CARD_HEADING}\n",
        f"{low} {high} All other videos are undecided. With k faces, the odds are "
        f"divided by k{exponent} before they are compared with the upper limit. {bands.sentence}\n",
        f"Measured on {bands.people} real people and {bands.fakes} fakes (combinations of person and method) from "
        f"{len(bands.sources)} sources, each left out in turn: {', '.join(bands.sources)}.\n",
        *(f"- {note}" for note in bands.notes),
    ]
    if bands.by_faces:
        lines += [
            "",
            "Share of the real videos with several faces that would be called likely fake, with and without dividing "
            "the odds, computed from groups of the measured people:\n",
            "| faces | called likely fake | without dividing the odds |",
            "|---|---|---|",
        ]
        lines += [f"| {row.num_faces} | {row.rate:.1%} | {row.uncorrected:.1%} |" for row in bands.by_faces]
    return "\n".join(lines) + "\n"


def with_section(card: str, section: str) -> str:
    """The text of a card with its section about the verdicts replaced, or added at the end."""
    if _SECTION.search(card):
        return _SECTION.sub(lambda _: section + "\n", card, count=1).rstrip() + "\n"
    return f"{card.rstrip()}\n\n{section}"


def without_section(card: str) -> str:
    """The text of a card without its section about the verdicts; unchanged if it has none."""
    return _SECTION.sub("", card).rstrip() + "\n" if _SECTION.search(card) else card
