# SPDX-License-Identifier: Apache-2.0
"""Results for people: a table with one row a video."""

import os

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .results import VideoResult


def print_table(results: list[VideoResult], console: Console) -> None:
    """One row a video, then what the rows cannot say: messages, warnings, the model and the rule."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("video", overflow="fold")
    table.add_column("status")
    table.add_column("label")
    for name in ("fake probability", "faces", "coverage", "frames", "length"):
        table.add_column(name, justify="right")
    for result in results:
        table.add_row(*_row(result))
    console.print(table)
    for note in _notes(results):
        console.print(Text(note))


def _row(result: VideoResult) -> list[str | Text]:
    name = os.path.basename(result.path.rstrip("/")) or result.path
    if result.status != "ok":
        return [Text(printable(name)), Text(result.status, style="yellow"), "–", "–", "–", "–", "–", _length(result)]
    return [
        Text(printable(name)),
        "ok",
        Text(str(result.label), style="bold"),
        f"{result.fake_probability:.3f}",
        str(len(result.faces)) if result.faces else "–",
        "–" if result.face_coverage is None else f"{result.face_coverage:.0%}",
        str(result.frames_analyzed),
        _length(result),
    ]


def _length(result: VideoResult) -> str:
    if result.duration_s is None:
        return "–"
    minutes, seconds = divmod(result.duration_s, 60)
    return f"{int(minutes)}:{seconds:04.1f}"


def _notes(results: list[VideoResult]) -> list[str]:
    notes = [f"{printable(result.message)}" for result in results if result.message]
    # What holds for every video is said once, the rest with the name of the video.
    common = set.intersection(*(set(result.warnings) for result in results)) if results else set()
    for result in results:
        name = printable(os.path.basename(result.path))
        notes += [f"{name}: {printable(warning)}" for warning in result.warnings if warning not in common]
    notes += sorted(common)
    model = results[0].model
    sha256 = f", weights {model.weights_sha256[:12]}" if model.weights_sha256 else ""
    notes.append(
        f"model {model.id}{sha256}; fake from a probability of {results[0].threshold:g} on"
        if results[0].threshold is not None
        else f"model {model.id}: not loaded"
    )
    return notes


def printable(text: str) -> str:
    """One line without control characters, which a file's name may smuggle into a terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)
