# SPDX-License-Identifier: Apache-2.0
"""Export a model folder as one ONNX file for any batch size and number of frames, compared with PyTorch."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import UsageError, WorkError
from ..common.files import OutputError, TargetError, follow_links, new_file, refuse_standard_output
from ..common.interrupts import unfinished
from ..common.packages import require_packages
from ..common.plans import check_fields, check_plan
from ..common.text import one_line, printable
from .packaged import folder_named


if TYPE_CHECKING:
    from ..modeling_deepfake import DeepfakeForVideoClassification

TOLERANCE = 1e-4
# (clips, frames) that are compared; none has the shape of the example that is traced.
SHAPES = ((1, 1), (1, 5), (2, 3), (4, 2))
_EXAMPLE = (2, 4)


class ExportError(WorkError):
    """torch cannot export the model, or the outputs of the exported graph differ from those of the model."""


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """
    The folder to export and the file to write.

    Args:
        folder: A model folder, or "default" for the packaged checkpoint.
        output: The ONNX file to write; missing parent folders are created.
        overwrite: Replace `output` if it exists.

    Raises:
        UsageError: If a value is of another type, or `output` has no file name or is `-`.
    """

    folder: str | Path
    output: str | Path
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not Path(self.output).name:
            raise UsageError(f"output must name a file, got {str(self.output)!r}.")
        refuse_standard_output(self.output)


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """
    A finished export.

    Attributes:
        path: The file.
        labels: Label of each logit, in order; "fake" is the last of two.
        differences: Largest difference of a logit from PyTorch's, relative to the largest logit or to 1, by
            (clips, frames) of the input.
    """

    path: Path
    labels: tuple[str, ...]
    differences: dict[tuple[int, int], float]

    def summary(self) -> str:
        """Return the result of the comparison and the name of the file as two lines of text."""
        parts = ", ".join(f"{value:.1e} at {shape[0]}x{shape[1]}" for shape, value in self.differences.items())
        return (
            f"parity ok: onnxruntime and PyTorch differ by at most {parts} (clips x frames; logits, relative)\n"
            f"wrote {self.path}, whose logits are, in this order: {', '.join(map(printable, self.labels))}"
        )


def export(plan: ExportPlan) -> ExportResult:
    """
    Export a model folder to ONNX.

    The file appears only after onnxruntime has run it and its logits agreed with PyTorch's. The graph takes
    `pixel_values_videos` (batch, frames, 3, height, width) and returns `logits` (batch, 2): real, fake, whatever their
    order in the folder. A model with more labels keeps its order. The metadata of the graph list the labels.

    Args:
        plan: Folder to export, and output file.

    Returns:
        The file and how far its logits differ from PyTorch's.

    Raises:
        MissingPackageError: If the packages of the extra `export` are not installed.
        TargetError: If the file exists and must not be replaced.
        ModelLoadError: If the folder is not a model folder of this package.
        ExportError: If torch cannot export the model, or the graph disagrees with PyTorch.
        OutputError: If the file cannot be written.

    Example:

        >>> from deepfake_video import ExportPlan, export
        >>> result = export(ExportPlan(folder="my-model", output="my-model.onnx"))
        >>> result.path.name
        'my-model.onnx'
        >>> max(result.differences.values()) < 1e-4
        True
    """
    check_plan(plan, ExportPlan)
    require_packages("The export", "onnx", "onnxscript", "onnxruntime", extra="export")
    folder, output = folder_named(plan.folder), Path(plan.output)
    if os.path.lexists(output) and not (plan.overwrite and output.is_file()):
        raise TargetError(output, "it exists; choose another --output, or use --overwrite to replace a file")
    from .checkpoint import read_checkpoint

    model = read_checkpoint(folder).network
    order = _logit_order(model)
    labels = tuple(model.config.id2label[index] for index in order)
    try:
        follow_links(output).parent.mkdir(parents=True, exist_ok=True)
        with unfinished(), new_file(output, suffix=".onnx") as temporary:
            _export(model, temporary, order)
            _store_metadata(folder, temporary, labels)
            differences = _compare(model, temporary, order)
    except OSError as error:
        raise OutputError(output, error) from error
    return ExportResult(path=output, labels=labels, differences=differences)


def _logit_order(model: "DeepfakeForVideoClassification") -> list[int]:
    """Index in the network of each logit of the graph: of two labels, "fake" comes last."""
    order = list(range(model.num_labels))
    return order if model.num_labels > 2 else sorted(order, key=lambda index: model.config.id2label[index] == "fake")


def _export(model: "DeepfakeForVideoClassification", path: Path, order: Sequence[int]) -> None:
    import torch

    from .graph_tracing import trace_graph

    class LogitsWrapper(torch.nn.Module):
        """A model that returns its logits alone, because a graph returns tensors and not an output class."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values_videos: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(pixel_values_videos=pixel_values_videos, return_dict=True).logits
            return logits if list(order) == sorted(order) else logits[:, list(order)]

    size = model.config.image_size
    example = torch.zeros(*_EXAMPLE, 3, size, size)
    try:
        program = trace_graph(
            LogitsWrapper(), example, name="pixel_values_videos", outputs=["logits"], free=["batch", "frames"]
        )
        program.save(path, external_data=False)
    except OSError:
        raise
    except Exception as error:  # the errors of the network and of torch's exporter have no common class
        raise ExportError(
            f"torch cannot export this network at its image size of {size} pixels "
            f"({printable(one_line(error.__cause__ or error))}); nothing was written."
        ) from error


def _store_metadata(folder: Path, path: Path, labels: Sequence[str]) -> None:
    """Store labels, card and terms of the model in the metadata of the graph, because it is a single file."""
    import onnx

    from .terms import find_card, find_terms

    files = [*find_terms(folder), *filter(None, [find_card(folder)])]
    texts = {file.name: file.read_text("utf-8", "replace") for file in files}
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, {"labels": json.dumps(list(labels)), **texts})
    onnx.save(graph, str(path))


def _compare(
    model: "DeepfakeForVideoClassification", path: Path, order: Sequence[int]
) -> dict[tuple[int, int], float]:
    import onnxruntime  # type: ignore[import-untyped]
    import torch

    from .differences import relative_difference

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    size = model.config.image_size
    differences = {}
    for clips, frames in SHAPES:
        pixels = torch.randn(clips, frames, 3, size, size, generator=generator)
        with torch.inference_mode():
            expected = model(pixel_values_videos=pixels, return_dict=True).logits[:, list(order)]
        try:
            (logits,) = session.run(None, {"pixel_values_videos": pixels.numpy()})
        except Exception as error:  # the errors of onnxruntime have no common class
            raise ExportError(
                f"The exported graph fails on {clips} clips of {frames} frames ({one_line(error)}); nothing was "
                "written. Please report this."
            ) from error
        differences[clips, frames] = relative_difference(torch.from_numpy(logits), expected)
    worst = max(differences.values())
    if not worst <= TOLERANCE:
        raise ExportError(
            f"The exported graph disagrees with PyTorch (relative difference {worst:.1e}, allowed {TOLERANCE:.0e}); "
            "nothing was written. Please report this."
        )
    return differences
