# SPDX-License-Identifier: Apache-2.0
"""Errors of the conversion, and how names from untrusted files appear in them."""

from collections.abc import Iterable, Sequence
from typing import Literal

from ..common.errors import UsageError, WorkError
from ..common.text import quoted


Reason = Literal["file", "unsafe", "weights", "layout", "parity"]


class ConversionError(WorkError):
    """
    A checkpoint cannot be converted.

    Args:
        message: One sentence that names the file, the key and the remedy.
        reason: `"file"` (unreadable), `"unsafe"`, `"weights"` (incomplete, of a wrong shape or not finite),
            `"layout"` (not supported) or `"parity"` (the outputs of the converted network differ).
    """

    def __init__(self, message: str, *, reason: Reason) -> None:
        super().__init__(" ".join(message.split()))
        self.reason: Reason = reason


class ConversionOptionError(UsageError):
    """
    An option of the conversion is missing, invalid, or contradicts the checkpoint.

    Args:
        message: One sentence that names the option and the remedy.
    """

    reason = "flags"

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def first_duplicate(names: Iterable[str]) -> str | None:
    """Return the first name that occurs a second time, if any."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def listed(names: Sequence[str], limit: int = 3) -> str:
    """Format a list of names: quote the first ones and give the number of the others."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(quoted(name) for name in names[:limit]) + more
