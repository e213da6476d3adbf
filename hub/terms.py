# SPDX-License-Identifier: Apache-2.0
"""Find and copy the files that contain the licence and terms of use of a model."""

import shutil
from pathlib import Path
from typing import Any

from ..common.errors import UsageError


CARD_NAME = "README.md"
_NAMES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "TERMS", "TERMS_OF_USE", "USE_POLICY")
# Only files with these names are copied, published or downloaded.
TERMS_NAMES = tuple(f"{name}{extension}" for name in _NAMES for extension in ("", ".txt", ".md"))
_MAX_BYTES = 1 << 20


class TermsError(UsageError):
    """The licence files of a model cannot be copied; the message names the file."""


def find_terms(folder: Path) -> list[Path]:
    """
    Find licence, notice and terms of use in the folder of a model.

    Args:
        folder: A local folder, the snapshot of a Hub repository, or the packaged checkpoint.

    Raises:
        TermsError: If one of the files is not a regular text file in this folder.
    """
    return [file for name in TERMS_NAMES if (file := _find(folder, name)) is not None]


def find_card(folder: Path) -> Path | None:
    """
    Find the model card in the folder of a model, if there is one.

    Raises:
        TermsError: If it is not a regular text file in this folder.
    """
    return _find(folder, CARD_NAME)


def read_card(folder: Path) -> str | None:
    """
    Read the model card in the folder of a model, to write it again with changes; `None` if there is none.

    Raises:
        TermsError: If it is not a regular text file in this folder, or not UTF-8.
    """
    card = find_card(folder)
    try:
        return None if card is None else card.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TermsError(f"{card}: the model card is not UTF-8; save it as UTF-8.") from error


def copy_terms(source: Path, target: Path) -> list[str]:
    """
    Copy licence, notice and terms of use of a model into the folder of a derived model.

    Returns:
        The names of the files.

    Raises:
        TermsError: If a file is not a regular text file in its folder.
        OSError: If it cannot be copied.
    """
    files = find_terms(source)
    for file in files:
        shutil.copyfile(file, target / file.name)
    return [file.name for file in files]


def licence_of(folder: Path) -> dict[str, Any]:
    """
    Return the licence fields of the model card: those of `license`, `license_name` and `license_link` that it has.

    Raises:
        TermsError: If the card is not a regular text file in its folder.
    """
    from huggingface_hub import ModelCard

    card = find_card(folder)
    if card is None:
        return {}
    try:
        data = ModelCard(card.read_text("utf-8", "replace"), ignore_metadata_errors=True).data.to_dict()
    except Exception:  # a card written by hand: the errors of YAML and its validation have no common class
        return {}
    names = ("license", "license_name", "license_link")
    return {name: data[name] for name in names if isinstance(data.get(name), str)}


def model_folder_of(path: Path) -> Path | None:
    """Return the folder of a model, given its path or that of its weights; `None` for a file elsewhere."""
    folder = path if path.is_dir() else path.parent
    return folder if (folder / "config.json").is_file() else None


def _find(folder: Path, name: str) -> Path | None:
    file = folder / name
    if not file.is_file():
        return None
    # The files of a snapshot are links into the cache of their repository.
    root = folder.resolve()
    roots = (root, root.parent.parent) if root.parent.name == "snapshots" else (root,)
    if not any(file.resolve().is_relative_to(allowed) for allowed in roots):
        raise TermsError(f"{file}: this link points outside the model folder; replace it with a copy of the file.")
    if file.stat().st_size > _MAX_BYTES:
        raise TermsError(f"{file}: larger than 1 MiB, which is too large for a licence or model card.")
    return file
