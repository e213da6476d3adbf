# SPDX-License-Identifier: Apache-2.0
"""Check that a model folder computes the scores on which verdict bands were measured."""

from pathlib import Path

from ..hub.model_files import CONFIG_NAME, WEIGHTS_NAME
from ..scanning.fingerprint import describe_function, hash_files
from ..scanning.verdict import describe_mismatch
from ..scanning.verdict_bands import VerdictBands
from .samples import EvaluationError


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
    weights = folder / WEIGHTS_NAME
    if weights.is_file() and hash_files([weights]) != bands.weights_sha256:
        raise EvaluationError(
            f"{folder}: its weights are not those that produced the scores; evaluate this folder first."
        )
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


__all__ = ["check_verdict_folder"]
