# SPDX-License-Identifier: Apache-2.0
"""Outputs whose target is an address in a store such as Amazon S3 instead of a path."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from ..common.errors import UsageError
from ..common.files import check_file_target, check_folder_target
from ..video_addresses import is_store_address, printable_name
from ..video_deadlines import call_within
from ..video_errors import VideoLimits
from ..video_stores import check_store_address, explain_failure


_Answer = TypeVar("_Answer")


class AddressError(UsageError):
    """An address cannot be used; the message names it and the reason."""

    reason = "output"


@dataclass(frozen=True)
class StoreTarget:
    """
    A file or folder in a store, with those methods of `Path` that outputs need.

    Each raises `TimeoutError` if the store does not answer within `DEEPFAKE_VIDEO_MAX_DOWNLOAD_S`.

    Args:
        path: The `upath.UPath`.
    """

    path: Any

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> "StoreTarget":
        return StoreTarget(self.path / name)

    def exists(self) -> bool:
        """See `Path.exists`."""
        return bool(_within_limit(self.path.exists))

    def glob(self, pattern: str) -> list["StoreTarget"]:
        """See `Path.glob`."""
        return [StoreTarget(path) for path in _within_limit(lambda: list(self.path.glob(pattern)))]

    def read_bytes(self) -> bytes:
        """See `Path.read_bytes`."""
        return bytes(_within_limit(self.path.read_bytes))

    def write_bytes(self, content: bytes) -> None:
        """See `Path.write_bytes`."""
        _within_limit(self.path.write_bytes, content)

    def unlink(self) -> None:
        """See `Path.unlink`."""
        _within_limit(self.path.unlink)


def as_target(target: str | Path) -> Path:
    """
    Return the path of a target. For an address, it is a [`StoreTarget`], which has the needed methods.

    Args:
        target: A path, or an address such as `s3://bucket/run1`.
    """
    if not is_store_address(target):
        return Path(target)
    from upath import UPath

    # A cached listing may be out of date.
    return cast(Path, StoreTarget(UPath(target, use_listings_cache=False)))


def check_target(target: str | Path, *, is_folder: bool) -> None:
    """
    Check before the work starts that a file or folder can be written.

    Args:
        target: A path or an address.
        is_folder: Whether it is a folder.

    Raises:
        TargetError: If a path cannot be written.
        AddressError: If the address contains credentials, its store is read-only or does not answer, or a package is
            missing.
    """
    if not isinstance(target, str) or not is_store_address(target):
        check = check_folder_target if is_folder else check_file_target
        check(target)
        return
    name = printable_name(target)
    if problem := check_store_address(target):
        raise AddressError(f"{name}: {problem}.")
    if target.lower().startswith("hf://"):
        raise AddressError(f"{name}: nothing is written to the Hub; choose another address or a path.")
    try:
        as_target(target).exists()
    except Exception as error:
        raise AddressError(f"{explain_failure(error, target, VideoLimits.from_environment())}.") from None


def _within_limit(function: Callable[..., _Answer], *arguments: object) -> _Answer:
    try:
        return call_within(VideoLimits.from_environment().max_download_s, function, *arguments)
    except TimeoutError:
        hint = "the store did not answer in time; raise DEEPFAKE_VIDEO_MAX_DOWNLOAD_S"
        raise TimeoutError(errno.ETIMEDOUT, hint) from None
