# SPDX-License-Identifier: Apache-2.0
"""Labelled videos, with the information that tables, splits and calibration need."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UsageError
from ..common.files import walk_folder
from ..common.json_files import read_json
from ..common.text import quoted


IMAGE_EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
SPLITS = ("train", "val", "test")
# What data sets and tables call them, in lower case.
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validate", "validation"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in _SPLIT_NAMES.items() for name in names}
# Data sets whose people are those of another data set, under the same names.
_PEOPLE_OF = {
    **dict.fromkeys(("FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FaceShifter"), "FaceForensics++"),
    "DeepFakeDetection": "DFD",
    "DFDCP": "DFDC-preview",
    **dict.fromkeys(("Celeb-DF-v1", "Celeb-DF++"), "Celeb-DF-v2"),
}


class EvaluationError(UsageError):
    """The evaluation cannot be done as asked; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """
    One labelled video: a video file, or images of faces.

    Attributes:
        key: Unique name within the data set; the same clip manipulated by four methods has four keys.
        path: Video file, or the folder or file of the face images.
        is_fake: Label.
        dataset: Name of the data set, such as "FaceForensics++".
        method: Manipulation method; `None` for a real video.
        compression: Compression such as "c23", if the layout has it.
        split: "train", "val" or "test", if the layout has it.
        identities: People (or source videos) that appear in the video or whose face was used in it; the target person
            comes first.
        original: Real video that a fake was made from: its file name without extension.
        images: Face images in order, for data sets of images; empty for a video file.
        may_be_photo: Whether the file may be a photo, in which faces are searched.
    """

    key: str
    path: Path
    is_fake: bool
    dataset: str
    method: str | None = None
    compression: str | None = None
    split: str | None = None
    identities: tuple[str, ...] = ()
    original: str | None = None
    images: tuple[Path, ...] = ()
    may_be_photo: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read: the face images, or the video file."""
        return self.images or (self.path,)

    @property
    def label(self) -> str:
        """ "real" or "fake"."""
        return "fake" if self.is_fake else "real"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """
    A data set on disk.

    Attributes:
        layout: Name of its layout.
        root: Its folder or file.
        samples: Labelled videos, including those whose file is missing.
        missing: Keys of samples that the data set lists but whose file is missing.
        notes: Caveats about the data set.
        has_splits: True if the publishers of the data set define the splits.
        derived_name: Name of the data set that samples have only from the folder or file; `None` if it names them.
        names_people: False if the identities are source videos, several of which may show one person.
    """

    layout: str
    root: Path
    samples: list[Sample]
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_splits: bool = False
    derived_name: str | None = None
    names_people: bool = True

    @property
    def present(self) -> list[Sample]:
        """Samples whose file exists."""
        missing = set(self.missing)
        return [sample for sample in self.samples if sample.key not in missing]

    def __post_init__(self) -> None:
        keys = [sample.key for sample in self.samples]
        if len(set(keys)) != len(keys):
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise EvaluationError(f"{self.root}: {twice} is listed twice; remove one of the entries.")

    def select(self, split: str | None) -> "Benchmark":
        """
        Select the samples of a split.

        Args:
            split: One of `SPLITS`, or "all"; `None` selects the test split if the data set has one, else everything.

        Raises:
            EvaluationError: If the data set has no such split.
        """
        split = split or ("test" if self.has_splits else "all")
        if split == "all":
            return self
        chosen = [sample for sample in self.samples if sample.split == split]
        if not chosen:
            known = sorted({sample.split for sample in self.samples if sample.split}) or ["none"]
            raise EvaluationError(
                f"{self.root}: no video belongs to the split {split!r} (available: {', '.join(known)}); put the "
                "official split files next to the data, or choose --split all."
            )
        keys = {sample.key for sample in chosen}
        return replace(self, samples=chosen, missing=[key for key in self.missing if key in keys])


def read_json_list(file: Path) -> Any:
    """
    Read a list of videos in JSON.

    Args:
        file: The file.

    Raises:
        EvaluationError: If it cannot be read.
    """
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{file}: cannot be read as JSON; download it again.") from error


def limit_classes(samples: Sequence[Sample], limit: int, *, seed: int) -> list[Sample]:
    """
    Draw at most `limit` samples of each class; a larger limit adds to what a smaller one draws.

    Args:
        samples: Samples of one data set.
        limit: Maximum number of samples per class.
        seed: Seed of the draw.

    Returns:
        The drawn samples in their original order.
    """
    kept: set[int] = set()
    for is_fake in (False, True):
        positions = [position for position, sample in enumerate(samples) if sample.is_fake == is_fake]
        order = np.random.default_rng([seed, is_fake]).permutation(len(positions))
        kept.update(positions[number] for number in order[:limit])
    return [sample for position, sample in enumerate(samples) if position in kept]


def name_split(splits: Iterable[str | None]) -> str:
    """Name the part of a data set to which videos of these splits belong: their split if it is one, else "all"."""
    found = set(splits)
    return (found.pop() if len(found) == 1 else None) or "all"


def parse_split(name: str) -> str | None:
    """The split that a name such as "validation" stands for; `None` if it is not the name of one."""
    return _SPLIT_OF.get(name.lower())


def natural_key(path: Path) -> list[str | int]:
    """Sort key that puts `frame_2` before `frame_10`: text and numbers alternate."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", str(path)))]


def find_files(folder: Path) -> list[Path]:
    """
    Find the files of a folder and its subfolders in the order of their paths; see [`walk_folder`] for links.

    Raises:
        EvaluationError: If a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise EvaluationError(f"{error.filename}: the folder cannot be read ({error.strerror or error}).") from error

    return sorted(Path(parent, name) for parent, names in walk_folder(folder, refuse) for name in names)


def relative_key(path: Path, root: Path) -> str:
    """Path relative to the root, with forward slashes on every system."""
    return path.relative_to(root).as_posix()


def listed_path(file: Path, name: str) -> Path:
    """
    Path of a file that a list names relative to its own folder.

    Raises:
        EvaluationError: If the name leads out of this folder.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise EvaluationError(f"{file}: {quoted(name)} is not a file in the folder of this list; correct the name.")
    return file.parent / name


def skipped_note(paths: Sequence[Path]) -> list[str]:
    """Return a note that counts skipped files; none if there is no such file."""
    if not paths:
        return []
    plural = "s" if len(paths) > 1 else ""
    return [f"skipped {len(paths)} file{plural} without a video or image, such as {paths[0].name}"]


def source_of_people(dataset: str) -> str:
    """
    Return the data set that the people of a data set come from, which is another one if it is a selection, a list of
    DeepfakeBench or an extension of that.

    Example:
        >>> source_of_people("FF-DF"), source_of_people("videos")
        ('FaceForensics++', 'videos')
    """
    return _PEOPLE_OF.get(dataset, dataset)


def person_name(dataset: str, identity: str) -> str:
    """Return the name of a person that is the same in all data sets of one source."""
    return f"{source_of_people(dataset)}: {identity}"


def people_in_common(first: Iterable[Sample], second: Iterable[Sample]) -> list[str]:
    """List identities that occur in both groups, sorted."""
    return sorted(_people(first) & _people(second))


def _people(samples: Iterable[Sample]) -> set[str]:
    return {person_name(sample.dataset, identity) for sample in samples for identity in sample.identities}


def identity_groups(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Group samples that share an identity, directly or through others; groups are in the order of the samples."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    names = [[person_name(s.dataset, identity) for identity in s.identities] or [s.key] for s in samples]
    for group in names:
        for name in group[1:]:
            leader[find(name)] = find(group[0])
    groups: dict[str, list[Sample]] = {}
    for sample, group in zip(samples, names, strict=True):
        groups.setdefault(find(group[0]), []).append(sample)
    return list(groups.values())
