# SPDX-License-Identifier: Apache-2.0
"""
Videos that a checkpoint was trained, validated or calibrated on, as `known_videos.json` in its folder lists them.

The file contains hashes only and is published with the model, unlike the records of training and calibration, which
contain names of videos.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from ..common.errors import UsageError
from ..common.json_files import as_dataclass, as_object, read_json
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


@dataclass(frozen=True)
class VideoList:
    """
    A compact list of videos.

    Attributes:
        count: Number of videos.
        keys: First 6 bytes of the SHA-256 of each `dataset: key` that identifies a video.
        contents: First 6 bytes of the SHA-256 of each content.
    """

    count: int
    keys: frozenset[bytes]
    contents: frozenset[bytes]


@dataclass(frozen=True)
class _StoredList:
    """A [`VideoList`] in JSON: its hashes are sorted, joined and encoded in base64."""

    count: int
    keys: str
    contents: str


def list_videos(videos: Iterable[tuple[NamedVideo, str | None]]) -> VideoList:
    """
    Make a compact list of videos, by name and by content.

    Args:
        videos: Samples or scores, each with the SHA-256 of its files in hexadecimal if it is known.
    """
    listed = list(videos)
    return VideoList(
        count=len(listed),
        keys=frozenset(_hash_name(sample) for sample, sha256 in listed if sample.dataset in _PUBLISHED or not sha256),
        contents=frozenset(_short(bytes.fromhex(sha256)) for _, sha256 in listed if sha256),
    )


def merge_lists(lists: Sequence[VideoList]) -> VideoList:
    """Merge lists, such as those of earlier training runs; a video may be in several lists."""
    keys = frozenset[bytes]().union(*(part.keys for part in lists))
    contents = frozenset[bytes]().union(*(part.contents for part in lists))
    return VideoList(max(len(keys), len(contents)), keys, contents)


def write_lists(folder: Path, lists: Mapping[str, VideoList]) -> None:
    """
    Write the lists of a checkpoint into its folder.

    Args:
        folder: Folder of the checkpoint.
        lists: List of each part, see [`list_videos`].
    """
    stored = {
        part: asdict(_StoredList(videos.count, _join(videos.keys), _join(videos.contents)))
        for part, videos in lists.items()
    }
    (folder / KNOWN_VIDEOS_NAME).write_text(json.dumps({"videos": stored}, indent=2) + "\n", encoding="utf-8")


def read_lists(folder: Path | None) -> dict[str, VideoList]:
    """
    Read the lists of a checkpoint's folder by part.

    Args:
        folder: Folder of the checkpoint. Without a folder, or without lists in it, no video is known.

    Raises:
        KnownVideosError: If the file is damaged; otherwise an evaluation would hide that it uses videos of the
            training.
    """
    if folder is None:
        return {}
    file = folder / KNOWN_VIDEOS_NAME
    try:
        videos = as_object(as_object(read_json(file), file.name).get("videos"), "videos")
        stored = {part: as_dataclass(videos[part], _StoredList) for part in PARTS if part in videos}
        return {
            part: VideoList(found.count, _split(found.keys), _split(found.contents)) for part, found in stored.items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise KnownVideosError(
            f"{file}: the videos that the model knows cannot be read ({one_line(error).rstrip('.')}); get the "
            "model again, or remove the file to do without them."
        ) from error


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
                self._keys.setdefault(part, set()).update(videos.keys)
                self._contents.setdefault(part, set()).update(videos.contents)

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


def _split(text: str) -> frozenset[bytes]:
    content = base64.b64decode(text, validate=True)
    if len(content) % _KEPT:
        raise ValueError(f"the length of the hashes is not a multiple of {_KEPT} bytes")
    return frozenset(content[start : start + _KEPT] for start in range(0, len(content), _KEPT))
