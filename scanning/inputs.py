# SPDX-License-Identifier: Apache-2.0
"""Expand files, folders, patterns, addresses and lists of these into a list of videos."""

import glob
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..common.files import walk_folder
from ..video_addresses import is_store_address, printable_name
from .listing import InputError, find_on_disk, is_clutter, read_paths
from .photo_formats import PHOTO_EXTENSIONS


# fmt: off
VIDEO_EXTENSIONS = frozenset({
    ".264", ".265", ".3gp", ".apng", ".asf", ".avi", ".dif", ".dv", ".flv", ".gif", ".h264", ".h265", ".hevc",
    ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm",
    ".wmv", ".y4m",
})
# fmt: on

SkippedKind = Literal["photo", "system", "other"]


# `**` as a whole part of a path: folders of any depth.
_ANY_DEPTH = re.compile(rf"(?:^|(?<=[/{re.escape(os.sep)}]))\*\*(?:[/{re.escape(os.sep)}]+|$)")


@dataclass
class Inputs:
    """
    The videos found in the sources.

    Attributes:
        paths: Paths and addresses in the order of the sources, each once. A folder that cannot be read is one of them.
        others: Skipped files, and what they are by their names: "photo", "system" for a file that an operating system
            made, such as `._clip.mp4` or `.DS_Store`, or "other" for any other without a video extension.
        extensions: Extensions of the files that are taken from folders.
        warnings: One line for each folder that contains no video.
    """

    paths: list[str] = field(default_factory=list)
    others: dict[str, SkippedKind] = field(default_factory=dict)
    extensions: frozenset[str] = VIDEO_EXTENSIONS
    warnings: list[str] = field(default_factory=list)

    @property
    def num_others(self) -> int:
        """Number of skipped files."""
        return len(self.others)

    @property
    def num_photos(self) -> int:
        """Number of skipped photos."""
        return list(self.others.values()).count("photo")

    @property
    def system_files(self) -> list[str]:
        """Skipped files that an operating system made."""
        return [path for path, kind in self.others.items() if kind == "system"]

    def skip(self, path: str, inside: str) -> None:
        """Count a file as skipped, once; `inside` is its path without the folder that was named."""
        is_photo = os.path.splitext(path)[1].lower() in PHOTO_EXTENSIONS
        self.others[path] = "system" if is_clutter(inside) else "photo" if is_photo else "other"


def collect_inputs(sources: Iterable[str], lists: Iterable[str] = (), *, photos: bool = False) -> Inputs:
    """
    Expand sources to a list of videos.

    A path that exists is always taken literally. A name that does not exist is tried in the other Unicode form and as
    a pattern. If it is not a pattern, it is kept; its result then has the status "not_found".

    Args:
        sources: Files, folders, patterns, http(s) URLs, or addresses in a store such as `s3://bucket/folder/`.
        lists: Text files with one source per line, or CSV files with a column of paths.
        photos: Whether photos in folders are listed too. Those that are named or match a pattern always are.

    Raises:
        InputError: If the sources contain no video, a pattern matches nothing, or a list cannot be read.
    """
    inputs = Inputs(extensions=VIDEO_EXTENSIONS | PHOTO_EXTENSIONS if photos else VIDEO_EXTENSIONS)
    found: list[str] = []
    for source in sources:
        found += _expand(source, inputs)
    for name in lists:
        listed = read_paths(name)
        if not listed:
            raise InputError(f"{name}: the list contains no videos.")
        for source in listed:
            if is_clutter(source):
                inputs.skip(source, source)
            else:
                found += _expand(source, inputs)
    inputs.paths = list(dict.fromkeys(found))
    for path in inputs.paths:
        # A pattern matches files that a folder beside it does not contribute.
        inputs.others.pop(path, None)
    if not inputs.paths:
        reasons = inputs.warnings or ["no video was given."]
        if inputs.num_photos:
            reasons = [*reasons, f"--photos includes the photos in folders ({inputs.num_photos} here)."]
        known = " ".join(sorted(inputs.extensions))
        raise InputError(" ".join([*reasons, f"The known extensions are {known}."]))
    return inputs


def find_source(source: str) -> str:
    """
    Return the path that a source names: that of a `file://` address, and that of an existing file whose name is stored
    in another form, see [`find_on_disk`]. Any other source is returned as it is.

    Args:
        source: A path or address.

    Raises:
        InputError: If two different files have this name.

    Example:

        >>> from deepfake_video.scanning.inputs import find_source
        >>> find_source("file:///videos/clip%201.mp4")
        '/videos/clip 1.mp4'
    """
    source = find_on_disk(source)
    if source.lower().startswith("file://") and not os.path.lexists(source):
        return url2pathname(urlsplit(source).path)
    return source


def _expand(source: str, inputs: Inputs) -> list[str]:
    source = find_source(source)
    if "\0" in source:
        raise InputError(f"{printable_name(source)}: no file name contains a null character; correct the name.")
    if is_store_address(source) and not os.path.lexists(source):
        return _search_store(source, inputs)
    if os.path.isdir(source):
        return _search_folder(source, inputs)
    if os.path.lexists(source) or "://" in source or not glob.has_magic(source):
        return [source]
    return _match_pattern(source, inputs)


def _search_store(address: str, inputs: Inputs) -> list[str]:
    from .store_listing import list_addresses

    videos, others = list_addresses(address, inputs.extensions)
    for other, inside in others.items():
        inputs.skip(other, inside)
    if not videos:
        inputs.warnings.append(f"{printable_name(address)}: the folder contains no video.")
    return videos


def _search_folder(folder: str, inputs: Inputs) -> list[str]:
    videos: list[str] = []

    def keep(error: OSError) -> None:
        # Nothing in it can be scored, which its result says as that of an unreadable file does.
        videos.append(error.filename)

    for parent, names in walk_folder(folder, keep):
        for name in names:
            path = os.path.join(parent, name)
            inside = os.path.relpath(path, folder)
            if os.path.splitext(name)[1].lower() in inputs.extensions and not is_clutter(inside):
                videos.append(path)
            else:
                inputs.skip(path, inside)
    if not videos:
        inputs.warnings.append(f"{folder}: the folder contains no video.")
    return videos


def _match_pattern(pattern: str, inputs: Inputs) -> list[str]:
    spellings = dict.fromkeys([pattern, *(unicodedata.normalize(form, pattern) for form in ("NFC", "NFD"))])
    matches = sorted({match for spelling in spellings for match in _find_matches(spelling)})
    if not matches:
        raise InputError(f"{pattern}: no file has this name, and none matches it as a pattern.")
    videos: list[str] = []
    for match in matches:
        if os.path.isdir(match):
            videos += _search_folder(match, inputs)
        elif is_clutter(match):
            inputs.skip(match, match)
        else:
            videos.append(match)
    # A link to a folder that matches too leads to the same files; their shortest path is kept.
    shortest: dict[tuple[str, str], str] = {}
    for video in sorted(videos, key=lambda video: video.count(os.sep)):
        shortest.setdefault((os.path.realpath(os.path.dirname(video)), os.path.basename(video)), video)
    kept = set(shortest.values())
    return [video for video in videos if video in kept]


def _find_matches(pattern: str) -> Iterator[str]:
    """What `glob.glob` finds, except that `**` enters each folder once; there, it follows loops of links."""
    start, *rest = _ANY_DEPTH.split(pattern, maxsplit=1)
    if not rest:
        yield from glob.iglob(pattern)
        return
    for folder in glob.glob(start) if start else [""]:
        # `glob.glob` enters no hidden folder either.
        walked = walk_folder(folder or os.curdir, lambda error: None, enters=lambda name: not name.startswith("."))
        for parent, _ in walked:
            inside = os.path.relpath(parent, folder or os.curdir)
            base = folder if inside == os.curdir else os.path.join(folder, inside)
            if base and not rest[0]:
                yield base
            yield from _find_matches(os.path.join(glob.escape(base), rest[0] or "*"))
