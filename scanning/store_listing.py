# SPDX-License-Identifier: Apache-2.0
"""Find the videos below an address in a store such as Amazon S3."""

import glob
import os
from collections.abc import Callable
from typing import Any

from ..video_addresses import printable_name
from ..video_deadlines import call_within
from ..video_errors import VideoLimits, VideoTimeoutError
from ..video_stores import check_store_address, explain_failure, open_store
from .listing import InputError, is_clutter


# A store lists about a thousand files per request, so that many millions take an hour.
MAX_LISTING_S = 3600.0


def list_addresses(address: str, extensions: frozenset[str]) -> tuple[list[str], dict[str, str]]:
    """
    Expand an address to the addresses of the videos that it stands for.

    As with paths, an address that exists is taken literally, that of a folder stands for all videos below it, and any
    other may be a pattern. The address of a file with one of the extensions is returned without asking the store.

    Args:
        address: Address of a file or folder, or a pattern such as `s3://bucket/2026-*/*.mp4`.
        extensions: Extensions of the files that are taken from folders, in lower case.

    Returns:
        The addresses in alphabetical order, and the addresses of the other files with their paths in their folder.

    Raises:
        InputError: If a package is missing, the address contains credentials, the store cannot be read, or a pattern
            matches nothing.
    """
    if problem := check_store_address(address):
        raise InputError(f"{printable_name(address)}: {problem}.")
    is_pattern = glob.has_magic(address)
    if not is_pattern and os.path.splitext(address)[1].lower() in extensions:
        return [address], {}
    try:
        return _list(address, extensions, is_pattern)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{explain_failure(error, address, VideoLimits.from_environment())}.") from None


def _list(address: str, extensions: frozenset[str], is_pattern: bool) -> tuple[list[str], dict[str, str]]:
    file_system, key = open_store(address)
    limit_s = VideoLimits.from_environment().max_download_s
    if call_within(limit_s, file_system.isdir, key):
        return _search(file_system, address, key, extensions)
    if not is_pattern or call_within(limit_s, file_system.exists, key):
        return [address], {}
    matches: dict[str, Any] = _listed(address, file_system.glob, key, detail=True)
    videos: list[str] = []
    others: dict[str, str] = {}
    searched = None
    # With the slash, a folder is followed directly by what is below it, which was searched with it.
    for name in sorted(matches, key=lambda name: f"{name}/"):
        if matches[name]["type"] == "directory":
            if searched is None or not name.startswith(f"{searched}/"):
                searched = name
                inside, beside = _search(file_system, address, name, extensions)
                videos += inside
                others |= beside
        elif is_clutter(name):
            others[_address(address, name)] = name
        else:
            videos.append(_address(address, name))
    if not matches:
        raise InputError(f"{printable_name(address)}: no file has this name, and none matches it as a pattern.")
    return videos, others


def _search(
    file_system: Any, address: str, folder: str, extensions: frozenset[str]
) -> tuple[list[str], dict[str, str]]:
    """The videos below a folder, and the other files."""
    videos: list[str] = []
    others: dict[str, str] = {}
    for name in sorted(_listed(address, file_system.find, folder)):
        if not name.endswith("/"):
            inside = name.removeprefix(folder).lstrip("/")
            if os.path.splitext(name)[1].lower() in extensions and not is_clutter(inside):
                videos.append(_address(address, name))
            else:
                others[_address(address, name)] = inside
    return videos, others


def _listed(address: str, function: Callable[..., Any], *arguments: object, **options: object) -> Any:
    try:
        return call_within(MAX_LISTING_S, function, *arguments, **options)
    except TimeoutError:
        message = f"listing it took longer than {MAX_LISTING_S / 60:g} minutes; give the addresses of its folders"
        raise VideoTimeoutError(address, message) from None


def _address(address: str, key: str) -> str:
    return f"{address.partition('://')[0]}://{key.lstrip('/')}"
