# SPDX-License-Identifier: Apache-2.0
"""A look at the header of a safetensors file before the library reads it, for causes that it does not name."""

import json
from pathlib import Path
from typing import Any

from .text import quoted


# What is read, and flags and counters that may stand beside weights.
TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")


class _RepeatedKeyError(ValueError):
    """One object of the header holds a key twice."""


def looks_like_safetensors(head: bytes, num_bytes: int) -> bool:
    """Whether a file of this size that begins so can be safetensors: a length that fits, and then a JSON object."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= num_bytes - 8


def check_header(path: Path) -> None:
    """
    Refuse what the library would refuse without naming the cause.

    Raises:
        ValueError: If a key stands twice in the header, or a tensor is of a type that is not read; a clause that
            follows the name of the file.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size - 8:
            return  # the library says what is wrong
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_as_dict)
    except _RepeatedKeyError as error:
        raise ValueError(
            f"holds the key {error} twice, so that it is open which one is meant; save it again."
        ) from error
    except (ValueError, RecursionError):
        return
    for key, entry in header.items() if isinstance(header, dict) else ():
        kind = entry.get("dtype", TYPES[0]) if isinstance(entry, dict) and key != "__metadata__" else TYPES[0]
        if kind not in TYPES:
            raise ValueError(
                f"holds {quoted(key)} as a tensor of the type {quoted(kind)}, which is not supported; save float32, "
                "float16 or bfloat16 weights."
            )


def _as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise _RepeatedKeyError(quoted(name))
        content[name] = value
    return content
