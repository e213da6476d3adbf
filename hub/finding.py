# SPDX-License-Identifier: Apache-2.0
"""Find the folder of a model by its name: a local folder or a repository of the Hub. Nothing here imports torch."""

from pathlib import Path

from ..common.errors import UsageError
from ..common.text import one_line
from .model_files import check_json_files
from .packaged import folder_named
from .terms import CARD_NAME, TERMS_NAMES


LEGACY_EXTENSIONS = {".pt", ".pth", ".bin", ".ckpt", ".tar"}


class ModelLoadError(UsageError):
    """A checkpoint cannot be used; the message names the checkpoint, the reason and a remedy."""

    reason = "model"


def find_model_folder(name: str) -> tuple[Path, str | None]:
    """
    Find the folder of a model, and download it if it is a repository of the Hub.

    Args:
        name: Model folder or Hub id, or "default" for the packaged checkpoint, unless there is a folder of this name.

    Returns:
        The folder, and the commit of a Hub repository; `None` for a local folder.

    Raises:
        ModelLoadError: If it is neither, cannot be downloaded, or is a legacy checkpoint; or if a JSON file in it is a
            pipe, a device, or far too large.
    """
    path = folder_named(name)
    if path.suffix.lower() in LEGACY_EXTENSIONS and (path.is_file() or not path.is_dir()):
        raise ModelLoadError(
            f"{name}: a legacy checkpoint cannot be loaded directly; convert it first: "
            f"deepfake-video convert {name} --output FOLDER"
        )
    if path.is_dir():
        try:
            check_json_files(path)
        except (ValueError, OSError) as error:
            raise ModelLoadError(f"{name}: {one_line(error)}") from error
        return path, None
    if path.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise ModelLoadError(f"{name}: not a model folder; give a model folder or the id of a Hub repository.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "*.safetensors", *TERMS_NAMES, CARD_NAME]
        snapshot = snapshot_download(name, allow_patterns=patterns)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelLoadError(
            f"{name}: no such folder, and the Hub repository could not be downloaded: {one_line(error)}"
        ) from error
    return Path(snapshot), Path(snapshot).name
