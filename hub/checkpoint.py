# SPDX-License-Identifier: Apache-2.0
"""Read a local checkpoint folder with the package's own classes: only safetensors and JSON; its code is ignored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import initialization as init

from ..common.json_files import read_json
from ..common.text import one_line
from ..configuration_deepfake import DeepfakeConfig
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForVideoClassification, describe_invalid_weights
from ..timm_backbones import fill_computed_buffers
from .finding import ModelLoadError
from .folder_type import describe_other_model
from .model_files import CONFIG_NAME, VIDEO_PROCESSOR_NAME, check_json_files, weight_files
from .weights import read_weights


# Errors that Transformers raises if a value in a JSON file has an unexpected type.
_WRONG_VALUES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class StoredCheckpoint:
    """
    The content of a checkpoint folder.

    Attributes:
        network: The network in evaluation mode, on the CPU, with the stored weights.
        processor: Its preprocessing.
        weights_sha256: SHA-256 of the weights file, or of the concatenated shards.
    """

    network: DeepfakeForVideoClassification
    processor: DeepfakeVideoProcessor
    weights_sha256: str


def read_checkpoint(folder: Path, *, name: str | None = None) -> StoredCheckpoint:
    """
    Read a checkpoint folder.

    Args:
        folder: Folder with `config.json`, the file of the video processor and safetensors weights.
        name: Name of the model in errors; the folder by default.

    Raises:
        ModelLoadError: If it is not a checkpoint of this package, or is damaged.
    """
    name = str(folder) if name is None else name
    config, processor = read_choices(name, folder)
    network, digest = _read_network(name, folder, config)
    return StoredCheckpoint(network, processor, digest)


def read_choices(name: str, folder: Path) -> tuple[DeepfakeConfig, DeepfakeVideoProcessor]:
    """
    Read the JSON files of a folder, without its weights.

    Args:
        name: Name of the model in errors.
        folder: Folder of the files.

    Raises:
        ModelLoadError: If a file is missing or invalid.
    """
    try:
        check_json_files(folder)
    except (ValueError, OSError) as error:
        raise ModelLoadError(f"{name}: {one_line(error)}") from error
    config = _read_config(name, folder)
    try:
        return config, DeepfakeVideoProcessor.from_pretrained(folder)
    except (*_WRONG_VALUES, OSError) as error:
        if not (folder / VIDEO_PROCESSOR_NAME).exists():
            raise ModelLoadError(
                f"{name}: the folder contains no {VIDEO_PROCESSOR_NAME}; save the processor there too, with its "
                "save_pretrained."
            ) from error
        raise ModelLoadError(f"{name}: the video processor's file cannot be used: {one_line(error)}") from error


def _read_config(name: str, folder: Path) -> DeepfakeConfig:
    file = folder / CONFIG_NAME
    try:
        content = read_json(file)
    except OSError as error:
        raise ModelLoadError(f"{name}: the folder contains no readable config.json ({error.strerror}).") from error
    except ValueError as error:
        raise ModelLoadError(f"{name}: config.json is not JSON.") from error
    if problem := describe_other_model(content):
        raise ModelLoadError(f"{name}: {problem}")
    try:
        config = DeepfakeConfig.from_dict(content)
    except _WRONG_VALUES as error:
        raise ModelLoadError(f"{name}: config.json is invalid: {one_line(error)}") from error
    if "fake" not in config.label2id:
        raise ModelLoadError(f"{name}: none of the labels {', '.join(config.label2id)} is 'fake'; see id2label.")
    return config


def _read_network(name: str, folder: Path, config: DeepfakeConfig) -> tuple[DeepfakeForVideoClassification, str]:
    """Read the network in evaluation mode and the hash of its weights, without initialising weights."""
    try:
        files = weight_files(folder)
    except (ValueError, OSError) as error:
        raise ModelLoadError(f"{name}: {one_line(error)}") from error
    try:
        with init.no_init_weights(), torch.device("meta"):
            network = DeepfakeForVideoClassification(config).eval()
    except (*_WRONG_VALUES, ImportError, RuntimeError) as error:
        raise ModelLoadError(f"{name}: no network can be built from config.json: {one_line(error)}") from error
    expected = network.state_dict()
    try:
        weights, digest = read_weights(files, lambda stored: _check_keys(name, stored, expected))
    except ModelLoadError:
        raise
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelLoadError(f"{name}: the weights cannot be loaded: {one_line(error)}") from error
    weights = {key: tensor.to(expected[key].dtype) for key, tensor in weights.items()}
    if problem := describe_invalid_weights(weights):
        raise ModelLoadError(f"{name}: {problem}; the file is damaged, or its training diverged.")
    network.load_state_dict(weights, assign=True)
    fill_computed_buffers(network)
    return network, digest


def _check_keys(name: str, stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    problems = {
        "missing": expected.keys() - stored.keys(),
        "unexpected": stored.keys() - expected.keys(),
        "mismatched": {key for key in expected.keys() & stored.keys() if expected[key].shape != stored[key].shape},
    }
    for problem, keys in problems.items():
        if keys:
            listed = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise ModelLoadError(f"{name}: the weights do not match config.json; {problem} keys: {listed}.")
    for key, tensor in stored.items():
        # Integers are the weights of a quantised model, without the scales that they are multiplied by.
        if expected[key].is_floating_point() and not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ModelLoadError(
                f"{name}: the weights contain {kind} numbers in {key} (a quantised model), which cannot be used; save "
                "the weights from before the quantisation."
            )
