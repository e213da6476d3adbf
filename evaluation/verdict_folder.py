# SPDX-License-Identifier: Apache-2.0
"""Check that a model folder computes the scores on which verdict bands were measured."""

from pathlib import Path

from ..hub.model_files import CONFIG_NAME, WEIGHTS_NAME
from ..scanning.file_stamps import hash_files
from ..scanning.fingerprint import describe_function
from ..scanning.verdict import describe_mismatch
from ..scanning.verdict_bands import VerdictBands
from .samples import EvaluationError


def check_model_folder(folder: Path) -> None:
    """
    Check that a folder is that of a model.

    Args:
        folder: The folder.

    Raises:
        EvaluationError: If it has neither weights nor a configuration.
    """
    if not any((folder / name).is_file() for name in (CONFIG_NAME, WEIGHTS_NAME)):
        raise EvaluationError(
            f"{folder}: not a model folder: there is no {CONFIG_NAME} in it; give the folder of the evaluated model."
        )


def check_weights(folder: Path, weights_sha256: str) -> None:
    """
    Check that a folder, if its weights are in one file, has certain weights.

    Args:
        folder: Folder of the checkpoint.
        weights_sha256: SHA-256 of the weights that produce the scores.

    Raises:
        EvaluationError: If its weights are others.
    """
    weights = folder / WEIGHTS_NAME
    if weights.is_file() and hash_files([weights]) != weights_sha256:
        raise EvaluationError(
            f"{folder}: its weights are not those that produce the scores; evaluate this folder first."
        )


def check_verdict_folder(folder: Path, bands: VerdictBands) -> None:
    """
    Check that verdict bands belong to a model folder.

    Args:
        folder: Folder of the checkpoint.
        bands: The bands.

    Raises:
        EvaluationError: If its weights, configuration or preprocessing are not those that the bands were measured on.
        ModelLoadError: If its JSON files are damaged.
    """
    check_weights(folder, bands.weights_sha256)
    if not (folder / CONFIG_NAME).is_file():
        return
    # These import torch and Transformers, which saved scores do not need.
    from ..hub.checkpoint import read_choices
    from ..scanning.models import describe

    description = describe(*read_choices(str(folder), folder))
    problem = describe_mismatch(
        bands,
        weights_sha256=bands.weights_sha256,
        temperature=description.temperature,
        fake_bias=description.fake_bias,
        settings=bands.settings,
        function=describe_function(description, bands.settings["num_frames"]),
    )
    if problem is not None:
        raise EvaluationError(f"{folder}: {problem}; evaluate this folder first.")
