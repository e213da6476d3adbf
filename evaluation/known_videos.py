# SPDX-License-Identifier: Apache-2.0
"""
Videos that a checkpoint was trained, validated or calibrated on, as `known_videos.json` in its folder lists them.

The file contains hashes only and is published with the model, unlike the records of training and calibration, which
contain names of videos. Earlier versions stored the same lists in those records.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..common.errors import UsageError
from ..common.json_files import as_list, as_object, read_json
from ..common.text import one_line
from ..hub.model_files import KNOWN_VIDEOS_NAME
from .samples import Sample


TRAINING_NAME, CALIBRATION_NAME = "training.json", "calibration.json"
# In this order: a video that is in two parts is counted in the first.
PARTS = ("training", "validation", "calibration")
# Bytes that are kept of each SHA-256: between a million videos and a million seen ones, the chance that any two agree
# is 1 in 280.
_KEPT = 6
# Data sets whose keys name the same video in every copy; in a private folder `real/1.mp4` can be any video.
_PUBLISHED = {"FaceForensics++", "DFD", "Celeb-DF-v2", "Celeb-DF++", "DFDC", "DFDC-preview"}


class KnownVideosError(UsageError):
    """The list of the videos that a checkpoint knows is damaged; the message names the file."""


class NamedVideo(Protocol):
    """A sample, or the score of one."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def key(self) -> str:
        """Name of the video in the data set."""


def list_videos(videos: Iterable[tuple[NamedVideo, str | None]]) -> dict[str, Any]:
    """
    Make a compact list of videos for a record, by name and by content.

    Args:
        videos: Samples or scores, each with the SHA-256 of its files in hexadecimal if it is known.

    Returns:
        The number of videos (`count`) and, of each content (`contents`) and of each `dataset: key` that identifies a
        video (`keys`), the first 6 bytes of the SHA-256, sorted, joined and encoded in base64.
    """
    listed = list(videos)
    keys = {_hash_name(sample) for sample, sha256 in listed if sample.dataset in _PUBLISHED or not sha256}
    contents = {_short(bytes.fromhex(sha256)) for _, sha256 in listed if sha256}
    return {"count": len(listed), "keys": _join(keys), "contents": _join(contents)}


def merge_lists(lists: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge lists, such as those of earlier training runs; a video may be in several lists."""
    keys = set().union(*(_split(part.get("keys")) for part in lists))
    contents = set().union(*(_split(part.get("contents")) for part in lists))
    return {"count": max(len(keys), len(contents)), "keys": _join(keys), "contents": _join(contents)}


def write_lists(folder: Path, lists: Mapping[str, dict[str, Any]]) -> None:
    """
    Write the lists of a checkpoint into its folder.

    Args:
        folder: Folder of the checkpoint.
        lists: List of each part, see [`list_videos`].
    """
    text = json.dumps({"videos": lists}, indent=2) + "\n"
    (folder / KNOWN_VIDEOS_NAME).write_text(text, encoding="utf-8")


def read_lists(folder: Path | None) -> dict[str, dict[str, Any]]:
    """
    Read the lists of a checkpoint's folder by part.

    Args:
        folder: Folder of the checkpoint. Without a folder, or without lists in it, no video is known.

    Raises:
        KnownVideosError: If a file is damaged; otherwise an evaluation would hide that it uses videos of the training.
    """
    lists: dict[str, dict[str, Any]] = {}
    for file in [folder / name for name in (TRAINING_NAME, CALIBRATION_NAME, KNOWN_VIDEOS_NAME)] if folder else []:
        try:
            record = as_object(read_json(file), file.name)
            videos = as_object(record.get("videos", {}), "videos")
            lists |= {part: _check_list(videos[part], part) for part in PARTS if part in videos}
            # Older records list only the names of the validation videos.
            names = as_list(record.get("validation_videos", []), "validation_videos")
            if not all(isinstance(entry, str) for entry in names):
                raise ValueError("a name is not a string")
            if "validation" not in lists and names:
                hashed = {_short(hashlib.sha256(entry.encode("utf-8", "surrogateescape")).digest()) for entry in names}
                lists["validation"] = {"count": len(names), "keys": _join(hashed), "contents": ""}
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise KnownVideosError(
                f"{file}: the videos that the model knows cannot be read ({one_line(error).rstrip('.')}); get the "
                "model again, or remove the file to do without them."
            ) from error
    return lists


def _check_list(videos: Any, part: str) -> dict[str, Any]:
    for name in ("keys", "contents"):
        _split(as_object(videos, part).get(name))
    return dict(videos)


@dataclass(frozen=True)
class KnownVideos:
    """
    Videos that one or several checkpoints have seen.

    Args:
        folders: Folders of the checkpoints.

    Raises:
        KnownVideosError: If the list of a checkpoint is damaged.
    """

    folders: Sequence[Path | None]
    _keys: dict[str, set[bytes]] = field(default_factory=dict, init=False)
    _contents: dict[str, set[bytes]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for folder in self.folders:
            for part, videos in read_lists(folder).items():
                self._keys.setdefault(part, set()).update(_split(videos.get("keys")))
                self._contents.setdefault(part, set()).update(_split(videos.get("contents")))

    def seen(self, sample: Sample, sha256: str | None) -> str | None:
        """
        Return the part in which a checkpoint has seen a video; `None` if it has not.

        Args:
            sample: The video.
            sha256: SHA-256 of its content, if it could be read.
        """
        key = _hash_name(sample)
        content = _short(bytes.fromhex(sha256)) if sha256 else None
        for part in PARTS:
            contents = self._contents.get(part, set())
            if content in contents:
                return part
            # If contents are listed, a name alone counts only if it identifies the video.
            if key in self._keys.get(part, set()) and (sample.dataset in _PUBLISHED or not contents):
                return part
        return None


def _hash_name(sample: NamedVideo) -> bytes:
    return _short(hashlib.sha256(f"{sample.dataset}: {sample.key}".encode("utf-8", "surrogateescape")).digest())


def _short(digest: bytes) -> bytes:
    return digest[:_KEPT]


def _join(digests: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(digests))).decode("ascii")


def _split(text: Any) -> set[bytes]:
    if not isinstance(text, str | None):
        raise ValueError(f"hashes must be a string, got {type(text).__name__}")
    content = base64.b64decode(text or "", validate=True)
    if len(content) % _KEPT:
        raise ValueError(f"the length of the hashes is not a multiple of {_KEPT} bytes")
    return {content[start : start + _KEPT] for start in range(0, len(content), _KEPT)}
