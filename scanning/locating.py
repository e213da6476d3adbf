# SPDX-License-Identifier: Apache-2.0
"""Resolve the name of a model to its folder and to its identity in results."""

from pathlib import Path

from ..hub.finding import find_model_folder
from ..hub.packaged import DEFAULT_CHECKPOINT
from .results import DEFAULT_ID, ModelIdentity


UNTRAINED_ID = "untrained"


def locate_model(name: str | None) -> tuple[Path, ModelIdentity] | None:
    """
    Find a model, and download it if need be.

    Args:
        name: Model folder or Hub id, as [`find_model_folder`] takes it; `None` for the packaged checkpoint.

    Returns:
        The folder, and the identity in results, whose hash is not set yet. `None` if the packaged checkpoint is
        requested but not installed.

    Raises:
        ModelLoadError: If it cannot be found or downloaded.
    """
    if name is None:
        if not DEFAULT_CHECKPOINT.is_dir():
            return None
        name = str(DEFAULT_CHECKPOINT)
    folder, commit = find_model_folder(name)
    if folder.resolve() == DEFAULT_CHECKPOINT:
        name = DEFAULT_ID
    elif name in (DEFAULT_ID, UNTRAINED_ID):
        # A local folder that happens to have the name of the packaged checkpoint.
        name = f"./{name}"
    return folder, ModelIdentity(id=name, revision=commit)
