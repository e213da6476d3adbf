# SPDX-License-Identifier: Apache-2.0
"""From what was typed to the list of videos: files, folders, patterns, addresses and lists of them."""

import glob
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from .listing import InputError, find_on_disk, is_clutter, read_paths


# fmt: off
VIDEO_EXTENSIONS = frozenset({
    ".264", ".265", ".3gp", ".apng", ".asf", ".avi", ".dif", ".dv", ".flv", ".gif", ".h264", ".h265", ".hevc",
    ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm",
    ".wmv", ".y4m",
})
# fmt: on


@dataclass
class Inputs:
    """
    The videos to judge.

    Attributes:
        paths: In the order given, each once.
        num_others: Files that were skipped: without a video extension, or left by an operating system.
        warnings: One line for each folder that adds no video.
    """

    paths: list[str] = field(default_factory=list)
    num_others: int = 0
    warnings: list[str] = field(default_factory=list)


def collect_inputs(arguments: Iterable[str], lists: Iterable[str] = ()) -> Inputs:
    """
    Expand what was typed.

    An existing path is itself, whatever it looks like; a name that does not exist is tried in the other Unicode form
    and as a pattern, and kept as it is if it is none: it is then reported as not found.

    Args:
        arguments: Files, folders, patterns, or http(s) addresses.
        lists: Text files with one argument per line, or tables with a column of paths.

    Raises:
        InputError: If nothing names a video, a pattern matches nothing, or a list cannot be read.
    """
    inputs = Inputs()
    found: list[str] = []
    for argument in arguments:
        found += _expand(argument, inputs)
    for name in lists:
        listed = read_paths(name)
        if not listed:
            raise InputError(f"{name}: lists no video.")
        for argument in listed:
            if is_clutter(argument):
                inputs.num_others += 1
            else:
                found += _expand(argument, inputs)
    inputs.paths = list(dict.fromkeys(found))
    if not inputs.paths:
        reasons = inputs.warnings or ["The inputs name no video."]
        raise InputError(" ".join([*reasons, f"Known extensions are {_known_extensions()}."]))
    return inputs


def _expand(argument: str, inputs: Inputs) -> list[str]:
    argument = find_on_disk(argument)
    if os.path.isdir(argument):
        return _search_folder(argument, inputs)
    if os.path.lexists(argument) or "://" in argument or not glob.has_magic(argument):
        return [argument]
    return _match_pattern(argument, inputs)


def _search_folder(folder: str, inputs: Inputs) -> list[str]:
    videos = []

    def warn(error: OSError) -> None:
        inputs.warnings.append(f"{error.filename}: the folder cannot be read ({error.strerror or error}).")

    for parent, folders, names in os.walk(folder, onerror=warn):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS and not is_clutter(os.path.relpath(path, folder)):
                videos.append(path)
            else:
                inputs.num_others += 1
    if not videos and not any(warning.startswith(f"{folder}: ") for warning in inputs.warnings):
        inputs.warnings.append(f"{folder}: the folder holds no video.")
    return videos


def _match_pattern(pattern: str, inputs: Inputs) -> list[str]:
    spellings = dict.fromkeys([pattern, *(unicodedata.normalize(form, pattern) for form in ("NFC", "NFD"))])
    matches = sorted({match for spelling in spellings for match in glob.glob(spelling, recursive=True)})
    if not matches:
        raise InputError(f"{pattern}: no file has this name and none matches it as a pattern.")
    videos: list[str] = []
    for match in matches:
        if os.path.isdir(match):
            videos += _search_folder(match, inputs)
        elif is_clutter(match):
            inputs.num_others += 1
        else:
            videos.append(match)
    return videos


def _known_extensions() -> str:
    return " ".join(sorted(VIDEO_EXTENSIONS))
