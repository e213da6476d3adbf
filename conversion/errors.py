# SPDX-License-Identifier: Apache-2.0
"""The error of this room, and how untrusted names are shown in it."""

from collections.abc import Iterable, Sequence
from typing import Literal


Reason = Literal["file", "unsafe", "weights", "layout", "flags", "output", "parity", "hub", "export"]


class ConversionError(ValueError):
    """
    A checkpoint that cannot be converted, a folder that cannot be written, or a push that failed.

    Args:
        message: One sentence that names the file, the key and the way out.
        reason: `"file"` (unreadable), `"unsafe"`, `"weights"` (incomplete, wrong, not finite), `"layout"` (not
            supported), `"flags"` (something must be given), `"output"`, `"parity"`, `"hub"` or `"export"`.
    """

    def __init__(self, message: str, *, reason: Reason) -> None:
        super().__init__(" ".join(message.split()))
        self.reason: Reason = reason


def shown(name: object, limit: int = 120) -> str:
    """A name from a file as a quoted, shortened, printable text."""
    text = str(name)
    return repr(text if len(text) <= limit else f"{text[:limit]}…")


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that was there before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def listed(names: Sequence[str], limit: int = 3) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name) for name in names[:limit]) + more
