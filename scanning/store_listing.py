# SPDX-License-Identifier: Apache-2.0
"""Find the videos below an address in a store such as Amazon S3."""

import glob
import os
from typing import Any

from ..video_errors import VideoLimits, printable_name
from ..video_stores import check_store_address, explain_failure, open_store
from .listing import InputError, is_clutter


def list_addresses(address: str, extensions: frozenset[str]) -> tuple[list[str], int]:
    """
    Expand an address to those of the videos that it stands for.

    As with paths, an address that exists is taken literally, that of a folder stands for all videos below it, and any
    other may be a pattern. The address of a file with a video extension is returned without a request to the store.

    Args:
        address: Address of a file or folder, or a pattern such as `s3://bucket/2026-*/*.mp4`.
        extensions: Extensions of videos in lower case.

    Returns:
        The addresses in alphabetical order, and the number of other files in the folder.

    Raises:
        InputError: If a package is missing, the address contains credentials, the store cannot be read, or a pattern
            matches nothing.
    """
    if problem := check_store_address(address):
        raise InputError(f"{printable_name(address)}: {problem}.")
    is_pattern = glob.has_magic(address)
    if not is_pattern and os.path.splitext(address)[1].lower() in extensions:
        return [address], 0
    try:
        return _list(address, extensions, is_pattern)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{explain_failure(error, address, VideoLimits.from_environment())}.") from None


def _list(address: str, extensions: frozenset[str], is_pattern: bool) -> tuple[list[str], int]:
    file_system, key = open_store(address)
    scheme = address.partition("://")[0]
    if file_system.isdir(key):
        found = sorted(name for name in file_system.find(key) if not name.endswith("/"))
        videos = [name for name in found if _is_video(name, key, extensions)]
        return [_address(scheme, name) for name in videos], len(found) - len(videos)
    if not is_pattern or file_system.exists(key):
        return [address], 0
    matches: dict[str, Any] = file_system.glob(key, detail=True)
    files = sorted(name for name, info in matches.items() if info["type"] == "file")
    videos = [name for name in files if not is_clutter(name)]
    if not videos:
        raise InputError(f"{printable_name(address)}: no file has this name, and none matches it as a pattern.")
    return [_address(scheme, name) for name in videos], len(files) - len(videos)


def _is_video(name: str, folder: str, extensions: frozenset[str]) -> bool:
    inside = name.removeprefix(folder).lstrip("/")
    return os.path.splitext(name)[1].lower() in extensions and not is_clutter(inside)


def _address(scheme: str, key: str) -> str:
    return f"{scheme}://{key.lstrip('/')}"


__all__ = ["list_addresses"]
