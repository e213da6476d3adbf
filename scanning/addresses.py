# SPDX-License-Identifier: Apache-2.0
"""Outputs whose target is an address in a store such as Amazon S3 instead of a path."""

from pathlib import Path
from typing import cast

from ..common.errors import UsageError
from ..common.files import check_file_target, check_folder_target
from ..video_errors import VideoLimits, is_store_address, printable_name
from ..video_stores import check_store_address, explain_failure


class AddressError(UsageError):
    """An address cannot be used; the message names it and the reason."""

    reason = "output"


def as_target(target: str | Path) -> Path:
    """
    Return the path of a target. For an address, it is a `upath.UPath`, which has the methods of `Path` but is none.

    Args:
        target: A path, or an address such as `s3://bucket/run1`.
    """
    if not is_store_address(target):
        return Path(target)
    from upath import UPath

    # A cached listing may be out of date.
    return cast(Path, UPath(target, use_listings_cache=False))


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


__all__ = ["AddressError", "as_target", "check_target"]
