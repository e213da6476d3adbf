# SPDX-License-Identifier: Apache-2.0
"""Finds the names of the two classes that some programs store beside the weights."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


# Entries that name the classes, and entries of settings that may contain those.
_CLASS_ENTRIES = ("class_to_idx", "idx_to_class", "classes", "class_names", "labels", "label2id", "id2label")
_SETTINGS = ("hyper_parameters", "config", "args", "meta", "metadata")


def find_fake_index(content: Any) -> int | None:
    """
    Find the index of the class "fake" in a checkpoint that names its classes "real" and "fake".

    Args:
        content: Content of the file.

    Returns:
        0 or 1; `None` if the file names no such classes, or contradicts itself.
    """
    places = [content] + [content.get(name) for name in _SETTINGS] if isinstance(content, Mapping) else []
    entries = [place.get(name) for place in places if isinstance(place, Mapping) for name in _CLASS_ENTRIES]
    found = {index for index in map(_fake_index, entries) if index is not None}
    return found.pop() if len(found) == 1 else None


def _fake_index(entry: Any) -> int | None:
    """The index of "fake" in a list of names, or in a dictionary of names and indices in either direction."""
    if isinstance(entry, Mapping):
        pairs = list(entry.items())
    elif isinstance(entry, Sequence) and not isinstance(entry, (str, bytes)):
        pairs = [(name, index) for index, name in enumerate(entry)]
    else:
        return None
    # Anything else is no name, and the text of lists that contain each other is endless.
    if len(pairs) != 2 or not all(isinstance(part, str | int) for pair in pairs for part in pair):
        return None
    if all(str(name).isdigit() for name, _ in pairs):
        pairs = [(name, index) for index, name in pairs]
    indices = {re.sub("[^a-z]", "", str(name).lower()): str(index) for name, index in pairs}
    is_complete = set(indices) == {"real", "fake"} and set(indices.values()) == {"0", "1"}
    return int(indices["fake"]) if is_complete else None
