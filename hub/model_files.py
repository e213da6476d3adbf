# SPDX-License-Identifier: Apache-2.0
"""Names of the files that make up a model folder, and a check of which of them are present."""

import re
import stat
from pathlib import Path

from ..common.errors import UsageError
from ..common.json_files import read_json
from ..common.text import one_line, quoted
from ..face_centerface import GRAPH_NAME, LICENSE_NAME
from .folder_type import describe_other_model
from .terms import CARD_NAME, TERMS_NAMES


CONFIG_NAME = "config.json"
VIDEO_PROCESSOR_NAME = "video_preprocessor_config.json"
IMAGE_PROCESSOR_NAME = "preprocessor_config.json"
PROCESSOR_NAMES = (IMAGE_PROCESSOR_NAME, VIDEO_PROCESSOR_NAME)
# Transformers prefers this file to those above, which the package writes and describes.
REPLACING_NAME = "processor_config.json"
VERDICT_NAME = "verdict.json"
# Hashes of the videos that the model was trained, validated or calibrated on; no names.
KNOWN_VIDEOS_NAME = "known_videos.json"
WEIGHTS_NAME, INDEX_NAME = "model.safetensors", "model.safetensors.index.json"
# Graph and licence of the face detector CenterFace.
DETECTOR_NAMES = (GRAPH_NAME, LICENSE_NAME)
# The objects of a larger file would fill the memory. The list of known videos has room for 900,000.
_MAX_JSON_BYTES, _MAX_KNOWN_BYTES = 16 * 2**20, 64 * 2**20
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_DATA_NAMES = {CONFIG_NAME, *PROCESSOR_NAMES, WEIGHTS_NAME, INDEX_NAME, VERDICT_NAME, CARD_NAME, ".gitattributes"}
_DATA_NAMES |= {KNOWN_VIDEOS_NAME, *TERMS_NAMES, *DETECTOR_NAMES}


class ModelFolderError(UsageError):
    """A folder is not a complete model folder; the message states the folder and the problem."""


def model_files(folder: Path) -> dict[str, int]:
    """
    List the files of a model folder. Any other files in the folder are ignored.

    Args:
        folder: Folder written by `convert`, `train` or `save_pretrained`.

    Returns:
        Name and size in bytes of each file: weights, JSON, card, licence, and the code that the JSON files refer to.

    Raises:
        ModelFolderError: If it is not a complete model folder.
    """
    if not folder.is_dir():
        raise ModelFolderError(f"{quoted(folder)} is not a folder; give the one that convert or train wrote.")
    try:
        check_json_files(folder)
    except (ValueError, OSError) as error:
        raise ModelFolderError(f"{quoted(folder)}: {one_line(error)}") from error
    _check_type(folder)
    code = _code_files(folder)
    weights = _weight_names(folder)
    files = {
        entry.name: entry.stat().st_size
        for entry in sorted(folder.iterdir())
        if _belongs(entry, code) and (entry.name in weights or not is_weight_name(entry.name))
    }
    missing = [name for name in (CONFIG_NAME, *PROCESSOR_NAMES, *sorted(code), *sorted(weights)) if name not in files]
    if missing:
        # Those of the Hub's cache, for example; a link of a folder from elsewhere may lead to any file.
        note = "; links are not followed" if any((folder / name).is_symlink() for name in missing) else ""
        raise ModelFolderError(
            f"{quoted(folder)} is not a complete model folder: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing{note}."
        )
    return files


def check_json_files(folder: Path) -> None:
    """
    Check the JSON files of a folder before they are read: a pipe would wait for ever, a device has no end, and
    `processor_config.json` would replace the settings in the files of both processors.

    Args:
        folder: A model folder, which may come from elsewhere.

    Raises:
        ValueError: If one is not a regular file, is too large, or replaces others.
        OSError: If the folder or one of them cannot be read.
    """
    if (folder / REPLACING_NAME).exists():
        raise ValueError(
            f"{REPLACING_NAME} would replace the settings in {' and '.join(PROCESSOR_NAMES)}; move them there and "
            "remove it."
        )
    for file in folder.glob("*.json"):
        # These are reported as missing, or ignored.
        if not file.exists() or file.is_dir():
            continue
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{file.name} is not a regular file; replace it.")
        most = _MAX_KNOWN_BYTES if file.name == KNOWN_VIDEOS_NAME else _MAX_JSON_BYTES
        if status.st_size > most:
            raise ValueError(f"{file.name} is larger than {most >> 20} MiB, which no model needs.")


def weight_files(folder: Path) -> list[Path]:
    """
    List the weight files of a checkpoint folder, as Transformers selects them; others are never read.

    Args:
        folder: Folder with `model.safetensors`, or with an index that names its shards.

    Returns:
        This file, or the shards sorted by name.

    Raises:
        ValueError: If there is neither, or if the index is invalid or names a file that is missing or outside the
            folder.
        OSError: If the index cannot be read.
    """
    if (folder / WEIGHTS_NAME).is_file():
        return [folder / WEIGHTS_NAME]
    if not (folder / INDEX_NAME).is_file():
        raise ValueError(f"the folder contains neither {WEIGHTS_NAME} nor {INDEX_NAME}; other files are never loaded.")
    try:
        names = set(read_json(folder / INDEX_NAME)["weight_map"].values())
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"{INDEX_NAME} contains no weight_map from keys to files.") from error
    for shard in names:
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(
                f"{INDEX_NAME} names {str(shard)[:80]!r}, which is not a safetensors file of this folder."
            )
        if not (folder / shard).is_file():
            raise ValueError(f"{INDEX_NAME} lists {shard}, which is missing.")
    if not names:
        raise ValueError(f"{INDEX_NAME} lists no files.")
    return [folder / shard for shard in sorted(names)]


def is_weight_name(name: str) -> bool:
    """Return whether a file of a model folder holds weights, or is the index of its shards."""
    return name in (WEIGHTS_NAME, INDEX_NAME) or _SHARD.fullmatch(name) is not None


def foreign_entries(folder: Path) -> list[str]:
    """
    List what a folder holds besides the files of a model folder; Python's own cache is not counted.

    Args:
        folder: An existing folder.

    Returns:
        The sorted names of other files, of links and of folders.

    Raises:
        ModelFolderError: If a Python file that belongs to the model is not a text file.
    """
    code = _code_files(folder)
    entries = sorted(folder.iterdir())
    return [entry.name for entry in entries if entry.name != "__pycache__" and not _belongs(entry, code)]


def _belongs(entry: Path, code: set[str]) -> bool:
    is_known = entry.name in _DATA_NAMES or entry.name in code or _SHARD.fullmatch(entry.name) is not None
    return is_known and entry.is_file() and not entry.is_symlink()


def _weight_names(folder: Path) -> set[str]:
    """Names of the files that loading the folder reads; shards of an earlier model may lie beside them."""
    try:
        names = {file.name for file in weight_files(folder)}
    except ValueError as error:
        raise ModelFolderError(f"{quoted(folder)} is not a complete model folder: {error}") from error
    return names if names == {WEIGHTS_NAME} else names | {INDEX_NAME}


def _check_type(folder: Path) -> None:
    try:
        problem = describe_other_model(read_json(folder / CONFIG_NAME))
    except OSError:
        return  # It is among the missing files.
    except ValueError:
        problem = "holds a config.json that is not valid JSON."
    if problem:
        raise ModelFolderError(f"{quoted(folder)} {problem}")


def _code_files(folder: Path) -> set[str]:
    """Names of the Python files that Transformers loads from the folder: its JSON files name the first of them."""
    from transformers.dynamic_module_utils import get_relative_imports

    found: set[str] = set()
    pending = {module for name in (CONFIG_NAME, *PROCESSOR_NAMES) for module in _auto_modules(folder / name)}
    while pending:
        module = pending.pop()
        file = folder / f"{module}.py"
        found.add(file.name)
        if file.is_file() and not file.is_symlink():
            try:
                imported = get_relative_imports(file)
            except ValueError as error:
                raise ModelFolderError(f"{quoted(file)} is not a text file in UTF-8.") from error
            pending |= {name for name in imported if name.isidentifier() and f"{name}.py" not in found}
    return found


def _auto_modules(file: Path) -> set[str]:
    """Modules beside a JSON file that its `auto_map` refers to."""
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return set()
    entries = content.get("auto_map") if isinstance(content, dict) else None
    references = entries.values() if isinstance(entries, dict) else ()
    modules = {reference.rpartition(".")[0] for reference in references if isinstance(reference, str)}
    return {module for module in modules if module.isidentifier()}
