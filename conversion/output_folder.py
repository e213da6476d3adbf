# SPDX-License-Identifier: Apache-2.0
"""Which folder a conversion may write or replace."""

import os
from pathlib import Path

from ..common.files import TargetError, check_folder_target
from ..common.json_files import read_json
from ..common.text import quoted
from ..hub.folder_type import MODEL_TYPE
from ..hub.model_files import CONFIG_NAME, foreign_entries


def check_output(output: Path, *, overwrite: bool) -> None:
    """
    Check that nothing but a model folder is replaced.

    Args:
        output: Does not exist, or is an empty folder, or with `overwrite` a model folder without other files.
        overwrite: Whether a model folder may be replaced.

    Raises:
        TargetError: If anything else exists there, or the place is not writable.
    """
    check_folder_target(output.parent)
    if not os.path.lexists(output):
        return
    if output.is_symlink() or not output.is_dir():
        raise TargetError(output, "it is not a folder; choose another --output")
    if not any(output.iterdir()):
        return
    if not overwrite:
        raise TargetError(
            output, "the folder is not empty; choose another --output, or use --overwrite to replace a model folder"
        )
    foreign = next(iter(foreign_entries(output)), None)
    if foreign is not None or _model_type(output) != MODEL_TYPE:
        problem = f"contains {quoted(foreign)}" if foreign else "contains no config.json of this package"
        raise TargetError(output, f"the folder {problem}, so --overwrite does not replace it; choose another --output")


def _model_type(folder: Path) -> object:
    try:
        config = read_json(folder / CONFIG_NAME)
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None
