# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that comes with the package: its folder, and a self-contained copy of it."""

import shutil
from pathlib import Path

from ..common.errors import UsageError
from ..common.files import OutputError, check_folder_target, new_folder
from ..common.text import quoted
from .model_files import KNOWN_VIDEOS_NAME, VERDICT_NAME, WEIGHTS_NAME
from .terms import CARD_NAME


DEFAULT_CHECKPOINT = Path(__file__).resolve().parent.parent / "checkpoints" / "default"
# Files that are copied; the others are written again.
_COPIED = (WEIGHTS_NAME, CARD_NAME, "LICENSE", "training.json", KNOWN_VIDEOS_NAME)
# Copied if they exist.
_COPIED_IF_PRESENT = (VERDICT_NAME,)


def default_checkpoint() -> Path:
    """
    Return the folder of the packaged checkpoint.

    `pipeline` and the Auto classes load it with `trust_remote_code=True`, or without it after [`register`]. It uses
    the code of the installed package; [`write_default_checkpoint`] writes a self-contained copy.

    Example:

        >>> from deepfake_video import default_checkpoint
        >>> (default_checkpoint() / "config.json").is_file()
        True
    """
    return DEFAULT_CHECKPOINT


def folder_named(name: str | Path) -> Path:
    """
    Return the folder of a name: the packaged checkpoint for "default", unless there is a folder of this name.

    Args:
        name: Path of a model folder, or "default".
    """
    folder = Path(name)
    return DEFAULT_CHECKPOINT if str(name) == DEFAULT_CHECKPOINT.name and not folder.exists() else folder


def write_default_checkpoint(folder: str | Path) -> Path:
    """
    Copy the packaged checkpoint into a self-contained folder.

    Args:
        folder: Folder to write; it must not exist, or be empty.

    Returns:
        The folder.

    Raises:
        UsageError: If the folder is not empty.
        TargetError: If no folder can be made there.
        OutputError: If it cannot be written.
    """
    check_folder_target(folder)
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{quoted(folder)} exists and is not an empty folder; choose another.")
    from ..image_processing_deepfake import DeepfakeVideoProcessor
    from ..modeling_deepfake import DeepfakeForVideoClassification
    from .folder import save_hub_folder

    source = default_checkpoint()
    try:
        with new_folder(folder) as unfinished:
            network = DeepfakeForVideoClassification.from_pretrained(source)
            save_hub_folder(network, DeepfakeVideoProcessor.from_pretrained(source), unfinished)
            present = [name for name in _COPIED_IF_PRESENT if (source / name).is_file()]
            for name in (*_COPIED, *present):
                # safetensors writes files that only the owner can read; this file gets the permissions of the others.
                (unfinished / name).unlink(missing_ok=True)
                shutil.copyfile(source / name, unfinished / name)
    except OSError as error:
        raise OutputError(folder, error) from error
    return folder
