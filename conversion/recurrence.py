# SPDX-License-Identifier: Apache-2.0
"""Detects the RNN of a state dict: kind, depth, directions and biases."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..common.text import quoted
from .errors import ConversionError, listed


_KEY = re.compile(r"^((?:.+\.)?)(weight|bias)_(ih|hh|hr)_l(\d+)(_reverse)?$")
_GATES: dict[int, Literal["lstm", "gru"]] = {4: "lstm", 3: "gru"}


@dataclass(frozen=True)
class RecurrentLayout:
    """
    An LSTM or GRU.

    Attributes:
        prefix: Prefix of its keys, such as `"lstm."`.
        kind: `"lstm"` or `"gru"`.
        input_size: Width of the input.
        hidden_size: Width of the hidden state of each direction.
        num_layers: Number of layers.
        bidirectional: Whether it also runs backwards.
        has_bias: Whether it has biases.
    """

    prefix: str
    kind: Literal["lstm", "gru"]
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    has_bias: bool

    @property
    def output_size(self) -> int:
        """Width of the output of each step."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def describe(self) -> str:
        """Describe the RNN in a few words."""
        article = "a bidirectional" if self.bidirectional else "an" if self.kind == "lstm" else "a"
        bias = "" if self.has_bias else " without biases"
        sizes = f"{self.num_layers} x {self.input_size} to {self.hidden_size}"
        return f"{article} {self.kind.upper()} ({sizes}){bias}"

    def names(self) -> list[str]:
        """Return the names of its parameters, in PyTorch's order."""
        kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.has_bias else [])]
        directions = ["", "_reverse"] if self.bidirectional else [""]
        layers = range(self.num_layers)
        return [f"{kind}_l{layer}{direction}" for layer in layers for direction in directions for kind in kinds]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the key and shape of each parameter."""
        rows = self.hidden_size * (4 if self.kind == "lstm" else 3)
        shapes: dict[str, tuple[int, ...]] = {}
        for name in self.names():
            if name.startswith("bias"):
                shapes[self.prefix + name] = (rows,)
            elif "_hh_" in name:
                shapes[self.prefix + name] = (rows, self.hidden_size)
            else:
                is_first = name.removesuffix("_reverse").endswith("_l0")
                shapes[self.prefix + name] = (rows, self.input_size if is_first else self.output_size)
        return shapes


def find_rnn(
    shapes: Mapping[str, tuple[int, ...]], num_features: int, file: str, key_prefix: str
) -> RecurrentLayout | None:
    """
    Detect the RNN among the weights that do not belong to the backbone.

    Args:
        shapes: Shape of each tensor by key.
        num_features: Width of the backbone's features, which the RNN takes.
        file: Name of the file, for messages.
        key_prefix: Prefix that was stripped from all keys, for messages.

    Returns:
        The RNN, or `None` if there is none.

    Raises:
        ConversionError: If there are several, or one of an unsupported kind.
    """
    matches = {key: match for key in shapes if (match := _KEY.match(key))}
    if not matches:
        return None
    prefix = _only_prefix(matches, file, key_prefix)
    kind, hidden_size, rows = _find_kind(shapes, prefix, next(iter(matches)), file, key_prefix)
    inputs = shapes.get(f"{prefix}weight_ih_l0", (rows, num_features))
    if len(inputs) != 2 or inputs[1] != num_features:
        raise ConversionError(
            f"{quoted(file)} contains an RNN that takes {inputs[-1] if inputs else 0} features (key "
            f"{quoted(f'{key_prefix}{prefix}weight_ih_l0')}), but the backbone returns {num_features}; a layer "
            "between them is not supported.",
            reason="layout",
        )
    return RecurrentLayout(
        prefix=prefix,
        kind=kind,
        input_size=num_features,
        hidden_size=hidden_size,
        num_layers=1 + max(int(match[4][:4]) for match in matches.values()),
        bidirectional=any(match[5] for match in matches.values()),
        has_bias=any(match[2] == "bias" for match in matches.values()),
    )


def _only_prefix(matches: Mapping[str, re.Match[str]], file: str, key_prefix: str) -> str:
    prefixes = sorted({match[1] for match in matches.values()})
    if len(prefixes) > 1:
        raise ConversionError(
            f"{quoted(file)} contains {len(prefixes)} RNNs ({listed(prefixes)}); only one is supported.",
            reason="layout",
        )
    if any(match[3] == "hr" for match in matches.values()):
        raise ConversionError(
            f"{quoted(file)} contains an LSTM with projections (proj_size, key "
            f"{quoted(key_prefix + next(iter(matches)))}), which is not supported.",
            reason="layout",
        )
    return prefixes[0]


def _find_kind(
    shapes: Mapping[str, tuple[int, ...]], prefix: str, first: str, file: str, key_prefix: str
) -> tuple[Literal["lstm", "gru"], int, int]:
    """Return kind, hidden size, and rows of the weights."""
    recurrent = shapes.get(f"{prefix}weight_hh_l0")
    if recurrent is None or len(recurrent) != 2 or not recurrent[1]:
        raise ConversionError(
            f"{quoted(file)} is incomplete: its RNN has no valid {quoted(f'{key_prefix}{prefix}weight_hh_l0')}; save "
            "the whole state dict of the model.",
            reason="weights",
        )
    rows, hidden_size = recurrent
    kind = _GATES.get(rows // hidden_size) if rows % hidden_size == 0 else None
    if kind is None:
        what = "a plain RNN without gates" if rows == hidden_size else f"an RNN of shape {recurrent}"
        raise ConversionError(
            f"{quoted(file)} contains {what} (key {quoted(key_prefix + first)}); only LSTM and GRU are supported.",
            reason="layout",
        )
    return kind, hidden_size, rows
