# SPDX-License-Identifier: Apache-2.0
"""Read JSON of unknown origin: whatever is wrong with it is a `ValueError` whose message is a clause."""

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .text import quoted


T = TypeVar("T")
# What the types of JSON values are called, in messages.
_NAMES = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    list: "a list",
    tuple: "a list",
    dict: "an object",
    NoneType: "null",
}


class Between(NamedTuple):
    """
    The range of a number, as in `Annotated[float, Between(0, 1)]`. Without one, a number fits a float.

    Attributes:
        low: The smallest number.
        high: The largest number.
    """

    low: float = -sys.float_info.max
    high: float = sys.float_info.max


_ANY_NUMBER = Between()


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


def as_dataclass(value: Any, kind: type[T]) -> T:
    """
    Make a dataclass of a JSON object, with values of exactly the annotated types.

    Args:
        value: Part of the content of a file. A field with a default may be absent.
        kind: The dataclass. Fields may be text, numbers, truth values, `None`, `Any`, literals, other dataclasses, and
            lists, tuples, dictionaries and unions of these. A number is finite, and in a field annotated with
            [`Between`] it lies in that range. Text has no unpaired surrogates but those that stand for the bytes of a
            file name.

    Raises:
        ValueError: If the value is not such an object; the message names the field.

    Example:

        >>> from dataclasses import dataclass
        >>> from deepfake_video.common.json_files import as_dataclass
        >>> @dataclass
        ... class Range:
        ...     start_s: float
        ...     end_s: float | None = None
        >>> as_dataclass({"start_s": 1}, Range)
        Range(start_s=1, end_s=None)
        >>> as_dataclass({"start_s": "1"}, Range)
        Traceback (most recent call last):
        ...
        ValueError: start_s: a number is expected, got '1'
    """
    return cast(T, _reader_of(cast(Any, kind))(value))


@functools.cache
def _reader_of(annotation: Any) -> Callable[[Any], Any]:
    """A function that returns a JSON value as the annotation says, and raises `ValueError` if it is anything else."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return _written
    if is_dataclass(annotation):
        return _reader_of_fields(annotation)
    types, bounds = _scalars(annotation)
    if types:
        return lambda value: _checked(value, *types, bounds=bounds)
    if origin is Literal:
        return lambda value: _chosen(value, arguments)
    if origin in (list, tuple, Sequence):
        read = _reader_of(arguments[0])
        make = tuple if origin is tuple else list
        return lambda value: make(map(read, _checked(value, list, tuple)))
    if origin in (dict, Mapping):
        read_entry = _reader_of(arguments[1])
        return lambda value: {
            _checked(name, str): _read_field(name, entry, read_entry) for name, entry in _checked(value, dict).items()
        }
    if origin in (Union, UnionType):
        if all(get_origin(argument) is Literal for argument in arguments):
            return _reader_of(Literal[tuple(choice for argument in arguments for choice in get_args(argument))])
        readers = [_reader_of(argument) for argument in arguments]
        return lambda value: _first_of(value, readers)
    raise TypeError(f"{annotation} is not a type of JSON values.")


def _reader_of_fields(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind, include_extras=True)
    required = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    readers = {name: _reader_of(hint) for name, hint in hints.items()}
    # Most fields are compared with these types, which takes a fraction of the time of a call.
    scalars = {name: _scalars(hint) for name, hint in hints.items()}

    def read(value: Any) -> Any:
        content: dict[str, Any] = _checked(value, dict)
        if len(content) < len(hints) and (absent := required - content.keys()):
            raise ValueError(f"{min(absent)} is missing")
        changed = {}
        if unknown := content.keys() - hints.keys():
            raise ValueError(f"the field {quoted(min(unknown))} is not known")
        for name, entry in content.items():
            types, (low, high) = scalars[name]
            found = type(entry)
            # A number that is not finite, or an integer that fits no float, lies in no range.
            if found in types and (entry.isascii() if found is str else found is NoneType or low <= entry <= high):
                continue
            changed[name] = _read_field(name, entry, readers[name])
        return kind(**(content | changed if changed else content))

    return read


def _read_field(name: str, value: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _scalars(annotation: Any) -> tuple[frozenset[type], Between]:
    """The types of JSON values of an annotation, and its range; no types if it is not a scalar or a union of these."""
    types: set[Any] = set()
    bounds = _ANY_NUMBER
    for part in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,):
        if get_origin(part) is Annotated:
            part, bounds = get_args(part)
        types.add(part)
    if not types <= {str, int, float, bool, NoneType}:
        return frozenset(), bounds
    return frozenset(types) | ({int} if float in types else set()), bounds


def _checked(value: Any, *types: type, bounds: Between = _ANY_NUMBER) -> Any:
    """The value, if it has one of these types and a number lies in its range; a truth value is not a number."""
    is_right = type(value) in types if isinstance(value, bool) else isinstance(value, types)
    if is_right and (not isinstance(value, int | float) or bounds.low <= value <= bounds.high):
        return _written(value) if isinstance(value, str) else value
    # Every integer is a number.
    names = [name for kind, name in _NAMES.items() if kind in types and not (kind is int and float in types)]
    expected = " or ".join(dict.fromkeys(names))
    if bounds.high != _ANY_NUMBER.high:
        expected += f" from {bounds.low:.16g} to {bounds.high:.16g}"
    elif bounds.low != _ANY_NUMBER.low:
        expected += f" of at least {bounds.low:.16g}"
    raise ValueError(f"{expected} is expected, got {quoted(value)}")


def _written(value: Any) -> Any:
    """The value, if it can be written to a file again."""
    if value is None or isinstance(value, int) or (isinstance(value, str) and value.isascii()):
        # Nearly every value of the thousands of results that a run has.
        return value
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogateescape")
    except (ValueError, RecursionError):
        raise ValueError(f"text and finite numbers are expected, got {quoted(value)}") from None
    return value


def _chosen(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"one of {', '.join(map(repr, choices))} is expected, got {quoted(value)}")
    return value


def _first_of(value: Any, readers: Sequence[Callable[[Any], Any]]) -> Any:
    """What the first reader that accepts the value makes of it."""
    reasons = []
    for read in readers:
        try:
            return read(value)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(reasons[0])
