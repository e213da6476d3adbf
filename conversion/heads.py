# SPDX-License-Identifier: Apache-2.0
"""Detects what follows backbone and RNN in a state dict: an attention pooling and linear layers."""

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..common.text import quoted
from .backbones import Shapes
from .errors import ConversionError, ConversionOptionError, listed


# Input and output width of each linear layer, in the order of the file.
Layers = Mapping[str, tuple[int, int]]
Order = Literal["shapes", "file", "numbers", "flag", "open"]

# Far above what heads have; bounds the search for the order of the layers in a malicious file.
MAX_LAYERS, MAX_PATHS = 16, 16


@dataclass(frozen=True)
class Head:
    """
    The linear layers of the classifier, first to last.

    Attributes:
        modules: Names of the layers in the file.
        sizes: Output width of each layer; the last is 1 or 2.
        order: Source of their order: `"shapes"` (only one order fits), `"file"` (order of the keys), `"numbers"`
            (those of a Sequential), `"flag"` (an option), or `"open"` (an option is required).
    """

    modules: tuple[str, ...]
    sizes: tuple[int, ...]
    order: Order = "shapes"


def find_attention(rest: Shapes, width: int, file: str, key_prefix: str) -> tuple[tuple[str, str] | None, int]:
    """
    Detect an attention pooling: a softmax over time of the scores of two linear layers.

    It consists of two matrices, (h, width) and (1, h), in modules whose name starts with "att". The activation between
    them has no weights, so it has to be chosen.

    Args:
        rest: Shapes of the keys that belong neither to backbone nor RNN.
        width: Width of the pooled states.
        file: Name of the file, for messages.
        key_prefix: Prefix that was stripped from all keys, for messages.

    Returns:
        The module names of both layers and h; `None` and 0 if there is no attention pooling.

    Raises:
        ConversionError: If there is an attention pooling of another form.
    """
    names = sorted({key.rpartition(".")[0] for key in rest if re.search(r"(^|\.)att", key)}, key=_natural)
    if not names:
        return None, 0
    first, *others = (rest.get(f"{name}.weight", ()) for name in names)
    fits = len(others) == 1 and len(first) == 2 and first[1] == width and others[0] == (1, first[0])
    if not fits:
        raise ConversionError(
            f"{quoted(file)} contains an unsupported attention pooling ({listed(names)}); only two linear layers "
            f"({width} to any width to 1) are supported.",
            reason="layout",
        )
    for name in names:
        _check_module(name, rest, file, key_prefix)
    return (names[0], names[1]), first[0]


def find_head(
    rest: Shapes,
    width: int,
    file: str,
    key_prefix: str,
    *,
    has_order: bool = False,
    given: Sequence[str] | None = None,
) -> tuple[Head, tuple[str, ...]]:
    """
    Chain the remaining matrices from the given width to 1 or 2 outputs.

    The longest chain is chosen, so that no layer is omitted that may belong to it. Among chains of equal length the
    order of the file decides if it has one, then the numbers of a Sequential; otherwise the order stays open.

    Args:
        rest: Shapes of the keys that have not been assigned to any other part.
        width: Width of the input of the head.
        file: Name of the file, for messages.
        key_prefix: Prefix that was stripped from all keys, for messages.
        has_order: Whether the keys are in the order in which the layers were created.
        given: Names of the layers in order, if set by the user; other layers are left out.

    Returns:
        The head, and the unused keys: those of an ImageNet classifier, or those that the user left out.

    Raises:
        ConversionError: If there is no such chain, or a key is unexpected.
        ConversionOptionError: If the given order does not fit, or is required.
    """
    modules = list(dict.fromkeys(key.rpartition(".")[0] for key in rest))
    for module in modules:
        _check_module(module, rest, file, key_prefix)
    layers = {module: (rest[f"{module}.weight"][1], rest[f"{module}.weight"][0]) for module in modules}
    order: Order = "flag"
    if given is not None:
        chain = _given_chain([name.removeprefix(key_prefix) for name in given], layers, width, file)
    else:
        if len(layers) > MAX_LAYERS:
            raise ConversionOptionError(
                f"{quoted(file)} contains {len(layers)} layers after the backbone, more than {MAX_LAYERS}; list those "
                "of the head with --head-order."
            )
        chain, order = _find_chain(layers, width, has_order)
    if not chain:
        raise ConversionError(_no_head(rest, modules, width, file, key_prefix), reason="layout")
    surplus = [module for module in modules if module not in chain]
    if given is None and any(layers[module][1] != 1000 for module in surplus):
        keys = [key_prefix + key for key in rest if key.rpartition(".")[0] in surplus]
        raise ConversionError(
            f"{quoted(file)} contains unexpected keys: {listed(keys)}; remove them if the model does not use them, or "
            "list the layers of the head with --head-order.",
            reason="weights",
        )
    unused = tuple(key for key in rest if key.rpartition(".")[0] in surplus)
    return Head(tuple(chain), tuple(layers[module][1] for module in chain), order), unused


def _given_chain(names: list[str], layers: Layers, width: int, file: str) -> list[str]:
    unknown = [name for name in names if name not in layers]
    if unknown or len(set(names)) < len(names):
        raise ConversionOptionError(
            f"--head-order must list layers of {quoted(file)} ({listed(list(layers), limit=8)}), each once; got "
            f"{listed(names, limit=8)}."
        )
    widths = [width, *(layers[name][1] for name in names)]
    wrong = next((name for name, inputs in zip(names, widths, strict=False) if layers[name][0] != inputs), None)
    if wrong is not None or widths[-1] not in (1, 2):
        problem = f"{quoted(wrong)} takes {layers[wrong][0]} values" if wrong else f"it ends with {widths[-1]} outputs"
        raise ConversionOptionError(
            f"--head-order {','.join(names)} does not lead from {width} features to 1 or 2 outputs: {problem}."
        )
    return names


def _find_chain(layers: Layers, width: int, has_order: bool) -> tuple[list[str], Order]:
    """Return the longest chain of layers from a width to 1 or 2 outputs, and what determines their order."""
    # Layers of the same input and output width are interchangeable.
    alike: dict[tuple[int, int], list[str]] = {}
    for name, widths in layers.items():
        alike.setdefault(widths, []).append(name)
    paths = _longest_paths(width, Counter({widths: len(names) for widths, names in alike.items()}))
    if not paths:
        return [], "shapes"
    order: Order = "shapes"
    choices = [widths for widths in dict.fromkeys(paths[0]) if len(alike[widths]) > 1]
    by_number = {widths: sorted(names, key=_natural) for widths, names in alike.items()}
    if choices or len(paths) > 1:
        # Layers whose order must be determined: interchangeable ones, or all if there are several paths.
        unsettled = [alike[widths] for widths in choices]
        if len(paths) > 1:
            unsettled = [[name for name in layers if any(layers[name] in path for path in paths)]]
        if has_order:
            order = "file"
        elif all(_are_numbered(names) for names in unsettled):
            order = "numbers"
        else:
            order = "open"
    pools = {widths: list(names) for widths, names in (alike if order == "file" else by_number).items()}
    if len(paths) > 1 and order != "open":
        # Of several paths, the one in this order, if there is one.
        ordered = list(layers) if order == "file" else sorted(layers, key=_natural)
        fitting = [path for path in paths if path == [layers[name] for name in ordered if layers[name] in path]]
        paths, order = (fitting, order) if fitting else (paths, "open")
    return [pools[widths].pop(0) for widths in paths[0]], order


def _longest_paths(width: int, edges: Counter[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Return every longest path of edges (input, output) from a width to 1 or 2; `edges` counts each edge."""

    @functools.cache
    def walk(node: int, left: frozenset[tuple[tuple[int, int], int]]) -> tuple[tuple[tuple[int, int], ...], ...]:
        found: list[tuple[tuple[int, int], ...]] = [()] if node in (1, 2) else []
        for edge, count in left:
            if edge[0] == node and count:
                rest = frozenset((left - {(edge, count)}) | ({(edge, count - 1)} if count > 1 else set()))
                found += [(edge, *tail) for tail in walk(edge[1], rest)]
        longest = max(map(len, found), default=0)
        return tuple(dict.fromkeys(path for path in found if len(path) == longest))[:MAX_PATHS]

    return [list(path) for path in walk(width, frozenset(edges.items())) if path]


def _are_numbered(names: list[str]) -> bool:
    """Return whether these are the numbers of one Sequential, which runs its layers in that order."""
    parents = {name.rpartition(".")[0] for name in names}
    return len(parents) == 1 and all(name.rpartition(".")[2].isdecimal() for name in names)


def _check_module(module: str, rest: Shapes, file: str, key_prefix: str) -> None:
    keys = [key for key in rest if key.rpartition(".")[0] == module]
    leaves = {key.rpartition(".")[2] for key in keys}
    weight = rest.get(f"{module}.weight")
    bias = rest.get(f"{module}.bias")
    if "running_mean" in leaves or (weight is not None and len(weight) == 1):
        problem = f"a normalisation layer after the backbone ({quoted(key_prefix + module)}), which is not supported"
    elif weight is not None and len(weight) == 4:
        problem = f"a convolution after the backbone ({quoted(key_prefix + module)}), which is not supported"
    elif not leaves <= {"weight", "bias"} or (weight is not None and (len(weight) != 2 or 0 in weight)):
        problem = f"unexpected keys: {listed([key_prefix + key for key in keys])}"
    elif weight is None:
        problem = f"{quoted(key_prefix + keys[0])} without {quoted(f'{key_prefix}{module}.weight')}"
    elif bias is not None and bias != weight[:1]:
        problem = f"{quoted(f'{key_prefix}{module}.bias')} of shape {bias} instead of {weight[:1]}"
    else:
        return
    raise ConversionError(
        f"{quoted(file)} contains {problem}; save the state dict of the model alone.",
        reason="layout" if "supported" in problem else "weights",
    )


def _no_head(rest: Shapes, modules: list[str], width: int, file: str, key_prefix: str) -> str:
    if not modules:
        return (
            f"{quoted(file)} is incomplete: it contains no classifier (a matrix from {width} to 1 or 2 outputs); save "
            "the whole state dict of the model."
        )
    shapes = ", ".join(
        f"{quoted(f'{key_prefix}{module}.weight')} {rest[f'{module}.weight']}" for module in modules[:4]
    )
    return (
        f"{quoted(file)} contains no classifier from {width} features to 1 or 2 outputs (found {shapes}); other "
        "numbers of outputs are not supported."
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that places `classifier.10` after `classifier.2`."""
    return [(int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part) for part in name.split(".")]
