# SPDX-License-Identifier: Apache-2.0
"""The RNN in a state dict: kind, depth, directions and biases, told from keys and shapes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .errors import ConversionError, listed, shown


_KEY = re.compile(r"^((?:.+\.)?)(weight|bias)_(ih|hh|hr)_l(\d+)(_reverse)?$")
_GATES: dict[int, Literal["lstm", "gru"]] = {4: "lstm", 3: "gru"}


@dataclass(frozen=True)
class RecurrentLayout:
    """
    An LSTM or GRU.

    Attributes:
        prefix: What its keys begin with, such as `"lstm."`.
        kind: `"lstm"` or `"gru"`.
        input_size: Width of what it reads.
        hidden_size: Width of its state in each direction.
        num_layers: Its depth.
        bidirectional: Whether it also reads backwards.
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
        """Width of what it returns for each step."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def names(self) -> list[str]:
        """The names of its parameters in PyTorch, in PyTorch's order."""
        kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.has_bias else [])]
        directions = ["", "_reverse"] if self.bidirectional else [""]
        layers = range(self.num_layers)
        return [f"{kind}_l{layer}{direction}" for layer in layers for direction in directions for kind in kinds]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The key and shape of each of its parameters."""
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
    The RNN among the weights beside the backbone.

    Args:
        shapes: Shapes by key.
        num_features: Width of the features that the backbone gives it.
        file: Name of the file, for messages.
        key_prefix: What was stripped from all keys, for messages.

    Raises:
        ConversionError: If there are two, or one of a kind that is not supported.
    """
    matches = {key: match for key in shapes if (match := _KEY.match(key))}
    if not matches:
        return None
    prefixes = sorted({match[1] for match in matches.values()})
    first = next(iter(matches))
    if len(prefixes) > 1:
        raise ConversionError(
            f"{shown(file)} holds {len(prefixes)} RNNs ({listed(prefixes)}), which is not supported; one is.",
            reason="layout",
        )
    if any(match[3] == "hr" for match in matches.values()):
        raise ConversionError(
            f"{shown(file)} holds an LSTM with projections (proj_size, key {shown(key_prefix + first)}), which is not "
            "supported.",
            reason="layout",
        )
    prefix = prefixes[0]
    recurrent = shapes.get(f"{prefix}weight_hh_l0")
    if recurrent is None or len(recurrent) != 2 or not recurrent[1]:
        raise ConversionError(
            f"{shown(file)} is incomplete: its RNN lacks a usable {shown(f'{key_prefix}{prefix}weight_hh_l0')}; save "
            "the whole state dict of the model.",
            reason="weights",
        )
    rows, hidden_size = recurrent
    kind = _GATES.get(rows // hidden_size) if rows % hidden_size == 0 else None
    if kind is None:
        what = "a plain RNN without gates" if rows == hidden_size else f"an RNN of the shape {recurrent}"
        raise ConversionError(
            f"{shown(file)} holds {what} (key {shown(key_prefix + first)}), which is not supported; LSTM and GRU are.",
            reason="layout",
        )
    inputs = shapes.get(f"{prefix}weight_ih_l0", (rows, num_features))
    if len(inputs) != 2 or inputs[1] != num_features:
        raise ConversionError(
            f"{shown(file)} holds an RNN that reads {inputs[-1] if inputs else 0} features (key "
            f"{shown(f'{key_prefix}{prefix}weight_ih_l0')}) where the backbone gives {num_features}; a layer between "
            "them is not supported.",
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
