# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that comes with the package: where it lies, and a self-contained copy of it."""

import argparse
import shutil
import sys
from pathlib import Path

from ..common.exit_codes import FAILED, OK, USAGE, report
from ..common.files import new_folder
from ..conversion.errors import ConversionError, shown


_DESCRIPTION = """Write the packaged checkpoint as a model folder of its own: weights, configuration, card, licence,
and the code that Transformers loads with trust_remote_code=True where this package is not installed."""
_EPILOG = """examples:
  deepfake-video checkpoint my-folder"""
# What is taken over as it is; the rest is written anew.
_COPIED = ("model.safetensors", "README.md", "LICENSE", "training.json")


def default_checkpoint() -> Path:
    """
    The folder of the packaged checkpoint.

    `pipeline` and the Auto classes load it with `trust_remote_code=True`, or after [`register`] without. Its code is
    this package; [`write_default_checkpoint`] makes a folder that needs no package.
    """
    from ..scanning.models import DEFAULT_CHECKPOINT

    return DEFAULT_CHECKPOINT


def write_default_checkpoint(folder: Path) -> Path:
    """
    Copy the packaged checkpoint into a self-contained folder.

    Args:
        folder: Where to write; must not exist, or be empty.

    Returns:
        The folder.

    Raises:
        ConversionError: If the folder is not empty or cannot be written.
    """
    from ..image_processing_deepfake import DeepfakeVideoProcessor
    from ..modeling_deepfake import DeepfakeForVideoClassification
    from .folder import save_hub_folder

    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConversionError(f"{shown(folder)} exists and is not an empty folder; choose another.", reason="output")
    source = default_checkpoint()
    try:
        with new_folder(folder) as unfinished:
            network = DeepfakeForVideoClassification.from_pretrained(source)
            save_hub_folder(network, DeepfakeVideoProcessor.from_pretrained(source), unfinished)
            for name in _COPIED:
                # safetensors writes for the owner alone; a new file is readable like the others.
                (unfinished / name).unlink(missing_ok=True)
                shutil.copyfile(source / name, unfinished / name)
    except OSError as error:
        raise ConversionError(f"{shown(folder)} could not be written ({error.strerror}).", reason="output") from error
    return folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deepfake-video checkpoint`."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to write")


def run(arguments: argparse.Namespace) -> int:
    """`deepfake-video checkpoint`; returns the exit code."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        folder = write_default_checkpoint(arguments.folder)
    except ConversionError as error:
        return report(error, USAGE if error.reason == "output" else FAILED)
    print(f"wrote {folder}: {', '.join(sorted(entry.name for entry in folder.iterdir()))}")
    print("The weights are for research use only, see LICENSE in that folder.", file=sys.stderr)
    return OK
