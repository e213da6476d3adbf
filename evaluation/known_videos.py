# SPDX-License-Identifier: Apache-2.0
"""
Videos that a checkpoint was trained, validated or calibrated on, and the people in them, as `known_videos.json` in its
folder lists them.

The file contains hashes only and is published with the model, unlike the records of training and calibration, which
contain names of videos. It lists people of published data sets only: there a name stands for the same person in every
compression, copy and layout, and its hash discloses nothing. A name in a private list may be that of any person, and
could be guessed from its hash.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from ..common.errors import UsageError
from ..common.json_files import as_dataclass, as_object, read_json
from ..common.text import one_line
from ..hub.model_files import KNOWN_VIDEOS_NAME
from .samples import person_name, source_of_people


TRAINING_NAME, CALIBRATION_NAME = "training.json", "calibration.json"
# In this order: a video that is in two parts is counted in the first.
PARTS = ("training", "validation", "calibration")
# Bytes that are kept of each SHA-256: between a million videos and a million seen ones, the chance that any two agree
# is 1 in 280.
_KEPT = 6
# Data sets whose keys name the same video in every copy; in a private folder `real/1.mp4` can be any video.
_PUBLISHED = {"FaceForensics++", "DFD", "Celeb-DF-v1", "Celeb-DF-v2", "Celeb-DF++", "DFDC", "DFDC-preview"}


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

    @property
    def identities(self) -> tuple[str, ...]:
        """Names of the people in the data set."""


_Video = TypeVar("_Video", bound=NamedVideo)


@dataclass(frozen=True)
class VideoList:
    """
    A compact list of videos.

    Attributes:
        count: Number of videos.
        keys: First 6 bytes of the SHA-256 of each `dataset: key` that identifies a video.
        contents: First 6 bytes of the SHA-256 of each content.
        people: First 6 bytes of the SHA-256 of the name of each person of a published data set.
    """

    count: int
    keys: frozenset[bytes]
    contents: frozenset[bytes]
    people: frozenset[bytes]


# Fields of a list that hold hashes.
_HASHES = ("keys", "contents", "people")


@dataclass(frozen=True)
class _StoredList:
    """A [`VideoList`] in JSON: its hashes are sorted, joined and encoded in base64."""

    count: int
    keys: str
    contents: str
    people: str


def list_videos(videos: Iterable[tuple[NamedVideo, str | None]]) -> VideoList:
    """
    Make a compact list of videos, by name, by content and by the people in them.

    Args:
        videos: Samples or scores, each with the SHA-256 of its files in hexadecimal if it is known.
    """
    listed = list(videos)
    return VideoList(
        count=len(listed),
        keys=frozenset(_hash_key(video) for video, sha256 in listed if video.dataset in _PUBLISHED or not sha256),
        contents=frozenset(_short(bytes.fromhex(sha256)) for _, sha256 in listed if sha256),
        people=frozenset(person for video, _ in listed for person in _hash_people(video)),
    )


def merge_lists(lists: Sequence[VideoList]) -> VideoList:
    """Merge lists, such as those of earlier training runs; a video may be in several lists."""
    keys = frozenset[bytes]().union(*(part.keys for part in lists))
    contents = frozenset[bytes]().union(*(part.contents for part in lists))
    people = frozenset[bytes]().union(*(part.people for part in lists))
    return VideoList(
        count=max(len(keys), len(contents)),
        keys=keys,
        contents=contents,
        people=people,
    )


def write_lists(folder: Path, lists: Mapping[str, VideoList]) -> None:
    """
    Write the lists of a checkpoint into its folder.

    Args:
        folder: Folder of the checkpoint.
        lists: List of each part, see [`list_videos`].
    """
    stored = {
        part: asdict(videos) | {name: _join(getattr(videos, name)) for name in _HASHES}
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
            part: VideoList(**asdict(found) | {name: _split(getattr(found, name)) for name in _HASHES})
            for part, found in stored.items()
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
    Videos, and people in them, that one or several checkpoints have seen.

    Args:
        folders: Folders of the checkpoints.

    Raises:
        KnownVideosError: If the list of a checkpoint is damaged.
    """

    folders: Sequence[Path | None]
    _lists: list[tuple[str, VideoList]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        found = [entry for folder in self.folders for entry in read_lists(folder).items()]
        # The order of `PARTS` decides about a video that several lists contain.
        self._lists.extend(sorted(found, key=lambda entry: PARTS.index(entry[0])))

    def seen(self, video: NamedVideo, sha256: str | None) -> str | None:
        """
        Return the part in which a checkpoint has seen a video or, in a published data set, a person in it.

        Args:
            video: The video.
            sha256: SHA-256 of its content, if it could be read.

        Returns:
            One of `PARTS`; `None` if it has seen neither.
        """
        key, people = _hash_key(video), _hash_people(video)
        content = _short(bytes.fromhex(sha256)) if sha256 else None
        for part, videos in self._lists:
            # If contents are listed, a name alone counts only if it identifies the video.
            is_named = key in videos.keys and (video.dataset in _PUBLISHED or not videos.contents)
            if is_named or content in videos.contents or not people.isdisjoint(videos.people):
                return part
        return None


def divide_by_people(videos: Iterable[_Video], seen: Iterable[NamedVideo]) -> tuple[list[_Video], list[_Video]]:
    """
    Divide videos by whether they show a person who has been seen; without identities, a video is a person of its own.

    Args:
        videos: Samples or scores.
        seen: Those whose people have been seen.

    Returns:
        The videos with a person who has been seen, and the others.
    """
    people = {name for video in seen for name in _people_in(video)}
    parts: tuple[list[_Video], list[_Video]] = ([], [])
    for video in videos:
        parts[people.isdisjoint(_people_in(video))].append(video)
    return parts


def _people_in(video: NamedVideo) -> list[str]:
    return [person_name(video.dataset, name) for name in video.identities or (video.key,)]


def _hash_key(video: NamedVideo) -> bytes:
    return _hash(f"{video.dataset}: {video.key}")


def _hash_people(video: NamedVideo) -> set[bytes]:
    """Hashes of the people in a video of a published data set; none for other videos."""
    if source_of_people(video.dataset) not in _PUBLISHED:
        return set()
    return {_hash(person_name(video.dataset, identity)) for identity in video.identities}


def _hash(name: str) -> bytes:
    return _short(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())


def _short(digest: bytes) -> bytes:
    return digest[:_KEPT]


def _join(digests: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(digests))).decode("ascii")


def _split(text: str) -> frozenset[bytes]:
    content = base64.b64decode(text, validate=True)
    if len(content) % _KEPT:
        raise ValueError(f"the length of the hashes is not a multiple of {_KEPT} bytes")
    return frozenset(content[start : start + _KEPT] for start in range(0, len(content), _KEPT))
