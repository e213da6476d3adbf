# SPDX-License-Identifier: Apache-2.0
"""The conversion: inspect the checkpoint, map its keys, write the folder, check parity, write the model card."""

import gc
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..common.files import OutputError, new_folder
from ..common.text import one_line, quoted
from ..hub.model_files import CONFIG_NAME
from .choices import preset_options
from .conversion_card import write_conversion_card
from .errors import ConversionError, ConversionOptionError
from .folder_settings import config_fields, processor_fields
from .inspection import Inspection, inspect_checkpoint, load
from .key_maps import convert_tensors
from .layout import Layout
from .legacy_forward import LegacyNetwork
from .output_folder import check_output
from .parity import Outputs, Parity, compare, compared_size, expected_outputs
from .plan import ConversionPlan


@dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """
    A finished conversion.

    Attributes:
        folder: The written model folder; `None` if nothing was written.
        inspection: File, layout, choices and notes; its tensors are released.
        parity: Differences between the network of the file and that of the folder.
        files: Size in bytes of each file of the folder, by name.
    """

    folder: Path | None
    inspection: Inspection
    parity: Parity
    files: dict[str, int]

    @property
    def layout(self) -> Layout:
        """The detected network."""
        return self.inspection.layout

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that describe the function of the weights."""
        return tuple(self.inspection.diagnosis)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-serialisable values."""
        return {
            **self.inspection.to_dict(),
            "parity": {"logits": self.parity.logits, "features": self.parity.features},
            "output": None if self.folder is None else str(self.folder),
            "files": self.files,
        }


def convert(plan: ConversionPlan) -> ConversionResult:
    """
    Convert a legacy checkpoint to a model folder that `pipeline` loads, and compare both.

    The same clips run through the network of the file and through that of the folder, at batch sizes 1 and 4. The
    folder is created only if both agree, and as a whole. The conversion needs about twice the memory of the file.

    Args:
        plan: The file, the output and the choices that the weights do not determine.

    Returns:
        The folder, the detected layout, the differences and notes on what the weights compute.

    Raises:
        ConversionError: If the file is unreadable, unsafe, incomplete or not supported, or if the networks differ.
        OutputError: If the folder cannot be written.
        UsageError: If options are missing or contradict the file, or the output exists and may not be replaced.

    Example:

        >>> from deepfake_video import ConversionPlan, convert
        >>> result = convert(ConversionPlan(checkpoint=checkpoint, output=folder, fake_index=1))
        >>> result.layout.backbone
        'efficientnet_b0'
        >>> result.parity.holds
        True
        >>> (folder / "model.safetensors").exists()
        True
    """
    inspection = inspect_checkpoint(plan)
    _check_nothing_is_missing(inspection)
    with _folder_to_fill(plan) as folder:
        parity = _fill(folder, inspection, plan)
        files = {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir())}
    written = None if plan.dry_run else plan.output
    return ConversionResult(folder=written, inspection=inspection, parity=parity, files=files)


def _check_nothing_is_missing(inspection: Inspection) -> None:
    choices = inspection.choices
    if not choices.missing:
        return
    preset = f" Or use --preset {choices.preset} ({preset_options(choices.preset)})." if choices.preset else ""
    raise ConversionOptionError(
        f"{quoted(inspection.checkpoint.path)} contains {inspection.layout.describe()}; its weights do not determine "
        f"everything, so these options are required: {', '.join(choices.missing)}.{preset}"
    )


@contextmanager
def _folder_to_fill(plan: ConversionPlan) -> Iterator[Path]:
    """Yield a folder that becomes the output at the end; one that is deleted if nothing is to be written."""
    output = None if plan.output is None else Path(os.path.abspath(plan.output))
    if output is not None:
        check_output(output, overwrite=plan.overwrite)
    try:
        if output is None or plan.dry_run:
            with tempfile.TemporaryDirectory(prefix="deepfake-video-") as temporary:
                yield Path(temporary)
        else:
            with new_folder(output) as folder:
                yield folder
                # Something may have appeared there meanwhile.
                check_output(output, overwrite=plan.overwrite)
    except OSError as error:
        raise OutputError(output or tempfile.gettempdir(), error) from error


def _fill(folder: Path, inspection: Inspection, plan: ConversionPlan) -> Parity:
    """Write the model folder and compare it with the file."""
    checkpoint, layout, choices = inspection.checkpoint, inspection.layout, inspection.choices
    size = compared_size(layout.backbone, choices["image_size"])
    try:
        expected = expected_outputs(LegacyNetwork(checkpoint.tensors, layout, choices), size)
    except (RuntimeError, ValueError) as error:
        raise ConversionOptionError(
            f"The network of {quoted(checkpoint.path)} cannot run on frames of {size} pixels ({one_line(error)}); "
            "choose another --image-size."
        ) from error
    if not all(bool(logits.isfinite().all()) for _, logits in expected.values()):
        raise ConversionError(
            f"{quoted(checkpoint.path)} returns NaN or infinity for ordinary frames; use another checkpoint.",
            reason="weights",
        )
    _write_model(folder, inspection)
    # The weights of the file are released before those of the folder are loaded.
    checkpoint.tensors.clear()
    gc.collect()
    parity = _prove_parity(folder, expected, inspection)
    write_conversion_card(folder, inspection, parity, plan)
    # safetensors makes its files readable for the owner only; they get the permissions of the other files.
    mode = stat.S_IMODE((folder / CONFIG_NAME).stat().st_mode)
    for entry in folder.glob("*.safetensors"):
        entry.chmod(mode)
    return parity


def _write_model(folder: Path, inspection: Inspection) -> None:
    from ..configuration_deepfake import DeepfakeConfig
    from ..hub.folder import save_hub_folder
    from ..image_processing_deepfake import DeepfakeVideoProcessor
    from ..modeling_deepfake import DeepfakeForVideoClassification

    layout, choices = inspection.layout, inspection.choices
    config = DeepfakeConfig(**config_fields(layout, choices), dtype="float32")
    with torch.device("meta"):
        model = DeepfakeForVideoClassification(config)
    tensors = convert_tensors(inspection.checkpoint.tensors, layout, fake_index=choices["fake_index"])
    model.load_state_dict(tensors, strict=True, assign=True)
    model.train(False)
    save_hub_folder(model, DeepfakeVideoProcessor(**processor_fields(choices)), folder)


def _prove_parity(folder: Path, expected: Outputs, inspection: Inspection) -> Parity:
    """Compare in float32; if a network amplifies rounding beyond the tolerance, float64 decides."""
    checkpoint, layout, choices = inspection.checkpoint, inspection.layout, inspection.choices
    file, size = str(checkpoint.path), compared_size(layout.backbone, choices["image_size"])
    parity = compare(folder, expected, size, file=file)
    if parity.holds:
        return parity
    network = LegacyNetwork(load(checkpoint.path, checkpoint.key).tensors, layout, choices, torch.float64)
    expected = expected_outputs(network, size, torch.float64)
    parity = compare(folder, expected, size, file=file, dtype=torch.float64)
    if not parity.holds:
        raise ConversionError(
            f"The converted network computes something different from {quoted(file)} ({parity.line()}); nothing was "
            "written. Please report this.",
            reason="parity",
        )
    return parity
