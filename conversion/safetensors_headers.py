# SPDX-License-Identifier: Apache-2.0
"""A look at the header of a safetensors file before the library reads it, for causes that it does not name."""

import json
from pathlib import Path
from typing import Any

from .errors import ConversionError, first_repeated, shown


# What is read, and flags and counters that may stand beside weights.
TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")


class _RepeatedKeyError(ValueError):
    """One object of the header holds a key twice."""


def looks_like_safetensors(head: bytes, num_bytes: int) -> bool:
    """Whether a file of this size that begins so can be safetensors: a length that fits, and then a JSON object."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= num_bytes - 8


def check_header(path: Path, header_bytes: int) -> None:
    """
    Raises:
        ConversionError: If a key stands twice in the header, or a tensor is of a type that is not read.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(header_bytes)
    try:
        header = json.loads(text, object_pairs_hook=_as_dict)
    except _RepeatedKeyError as error:
        raise ConversionError(
            f"{shown(path)} holds the key {error} twice, so that it is open which one is meant; save it again.",
            reason="weights",
        ) from error
    except (ValueError, RecursionError):
        return  # the library says what is wrong
    for key, entry in header.items() if isinstance(header, dict) else ():
        kind = entry.get("dtype", TYPES[0]) if isinstance(entry, dict) and key != "__metadata__" else TYPES[0]
        if kind not in TYPES:
            raise ConversionError(
                f"{shown(path)} holds {shown(key)} as a tensor of the type {shown(kind)}, which is not supported; "
                "save float32, float16 or bfloat16 weights.",
                reason="weights",
            )


def _as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if (repeated := first_repeated(name for name, _ in pairs)) is not None:
        raise _RepeatedKeyError(shown(repeated))
    return dict(pairs)
