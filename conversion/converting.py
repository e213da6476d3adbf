# SPDX-License-Identifier: Apache-2.0
"""The converter itself: read, recognise, settle, run, write, compare, and only then let the folder appear."""

import gc
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..common.files import replace_folder, temporary_folder
from ..hub.folder_type import MODEL_TYPE
from ..hub.model_files import foreign_entries
from .choices import Choices, config_fields, describe, processor_fields, settle, settled_by_preset
from .diagnosis import diagnose
from .errors import ConversionError, shown
from .key_maps import convert_tensors
from .legacy_forward import LegacyNetwork
from .loading import Checkpoint, read_checkpoint
from .model_card import Provenance, write_model_card
from .parity import Answers, Parity, compare, compared_size, expected_answers
from .recognition import Layout, recognise
from .timm_layouts import check_backbone_flag, is_lite, padded_as, restore_pointwise


@dataclass(frozen=True)
class Inspection:
    """
    What a checkpoint holds.

    Attributes:
        checkpoint: The file that was read.
        layout: What was recognised.
        choices: What is settled and what must be given.
        diagnosis: What the weights really compute, in sentences.
    """

    checkpoint: Checkpoint
    layout: Layout
    choices: Choices
    diagnosis: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The same for programs."""
        layout, checkpoint = self.layout, self.checkpoint
        return {
            "file": str(checkpoint.path),
            "sha256": checkpoint.sha256,
            "container": checkpoint.container,
            "wrappers": list(checkpoint.wrappers),
            "key_prefix": checkpoint.prefix,
            "set_aside": list(checkpoint.set_aside),
            "family": layout.family,
            "network": describe(layout),
            "backbone": layout.backbone,
            "naming": layout.naming,
            "recurrent": layout.rnn.__dict__ if layout.rnn else None,
            "attention": list(layout.attention) if layout.attention else None,
            "head": dict(zip(layout.head.modules, layout.head.sizes, strict=True)),
            "head_order": layout.head.order,
            "unused": list(layout.unused),
            "choices": {
                name: {"value": choice.value, "settled_by": choice.source}
                for name, choice in self.choices.settled.items()
            },
            "missing": list(self.choices.missing),
            "preset": self.choices.preset,
            "ignored": list(self.choices.ignored),
            "as_sequence": self.choices.as_sequence,
            "diagnosis": self.diagnosis,
        }


@dataclass(frozen=True)
class Conversion:
    """
    A finished conversion.

    Attributes:
        inspection: What was read, without its tensors' memory.
        parity: Proof that the written weights answer as the read ones.
        files: Name and size in bytes of each written file.
    """

    inspection: Inspection
    parity: Parity
    files: dict[str, int]


def inspect(path: Path, flags: Mapping[str, Any]) -> Inspection:
    """
    Read a checkpoint and tell what it is.

    Args:
        path: The file.
        flags: What the user gave, by the names of the arguments; `None` stands for "not given".

    Raises:
        ConversionError: If the file cannot be read safely, is incomplete, or is not supported.
    """
    backbone = flags.get("backbone")
    if backbone is not None:
        check_backbone_flag(backbone)
    checkpoint = _read(path, flags.get("key"))
    layout = recognise(
        checkpoint.shapes,
        file=str(path),
        key_prefix=checkpoint.prefix,
        has_order=checkpoint.has_order,
        head_order=flags.get("head_order"),
        backbone=backbone,
    )
    _check_values(checkpoint, layout)
    choices = settle(layout, flags, file=str(path))
    if is_lite(layout.backbone) and "padding" in choices.settled:
        layout = replace(layout, backbone=padded_as(layout.backbone, choices["padding"]))
    diagnosis = diagnose(layout, choices)
    if checkpoint.set_aside:
        diagnosis.append(f"Set aside, as they take no part in the answer: {', '.join(checkpoint.set_aside)}.")
    return Inspection(checkpoint, layout, choices, diagnosis)


def convert(
    path: Path,
    output: Path | None,
    flags: Mapping[str, Any],
    *,
    provenance: Provenance | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Conversion:
    """
    Convert a legacy checkpoint into a folder that `pipeline` loads.

    The folder appears at once and complete, or not at all.

    Args:
        path: The checkpoint file.
        output: The folder to write; may be left out in a dry run.
        flags: What the user gave, by the names of the arguments; `None` stands for "not given".
        provenance: Licence, origin and name, for the model card.
        overwrite: Whether to replace a model folder that is there.
        dry_run: Whether to do everything but let the folder appear.

    Raises:
        ConversionError: If anything is wrong; nothing is written then.
    """
    inspection = inspect(path, flags)
    choices = inspection.choices
    if choices.missing:
        preset = f" Or give --preset {choices.preset} ({settled_by_preset(choices.preset)})." if choices.preset else ""
        raise ConversionError(
            f"{shown(path)} holds {describe(inspection.layout)}, and its weights cannot tell: give "
            f"{', '.join(choices.missing)}.{preset}",
            reason="flags",
        )
    if output is None:
        if not dry_run:
            raise ConversionError("Only a dry run needs no output; give --output.", reason="flags")
        with tempfile.TemporaryDirectory(prefix="deepfake-video-") as folder:
            return _convert_into(Path(folder), inspection, provenance or Provenance())
    output = Path(os.path.abspath(output))
    _check_output(output, overwrite=overwrite)
    try:
        with temporary_folder(output) as folder:
            conversion = _convert_into(folder, inspection, provenance or Provenance())
            if not dry_run:
                _check_output(output, overwrite=overwrite)
                replace_folder(folder, output)
    except OSError as error:
        raise ConversionError(
            f"{shown(output)} could not be written ({error.strerror or error}); nothing was left there.",
            reason="output",
        ) from error
    return conversion


def _read(path: Path, key: str | None) -> Checkpoint:
    checkpoint = read_checkpoint(path, key)
    restore_pointwise(checkpoint.tensors)
    return checkpoint


def _check_values(checkpoint: Checkpoint, layout: Layout) -> None:
    """Numbers of the right shape that still cannot be weights."""
    tensors = checkpoint.tensors
    for key in layout.backbone_keys.values():
        if key.endswith("running_var") and bool((tensors[key] < 0).any()):
            raise ConversionError(
                f"{shown(checkpoint.path)} holds negative variances in {shown(checkpoint.prefix + key)}; the file is "
                "damaged, download it again.",
                reason="weights",
            )
    used = [key for key in tensors if not key.endswith("num_batches_tracked")]
    integers = [key for key in used if not tensors[key].is_floating_point()]
    if integers:
        raise ConversionError(
            f"{shown(checkpoint.path)} holds integers in {shown(checkpoint.prefix + integers[0])} (a quantised "
            "model); save the float32 weights from before quantisation.",
            reason="weights",
        )


def _convert_into(folder: Path, inspection: Inspection, provenance: Provenance) -> Conversion:
    checkpoint, layout, choices = inspection.checkpoint, inspection.layout, inspection.choices
    file = str(checkpoint.path)
    size = compared_size(layout.backbone, choices["image_size"])
    expected = expected_answers(LegacyNetwork(checkpoint.tensors, layout, choices), size)
    if not all(bool(logits.isfinite().all()) for _, logits in expected.values()):
        raise ConversionError(
            f"{shown(file)} holds weights that answer NaN or infinity to ordinary frames; use another checkpoint.",
            reason="weights",
        )
    _write_folder(folder, checkpoint, layout, choices)
    # From here on the written file counts: the read weights give their memory back before it is loaded.
    checkpoint.tensors.clear()
    gc.collect()
    parity = _check_parity(folder, expected, inspection)
    write_model_card(
        folder,
        checkpoint=checkpoint,
        layout=layout,
        choices=choices,
        diagnosis=inspection.diagnosis,
        parity=parity,
        provenance=provenance,
    )
    # safetensors writes for the owner alone; a folder is to be read by whoever may read its other files.
    mode = stat.S_IMODE((folder / "config.json").stat().st_mode)
    for entry in folder.glob("*.safetensors"):
        entry.chmod(mode)
    files = {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir())}
    return Conversion(inspection, parity, files)


def _check_parity(folder: Path, expected: Answers, inspection: Inspection) -> Parity:
    """In float32; where a network magnifies rounding beyond the tolerance, again in float64, which decides."""
    checkpoint, layout, choices = inspection.checkpoint, inspection.layout, inspection.choices
    file, size = str(checkpoint.path), compared_size(layout.backbone, choices["image_size"])
    parity = compare(folder, expected, size, file=file)
    if parity.holds:
        return parity
    network = LegacyNetwork(_read(checkpoint.path, checkpoint.key).tensors, layout, choices, torch.float64)
    expected = expected_answers(network, size, torch.float64)
    parity = compare(folder, expected, size, file=file, dtype=torch.float64)
    if not parity.holds:
        raise ConversionError(
            f"The folder made of {shown(file)} computes something else than the file does ({parity.line()}); nothing "
            "was written, please report this.",
            reason="parity",
        )
    return parity


def _write_folder(folder: Path, checkpoint: Checkpoint, layout: Layout, choices: Choices) -> None:
    from ..configuration_deepfake import DeepfakeConfig
    from ..hub.folder import save_hub_folder
    from ..image_processing_deepfake import DeepfakeVideoProcessor
    from ..modeling_deepfake import DeepfakeForVideoClassification

    config = DeepfakeConfig(**config_fields(layout, choices), dtype="float32")
    with torch.device("meta"):
        model = DeepfakeForVideoClassification(config)
    tensors = convert_tensors(checkpoint.tensors, layout, fake_index=choices["fake_index"])
    model.load_state_dict(tensors, strict=True, assign=True)
    model.train(False)
    save_hub_folder(model, DeepfakeVideoProcessor(**processor_fields(choices)), folder)


def _check_output(output: Path, *, overwrite: bool) -> None:
    """What stands at the output may be nothing, an empty folder, or with `--overwrite` a model folder."""
    if not os.path.lexists(output):
        return
    if output.is_symlink() or not output.is_dir():
        raise ConversionError(f"{shown(output)} is not a folder; choose another --output.", reason="output")
    entries = sorted(output.iterdir())
    if not entries:
        return
    if not overwrite:
        raise ConversionError(
            f"{shown(output)} exists and is not empty; choose another --output, or say --overwrite to replace a model "
            "folder.",
            reason="output",
        )
    foreign = next(iter(foreign_entries(output)), None)
    if foreign is not None or _model_type(output) != MODEL_TYPE:
        what = f"holds {shown(foreign)}" if foreign else "has no config.json of this package"
        raise ConversionError(
            f"{shown(output)} {what}, so it is no model folder that --overwrite may replace; choose another --output.",
            reason="output",
        )


def _model_type(folder: Path) -> object:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None
