# SPDX-License-Identifier: Apache-2.0
"""Check the header of a safetensors file, for problems that the library does not report by name."""

import json
from pathlib import Path
from typing import Any

from .text import quoted


# Supported data types, including those of flags and counters.
TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")
# Far above what the networks of this package need; the objects of a larger one would fill the memory.
MAX_HEADER_BYTES = 16 * 2**20


class _RepeatedKeyError(ValueError):
    """An object of the header contains a key twice."""


def looks_like_safetensors(head: bytes, num_bytes: int) -> bool:
    """Return whether a file may be a safetensors file, by its size and its first bytes (header length, then JSON)."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= num_bytes - 8


def check_header(path: Path) -> None:
    """
    Check the header, and raise an error that states the cause, which the library's own error does not.

    Raises:
        ValueError: If the header is too long, or contains a key twice or a tensor of an unsupported type; the message
            is meant to be appended to the file name.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size - 8:
            return  # the library reports the problem
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"has a header of {length} bytes, more than {MAX_HEADER_BYTES}; it is no such model.")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_as_dict)
    except _RepeatedKeyError as error:
        raise ValueError(f"contains the key {error} twice, which is ambiguous; save it again.") from error
    except (ValueError, RecursionError):
        return
    for key, entry in header.items() if isinstance(header, dict) else ():
        kind = entry.get("dtype", TYPES[0]) if isinstance(entry, dict) and key != "__metadata__" else TYPES[0]
        if kind not in TYPES:
            raise ValueError(
                f"contains {quoted(key)} as a tensor of the unsupported type {quoted(kind)}; save float32, "
                "float16 or bfloat16 weights."
            )


def _as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise _RepeatedKeyError(quoted(name))
        content[name] = value
    return content
