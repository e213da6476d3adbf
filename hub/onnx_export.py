# SPDX-License-Identifier: Apache-2.0
"""The other way: a model folder as one ONNX file for any batch size and number of frames, compared with PyTorch."""

import argparse
import importlib.util
import os
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.exit_codes import FAILED, OK, report
from ..common.interrupts import unfinished
from ..conversion.errors import ConversionError, shown


if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..modeling_deepfake import DeepfakeForVideoClassification

TOLERANCE = 1e-4
# (clips, frames) that are compared; none is the shape of the example that is traced.
SHAPES = ((1, 1), (1, 5), (2, 3), (4, 2))
_EXAMPLE = (2, 4)
_DESCRIPTION = """Export a model folder to ONNX, run the file by onnxruntime on several batch sizes and frame counts,
and compare with PyTorch. Needs the extra: pip install 'deepfake-video[export]'."""
_EPILOG = """examples:
  deepfake-video export my-model --output model.onnx

The graph takes `pixel_values_videos` (batch, frames, 3, height, width), prepared as the folder's processor prepares
them, and returns `logits` (batch, 2): real, fake. Batch and frames are free, the image size is the checkpoint's."""


@dataclass(frozen=True)
class Export:
    """
    A finished export.

    Attributes:
        path: The file.
        differences: Largest difference of a logit from PyTorch's, relative to the largest or to 1, by (clips, frames)
            of the input.
    """

    path: Path
    differences: dict[tuple[int, int], float]

    def line(self) -> str:
        """One line for people."""
        parts = ", ".join(f"{value:.1e} at {shape[0]}x{shape[1]}" for shape, value in self.differences.items())
        return f"parity ok: onnxruntime and PyTorch differ by at most {parts} (clips x frames; logits, relative)"


def export_onnx(folder: Path, output: Path, *, overwrite: bool = False) -> Export:
    """
    Export a model folder.

    The file appears only after onnxruntime has run it and agreed with PyTorch.

    Args:
        folder: A model folder.
        output: The file to write.
        overwrite: Whether to replace a file that is there.

    Raises:
        ConversionError: If a package is missing, the folder is no model folder, or the answers differ.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConversionError(
            f"The export needs {', '.join(missing)}; run `pip install 'deepfake-video[export]'`.", reason="export"
        )
    if os.path.lexists(output) and not (overwrite and output.is_file()):
        raise ConversionError(
            f"{shown(output)} exists; choose another --output, or say --overwrite to replace a file.", reason="export"
        )
    model = _load(folder)
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}.onnx")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with unfinished():
            _export(model, temporary)
            _store_terms(folder, temporary)
            differences = _compare(model, temporary)
            temporary.replace(output)
    except OSError as error:
        raise ConversionError(
            f"{shown(output)} could not be written ({error.strerror or error}).", reason="export"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Export(output, differences)


def _load(folder: Path) -> "DeepfakeForVideoClassification":
    from .push import files_to_push

    files_to_push(folder)
    from ..scanning.models import ModelLoadError, load_stored

    try:
        return load_stored(folder).network
    except ModelLoadError as error:
        raise ConversionError(str(error), reason="export") from error


def _export(model: "DeepfakeForVideoClassification", path: Path) -> None:
    import torch

    class Logits(torch.nn.Module):
        """The graph returns a tensor, not an output class."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values_videos: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(pixel_values_videos=pixel_values_videos).logits
            return logits

    size = model.config.image_size
    example = torch.zeros(*_EXAMPLE, 3, size, size)
    names = ("pixel_values_videos", "logits")
    write_graph(Logits(), example, path, names=names, free=("batch", "frames", None, None, None))


def _store_terms(folder: Path, path: Path) -> None:
    """Put the card and the terms of the model into the metadata of the graph: a single file has nothing beside it."""
    import onnx

    from ..scanning.terms import TermsError, find_card, find_terms

    try:
        files = [*find_terms(folder), *filter(None, [find_card(folder)])]
    except TermsError as error:
        raise ConversionError(str(error), reason="export") from error
    if files:
        graph = onnx.load(str(path))
        onnx.helper.set_model_props(graph, {file.name: file.read_text("utf-8", "replace") for file in files})
        onnx.save(graph, str(path))


def write_graph(
    module: "nn.Module", example: "torch.Tensor", path: Path, *, names: tuple[str, str], free: Sequence[str | None]
) -> None:
    """
    Write a module of one tensor to one tensor as an ONNX file.

    Args:
        module: In evaluation mode.
        example: What is traced; along free axes longer than 1.
        path: The file to write.
        names: Of the input and the output of the graph.
        free: For each axis of the input the name of a size that is left open, or `None` for that of the example.
    """
    import torch

    dims = {axis: torch.export.Dim(name, min=1) for axis, name in enumerate(free) if name is not None}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=[names[0]],
            output_names=[names[1]],
            dynamic_shapes=(dims,),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _compare(model: "DeepfakeForVideoClassification", path: Path) -> dict[tuple[int, int], float]:
    import onnxruntime  # type: ignore[import-untyped]
    import torch

    from ..conversion.parity import relative_difference

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    size = model.config.image_size
    differences = {}
    for clips, frames in SHAPES:
        pixels = torch.randn(clips, frames, 3, size, size, generator=generator)
        with torch.inference_mode():
            expected = model(pixel_values_videos=pixels).logits
        (logits,) = session.run(None, {"pixel_values_videos": pixels.numpy()})
        differences[clips, frames] = relative_difference(torch.from_numpy(logits), expected)
    worst = max(differences.values())
    if not worst <= TOLERANCE:
        raise ConversionError(
            f"The exported graph answers otherwise than PyTorch (by {worst:.1e}, allowed {TOLERANCE:.0e}); nothing "
            "was written, please report this.",
            reason="export",
        )
    return differences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deepfake-video export`."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the model folder")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .onnx file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def run(arguments: argparse.Namespace) -> int:
    """`deepfake-video export`; returns the exit code."""
    try:
        export = export_onnx(arguments.folder, arguments.output, overwrite=arguments.overwrite)
    except ConversionError as error:
        return report(error, FAILED)
    print(export.line())
    print(f"wrote {export.path}")
    return OK
