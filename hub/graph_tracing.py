# SPDX-License-Identifier: Apache-2.0
"""Trace a module into an ONNX graph, any number of times in one process; this requires torch, onnx and onnxscript."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from ..common.errors import WorkError


def trace_graph(
    module: nn.Module,
    example: torch.Tensor,
    *,
    name: str,
    outputs: Sequence[str],
    free: Sequence[str],
    optimize: bool = True,
) -> torch.onnx.ONNXProgram:
    """
    Trace a module that takes one tensor.

    Args:
        module: Module in evaluation mode.
        example: Input that is traced; its dynamic axes must be longer than 1.
        name: Name of the input of the graph.
        outputs: Names of the outputs of the graph.
        free: Name of each dynamic axis of the input, from the first on; the others have the sizes of the example.
        optimize: Whether torch simplifies the graph, which merges weights into others.

    Raises:
        OnnxExporterError: If torch cannot export the module; modules may raise other errors.
    """
    dims = {axis: torch.export.Dim(axis_name, min=1) for axis, axis_name in enumerate(free)}
    with warnings.catch_warnings(), torch.no_grad(), _fresh_recurrent_kernels():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[name],
            output_names=list(outputs),
            dynamic_shapes=(dims,),
            dynamo=True,
            optimize=optimize,
            verbose=False,
        )
    if program is None:
        raise WorkError("torch returned no graph.")
    return program


@contextlib.contextmanager
def _fresh_recurrent_kernels() -> Iterator[None]:
    """
    Forget which implementation of LSTM and GRU torch has chosen, before an export and after it.

    While it exports, torch replaces these implementations by ones for any number of frames, but does not clear the
    cache of the choice (seen in torch 2.14). Without this, the second export of a process fixes the number of frames.
    """

    def clear() -> None:
        for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
            operator._dispatch_cache.clear()

    clear()
    try:
        yield
    finally:
        clear()
