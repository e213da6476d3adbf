# SPDX-License-Identifier: Apache-2.0
"""Check the values of a plan against its annotations, so that a wrong type is reported at once and by its name."""

import functools
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import UsageError
from .text import printable


_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "True or False", Path: "a path"}


def check_fields(plan: object) -> None:
    """
    Check that each field of a dataclass has a value of its annotated type, in its `__post_init__`.

    A truth value is not a number, a path may be any `os.PathLike`, and every collection but a mapping is a list.

    Args:
        plan: The dataclass. Its fields may be truth values, numbers, text, paths, `None`, literals, objects of other
            classes, and lists and unions of these.

    Raises:
        UsageError: If a value has another type, or is none of the choices of a literal.

    Example:

        >>> from deepfake_video import ScanSettings
        >>> ScanSettings(faces="off")
        Traceback (most recent call last):
        ...
        deepfake_video.common.errors.UsageError: faces must be one of auto, none, got 'off'.
    """
    kind: Any = type(plan)
    for name, hint in _hints(kind).items():
        value = getattr(plan, name)
        if not _fits(value, hint):
            raise UsageError(f"{name} must be {_described(hint)}, got {_shown(value)}.")


def check_plan(plan: object, kind: Any) -> None:
    """
    Check that the argument of a function is a plan of the expected class.

    Args:
        plan: The argument.
        kind: The class.

    Raises:
        UsageError: If it is anything else, such as the path that the plan should contain.

    Example:

        >>> from deepfake_video import PushPlan
        >>> from deepfake_video.common.plans import check_plan
        >>> check_plan("my-model", PushPlan)
        Traceback (most recent call last):
        ...
        deepfake_video.common.errors.UsageError: PushPlan(folder=..., repo_id=...) is expected, got 'my-model'.
    """
    if not isinstance(plan, kind):
        required = [f"{field.name}=..." for field in fields(kind) if _is_required(field)]
        raise UsageError(f"{kind.__name__}({', '.join(required)}) is expected, got {_shown(plan)}.")


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


@functools.cache
def _hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        # 1 and True are equal.
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin in (Sequence, tuple):
        is_list = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
        return is_list and all(_fits(item, arguments[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, {float: int | float, Path: os.PathLike}.get(hint, hint))


def _described(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_described(argument) for argument in arguments if argument is not NoneType)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Sequence, tuple):
        return f"a list, each item {_described(arguments[0])}"
    return _NAMES.get(hint, f"of the class {hint.__name__}")


def _shown(value: object) -> str:
    return printable(repr(value), 80)
