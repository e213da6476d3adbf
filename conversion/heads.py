# SPDX-License-Identifier: Apache-2.0
"""What stands behind backbone and RNN in a state dict: an attention pooling and linear layers, told from shapes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import ConversionError, listed, shown


Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Head:
    """
    The linear layers that judge, first to last.

    Attributes:
        modules: Their names in the file.
        sizes: The width that each returns; the last is 1 or 2.
    """

    modules: tuple[str, ...]
    sizes: tuple[int, ...]


def find_attention(rest: Shapes, width: int, file: str, key_prefix: str) -> tuple[tuple[str, str] | None, int]:
    """
    Two matrices (h, width) and (1, h) under a name with "att": a softmax over time of tanh scores.

    Returns:
        The module names of both layers, or `None`; and h, or 0.

    Raises:
        ConversionError: If there is an attention of another form.
    """
    names = sorted({key.rpartition(".")[0] for key in rest if re.search(r"(^|\.)att", key)}, key=_natural)
    if not names:
        return None, 0
    first, *others = (rest.get(f"{name}.weight", ()) for name in names)
    fits = len(others) == 1 and len(first) == 2 and first[1] == width and others[0] == (1, first[0])
    if not fits:
        raise ConversionError(
            f"{shown(file)} holds an attention pooling of a form that is not supported ({listed(names)}); two linear "
            f"layers ({width} to any width to 1) are.",
            reason="layout",
        )
    for name in names:
        _check_module(name, rest, file, key_prefix)
    return (names[0], names[1]), first[0]


def find_head(rest: Shapes, width: int, file: str, key_prefix: str) -> tuple[Head, tuple[str, ...]]:
    """
    Chain the remaining matrices from the given width to 1 or 2 outputs.

    Args:
        rest: Shapes of all keys that belong to nothing else.
        width: Width of what the head reads.
        file: Name of the file, for messages.
        key_prefix: What was stripped from all keys, for messages.

    Returns:
        The head, and the keys of an ImageNet classifier that takes no part.

    Raises:
        ConversionError: If there is no such chain, or a key is left over.
    """
    modules = sorted({key.rpartition(".")[0] for key in rest}, key=_natural)
    for module in modules:
        _check_module(module, rest, file, key_prefix)
    outputs = {module: rest[f"{module}.weight"][0] for module in modules}
    inputs = {module: rest[f"{module}.weight"][1] for module in modules}
    chain = _chain(modules, inputs, outputs, width)
    if not chain:
        raise ConversionError(_no_head(rest, modules, width, file, key_prefix), reason="layout")
    surplus = [module for module in modules if module not in chain]
    if any(outputs[module] != 1000 for module in surplus):
        keys = [key_prefix + key for key in rest if key.rpartition(".")[0] in surplus]
        raise ConversionError(
            f"{shown(file)} holds keys that belong to nothing known: {listed(keys)}; remove them if the model does "
            "not use them.",
            reason="weights",
        )
    unused = tuple(key for key in rest if key.rpartition(".")[0] in surplus)
    return Head(tuple(chain), tuple(outputs[module] for module in chain)), unused


def _chain(modules: list[str], inputs: dict[str, int], outputs: dict[str, int], width: int) -> list[str]:
    """The longest chain wins, so that no layer is left out that could take part."""
    best: list[str] = []
    for module in modules:
        if inputs[module] != width:
            continue
        others = [other for other in modules if other != module]
        tail = _chain(others, inputs, outputs, outputs[module])
        if tail and len(tail) + 1 > len(best):
            best = [module, *tail]
        elif not tail and outputs[module] in (1, 2) and not best:
            best = [module]
    return best


def _check_module(module: str, rest: Shapes, file: str, key_prefix: str) -> None:
    keys = [key for key in rest if key.rpartition(".")[0] == module]
    leaves = {key.rpartition(".")[2] for key in keys}
    weight = rest.get(f"{module}.weight")
    bias = rest.get(f"{module}.bias")
    if "running_mean" in leaves or (weight is not None and len(weight) == 1):
        problem = f"a normalisation layer behind the backbone ({shown(key_prefix + module)}), which is not supported"
    elif weight is not None and len(weight) == 4:
        problem = f"a convolution behind the backbone ({shown(key_prefix + module)}), which is not supported"
    elif not leaves <= {"weight", "bias"} or (weight is not None and (len(weight) != 2 or 0 in weight)):
        problem = f"keys that belong to nothing known: {listed([key_prefix + key for key in keys])}"
    elif weight is None:
        problem = f"{shown(key_prefix + keys[0])} without {shown(f'{key_prefix}{module}.weight')}"
    elif bias is not None and bias != weight[:1]:
        problem = f"{shown(f'{key_prefix}{module}.bias')} with the shape {bias} instead of {weight[:1]}"
    else:
        return
    raise ConversionError(
        f"{shown(file)} holds {problem}; save the state dict of the model alone.",
        reason="layout" if "supported" in problem else "weights",
    )


def _no_head(rest: Shapes, modules: list[str], width: int, file: str, key_prefix: str) -> str:
    if not modules:
        return (
            f"{shown(file)} is incomplete: it holds no classifier (a matrix from {width} to 1 or 2 outputs); save the "
            "whole state dict of the model."
        )
    shapes = ", ".join(f"{shown(f'{key_prefix}{module}.weight')} {rest[f'{module}.weight']}" for module in modules[:4])
    return (
        f"{shown(file)} holds no classifier that leads from {width} features to 1 or 2 outputs (found {shapes}); "
        "other numbers of outputs are not supported."
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `classifier.10` behind `classifier.2`."""
    return [(int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in name.split(".")]
