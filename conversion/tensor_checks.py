# SPDX-License-Identifier: Apache-2.0
"""Checks that a state dict from an untrusted file consists of plain, finite tensors that can be weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..common.text import quoted
from .errors import ConversionError, ConversionOptionError, listed
from .unwrapping import SAVE_AGAIN


if TYPE_CHECKING:
    from .layout import Layout
    from .loading import Checkpoint

# Far above what these networks need.
MAX_KEYS = 20_000
_NAME = re.compile(r"[\w ./-]{0,1000}")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)


def check_keys(state_dict: Mapping[Any, Any], path: Path) -> None:
    """
    Check the names of a state dict, which appear on the terminal and in the model card.

    Args:
        state_dict: Content of the file.
        path: The file, for messages.

    Raises:
        ConversionError: If there are too many, or if one of them contains control characters or markup.
    """
    if len(state_dict) > MAX_KEYS:
        raise ConversionError(
            f"{quoted(path)} contains {len(state_dict)} keys, more than {MAX_KEYS}; it is not a supported checkpoint.",
            reason="unsafe",
        )
    for key in state_dict:
        if isinstance(key, str) and not _NAME.fullmatch(key):
            raise ConversionError(
                f"{quoted(path)} contains the key {quoted(key)}, which is not a name of a layer: only letters, "
                "digits, spaces and ._-/ are accepted; rename it, and save the state dict again.",
                reason="unsafe",
            )


def check_tensors(state_dict: Mapping[Any, Any], path: Path, num_bytes: int) -> dict[str, torch.Tensor]:
    """
    Check a state dict.

    Args:
        state_dict: Content of the file.
        path: The file, for messages.
        num_bytes: Size of the file.

    Returns:
        Its tensors by key.

    Raises:
        ConversionError: If a value is not a plain, finite tensor, or if the tensors together are larger than the file.
    """
    tensors: dict[str, torch.Tensor] = {}
    total = 0
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ConversionError(
                f"{quoted(path)} contains a {type(value).__name__} under the key {quoted(key)} where only tensors are "
                "allowed; save the state dict alone, or under a key of its own in a dictionary.",
                reason="weights",
            )
        total += value.numel() * value.element_size()
        _check_is_plain(key, value, path)
        tensors[key] = value.detach()
    # Twice the file leaves room for tied weights; a view that repeats one number a billion times exceeds it.
    if total > 2 * num_bytes:
        raise ConversionError(
            f"{quoted(path)} has {num_bytes} bytes but its tensors claim {total}; {SAVE_AGAIN}.", reason="unsafe"
        )
    bad = [key for key, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if bad:
        raise ConversionError(
            f"{quoted(path)} contains NaN or infinite values in {listed(bad)}: its training diverged or the file is "
            "damaged; use an earlier checkpoint.",
            reason="weights",
        )
    return tensors


def check_is_whole(checkpoint: "Checkpoint") -> None:
    """
    Check that the file stores no other matrices beside the weights: a head or an RNN would be left out of the score.

    Args:
        checkpoint: The file.

    Raises:
        ConversionOptionError: If it does, and no `key` selects the weights.
    """
    if checkpoint.beside:
        own = ".".join(checkpoint.wrappers)
        raise ConversionOptionError(
            f"{quoted(checkpoint.path)} contains weights under {quoted(own)} and further matrices under "
            f"{listed(checkpoint.beside, limit=8)}. If the network uses all of them, save the state dict of the whole "
            f"network; if it uses only the first, add --key {own}."
        )


def check_weights(checkpoint: "Checkpoint", layout: "Layout") -> None:
    """
    Check for values of the right shape that cannot be weights: negative variances and integers.

    Args:
        checkpoint: The file.
        layout: Its layout.

    Raises:
        ConversionError: If there are any.
    """
    tensors, path = checkpoint.tensors, checkpoint.path
    for key in layout.backbone_keys.values():
        if key.endswith("running_var") and bool((tensors[key] < 0).any()):
            raise ConversionError(
                f"{quoted(path)} contains negative variances in {quoted(checkpoint.prefix + key)}; the file is "
                "damaged, download it again.",
                reason="weights",
            )
    used = [key for key in tensors if not key.endswith("num_batches_tracked")]
    integers = [key for key in used if not tensors[key].is_floating_point()]
    if integers:
        raise ConversionError(
            f"{quoted(path)} contains integers in {quoted(checkpoint.prefix + integers[0])} (a quantised model); save "
            "the float32 weights from before quantisation.",
            reason="weights",
        )


def _check_is_plain(key: str, value: torch.Tensor, path: Path) -> None:
    is_plain = type(value) in (torch.Tensor, torch.nn.Parameter) and value.layout == torch.strided
    if not is_plain or value.device.type != "cpu" or value.dtype not in (*FLOATS, *INTEGERS):
        raise ConversionError(
            f"{quoted(path)} contains an unsupported tensor under the key {quoted(key)} ({value.dtype}, "
            f"{value.layout}, device {value.device}); save plain float32 tensors.",
            reason="weights",
        )


def _is_finite(tensor: torch.Tensor) -> bool:
    # A sum is not finite if any element is not, and needs no memory; if only the sum overflows, each is checked.
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())
