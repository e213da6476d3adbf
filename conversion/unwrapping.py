# SPDX-License-Identifier: Apache-2.0
"""From the content of a checkpoint file to its state dict: wrappers are opened, bystanders are set aside."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .errors import ConversionError, listed, shown


MAX_DEPTH = 5
SAVE_AGAIN = (
    "if you trust the file, load it in the program that made it and run "
    "`torch.save(model.state_dict(), 'weights.pt')` there"
)
# Dictionaries that hold tensors of the training and not of the network.
_TRAINING_STATE = re.compile(r"optim|^opt$|sched|scaler|callback|hyper|^loops$|param_shapes|^loss|criterion", re.I)
# Weights of a loss, states of metrics, and the counter of torch.optim.swa_utils.AveragedModel.
_BYSTANDER = re.compile(
    r"(^|\.)(criterion|loss(es|_fn|_fct|_func|_function)?|\w+_loss|metrics?|conf(usion_)?mat(rix)?"
    r"|(train|val|valid|validation|test)_(acc|accuracy|auc|auroc|ap|f1|eer|loss|metrics?|precision|recall)\w*)(\.|$)"
    r"|(^|\.)(n_averaged|(pos|class|label|loss)_weights?|num_updates)$",
    re.I,
)


def find_state_dict(content: Any, path: Path, key: str | None) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """
    Follow `{"state_dict": …}` and its like down to the tensors.

    Args:
        content: What the file holds.
        path: The file, for messages.
        key: Which of several dictionaries to take, its names joined by dots; or the beginning of the keys to keep.

    Returns:
        The state dict, and the names that led to it.

    Raises:
        ConversionError: If there is none, or there are several and `key` names none of them.
    """
    if not isinstance(content, Mapping):
        raise ConversionError(
            f"{shown(path)} holds a {type(content).__name__}, not a state dict; {SAVE_AGAIN}.", reason="weights"
        )
    found = _candidates(content, (), set()) or [((), content)]
    if any(_has_convolutions(state_dict) for _, state_dict in found):
        found = [entry for entry in found if _has_convolutions(entry[1])]
    wanted = (key or "").strip(".")
    named = [entry for entry in found if wanted in (".".join(entry[0]), *entry[0])] if wanted else found
    if len(named or found) > 1:
        names = listed([".".join(wrappers) for wrappers, _ in named or found], limit=8)
        raise ConversionError(
            f"{shown(path)} holds several sets of weights: {names}. Give --key with the one to convert; an average "
            "over training (EMA, SWA) is usually the one that was evaluated.",
            reason="flags",
        )
    wrappers, state_dict = (named or found)[0]
    if not state_dict:
        raise ConversionError(f"{shown(path)} holds an empty state dict; {SAVE_AGAIN}.", reason="weights")
    if wanted and not named:
        state_dict = _keep_prefix(state_dict, wanted, path)
    return state_dict, wrappers


def _candidates(
    content: Mapping[Any, Any], wrappers: tuple[str, ...], seen: set[int]
) -> list[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """The dictionaries with matrices in them; one below counts if it holds more than the one above it."""
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
    return sum(isinstance(value, torch.Tensor) and value.ndim > 1 for value in content.values())


def _has_convolutions(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, torch.Tensor) and value.ndim > 3 for value in content.values())


def _keep_prefix(state_dict: Mapping[Any, Any], prefix: str, path: Path) -> dict[Any, Any]:
    kept = {key: value for key, value in state_dict.items() if str(key).startswith(f"{prefix}.")}
    if not kept:
        firsts = list(dict.fromkeys(str(key).partition(".")[0] for key in state_dict))
        raise ConversionError(
            f"{shown(path)} holds nothing under --key {shown(prefix)}; its keys begin with {listed(firsts, limit=8)}.",
            reason="flags",
        )
    return kept


def split_bystanders(state_dict: Mapping[Any, Any]) -> tuple[dict[Any, Any], tuple[str, ...]]:
    """
    Take out what no answer depends on: weights of losses, states of metrics, counters of averaging.

    Returns:
        The rest, and the keys that were set aside.
    """
    kept: dict[Any, Any] = {}
    aside: dict[str, Any] = {}
    for key, value in state_dict.items():
        is_bystander = isinstance(key, str) and isinstance(value, torch.Tensor) and _BYSTANDER.search(key)
        (aside if is_bystander else kept)[key] = value
    return kept, tuple(aside)
