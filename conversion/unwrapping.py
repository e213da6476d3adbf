# SPDX-License-Identifier: Apache-2.0
"""Finds the state dict in a checkpoint file, and sets aside entries that do not belong to the network."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..common.text import quoted
from .errors import ConversionError, ConversionOptionError, listed


MAX_DEPTH = 5
SAVE_AGAIN = (
    "if you trust the file, load it in the program that wrote it and run "
    "`torch.save(model.state_dict(), 'weights.pt')` there"
)
# Dictionaries with tensors of the training instead of the network.
_TRAINING_STATE = re.compile(r"optim|^opt$|sched|scaler|callback|hyper|^loops$|param_shapes|^loss|criterion", re.I)
# Weights of losses, states of metrics, and the counter of torch.optim.swa_utils.AveragedModel.
_BYSTANDER = re.compile(
    r"(^|\.)(criterion|loss(es|_fn|_fct|_func|_function)?|\w+_loss|metrics?|conf(usion_)?mat(rix)?"
    r"|(train|val|valid|validation|test)_(acc|accuracy|auc|auroc|ap|f1|eer|loss|metrics?|precision|recall)\w*)(\.|$)"
    r"|(^|\.)(n_averaged|(pos|class|label|loss)_weights?|num_updates)$",
    re.I,
)


def find_state_dict(
    content: Any, path: Path, key: str | None
) -> tuple[Mapping[Any, Any], tuple[str, ...], tuple[str, ...]]:
    """
    Find the state dict in nested dictionaries such as `{"state_dict": …}`.

    Args:
        content: Content of the file.
        path: The file, for messages.
        key: Dictionary to read, given by its nested names joined by dots or, if no dictionary has that name, by one of
            them; or the prefix of the keys to keep.

    Returns:
        The state dict, the names that lead to it, and the names of other matrices and of dictionaries of them, such
        as those of an RNN, unless `key` selects the state dict.

    Raises:
        ConversionError: If there is none.
        ConversionOptionError: If there are several and `key` selects none, or no key has this prefix.
    """
    if not isinstance(content, Mapping):
        raise ConversionError(
            f"{quoted(path)} contains a {type(content).__name__}, not a state dict; {SAVE_AGAIN}.", reason="weights"
        )
    candidates = _candidates(content, (), set()) or [((), content)]
    found = [entry for entry in candidates if _has_convolutions(entry[1])] or candidates
    wanted = (key or "").strip(".")
    named = found
    if wanted:
        exact = [entry for entry in found if wanted == ".".join(entry[0])]
        named = exact or [entry for entry in found if wanted in entry[0]]
    if len(named or found) > 1:
        names = listed([".".join(wrappers) for wrappers, _ in named or found], limit=8)
        raise ConversionOptionError(
            f"{quoted(path)} contains several sets of weights: {names}. Select one with --key; an average over "
            "training (EMA, SWA) is usually the one that was evaluated."
        )
    wrappers, state_dict = (named or found)[0]
    if not state_dict:
        raise ConversionError(f"{quoted(path)} contains an empty state dict; {SAVE_AGAIN}.", reason="weights")
    if wanted and not named:
        state_dict = _keep_prefix(state_dict, wanted, path)
    beside = [".".join(names) for names, _ in candidates if names != wrappers]
    parent = content
    for name in wrappers:
        beside += [str(other) for other, value in parent.items() if _is_matrix(value)]
        parent = parent[name]
    return state_dict, wrappers, () if wanted else tuple(name for name in beside if not _BYSTANDER.search(name))


def _candidates(
    content: Mapping[Any, Any], wrappers: tuple[str, ...], seen: set[int]
) -> list[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Return the dictionaries with matrices; a nested one counts if it contains more of them than its parent."""
    if id(content) in seen or len(wrappers) > MAX_DEPTH:
        return []
    seen.add(id(content))
    below = [
        entry
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Mapping) and not _TRAINING_STATE.search(name)
        for entry in _candidates(value, (*wrappers, name), seen)
    ]
    own = _count_matrices(content)
    if max((_count_matrices(state_dict) for _, state_dict in below), default=0) > own:
        return below
    return [(wrappers, content)] if own else []


def _count_matrices(content: Mapping[Any, Any]) -> int:
    return sum(map(_is_matrix, content.values()))


def _is_matrix(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 1


def _has_convolutions(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, torch.Tensor) and value.ndim > 3 for value in content.values())


def _keep_prefix(state_dict: Mapping[Any, Any], prefix: str, path: Path) -> dict[Any, Any]:
    kept = {key: value for key, value in state_dict.items() if str(key).startswith(f"{prefix}.")}
    if not kept:
        firsts = list(dict.fromkeys(str(key).partition(".")[0] for key in state_dict))
        raise ConversionOptionError(
            f"{quoted(path)} contains nothing under --key {quoted(prefix)}; its keys begin with "
            f"{listed(firsts, limit=8)}."
        )
    return kept


def split_unused_keys(state_dict: Mapping[Any, Any]) -> tuple[dict[Any, Any], tuple[str, ...]]:
    """
    Split off entries that do not affect the output: weights of losses, states of metrics, counters of averages.

    Args:
        state_dict: Content of the file.

    Returns:
        The remaining state dict, and the keys that were split off.
    """
    kept: dict[Any, Any] = {}
    aside: dict[str, Any] = {}
    for key, value in state_dict.items():
        is_bystander = isinstance(key, str) and isinstance(value, torch.Tensor) and _BYSTANDER.search(key)
        (aside if is_bystander else kept)[key] = value
    return kept, tuple(aside)
