# SPDX-License-Identifier: Apache-2.0
"""From what was typed to the list of videos: files, folders, patterns, addresses and lists of them."""

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


# fmt: off
VIDEO_EXTENSIONS = frozenset({
    ".264", ".265", ".3gp", ".apng", ".asf", ".avi", ".dif", ".dv", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts",
    ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})
# fmt: on


class InputError(ValueError):
    """What was typed names no video; the sentence says what to type instead."""


@dataclass
class Inputs:
    """
    The videos to judge.

    Attributes:
        paths: In the order given, each once.
        num_others: Files of the searched folders that are no videos by their extension.
    """

    paths: list[str] = field(default_factory=list)
    num_others: int = 0


def collect_inputs(arguments: Iterable[str], lists: Iterable[str] = ()) -> Inputs:
    """
    Expand what was typed.

    An existing path is itself, whatever it looks like; a name that does not exist is tried as a pattern, and kept as
    it is if it is none: it is then reported as not found.

    Args:
        arguments: Files, folders, patterns, or http(s) addresses.
        lists: Text files with one argument a line.

    Raises:
        InputError: If a folder or pattern holds no video, or a list cannot be read.
    """
    inputs = Inputs()
    found: list[str] = []
    for argument in [*arguments, *(line for name in lists for line in _read_list(name))]:
        if os.path.isdir(argument):
            found += _search_folder(argument, inputs)
        elif os.path.lexists(argument) or "://" in argument or not glob.has_magic(argument):
            found.append(argument)
        else:
            found += _match_pattern(argument, inputs)
    inputs.paths = list(dict.fromkeys(found))
    return inputs


def _read_list(name: str) -> list[str]:
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"--list {name}: cannot be read, {reason}; give a text file with one path a line.") from error
    return [line.strip() for line in lines if line.strip()]


def _search_folder(folder: str, inputs: Inputs) -> list[str]:
    videos = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS:
                videos.append(os.path.join(parent, name))
            else:
                inputs.num_others += 1
    if not videos:
        raise InputError(f"{folder}: the folder holds no video; known extensions are {_known_extensions()}.")
    return videos


def _match_pattern(pattern: str, inputs: Inputs) -> list[str]:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise InputError(f"{pattern}: no file has this name and none matches it as a pattern.")
    videos: list[str] = []
    for match in matches:
        videos += _search_folder(match, inputs) if os.path.isdir(match) else [match]
    return videos


def _known_extensions() -> str:
    return " ".join(sorted(VIDEO_EXTENSIONS))
