# SPDX-License-Identifier: Apache-2.0
"""Read JSON of unknown origin: whatever is wrong with it is a `ValueError` whose message is a clause."""

import json
from pathlib import Path
from typing import Any

from .text import quoted


def parse_json(text: str | bytes) -> Any:
    """
    Parse JSON.

    Raises:
        ValueError: If it is not JSON, or is nested so deeply that Python cannot parse it.

    Example:

        >>> from deepfake_video.common.json_files import parse_json
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ...
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(file: Path, *, encoding: str = "utf-8") -> Any:
    """
    Read a JSON file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not text, or [`parse_json`] raises it.
    """
    # A target in a store has bytes only.
    return parse_json(file.read_bytes().decode(encoding))


def as_object(value: Any, name: str) -> dict[str, Any]:
    """
    Return a value if it is a JSON object.

    Args:
        value: Part of the content of a file.
        name: Its name in the file, for the error message.

    Raises:
        ValueError: If it is anything else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{quoted(name)} is not an object")
    return value


def as_list(value: Any, name: str) -> list[Any]:
    """Return a value if it is a list; see [`as_object`]."""
    if not isinstance(value, list):
        raise ValueError(f"{quoted(name)} is not a list")
    return value
