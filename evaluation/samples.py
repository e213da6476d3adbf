# SPDX-License-Identifier: Apache-2.0
"""What is evaluated: labelled videos, each with what a table, a split or a calibration must know about it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path


IMAGE_EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
SPLITS = ("train", "val", "test", "all")


class EvaluationError(ValueError):
    """An evaluation cannot be done as asked; the sentence says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """
    One labelled video, as a file or as the pictures of its faces.

    Attributes:
        key: Names the sample and nothing else in the data set; a video of four methods has four keys.
        path: The video file, or the folder or file that the face images came from.
        is_fake: The label.
        dataset: Name of the data set, such as "FaceForensics++".
        method: How it was manipulated; `None` for a real video.
        compression: "c23" and the like, where the layout knows it.
        split: "train", "val" or "test", where the layout knows it.
        identities: Persons or source videos that are shown or were borrowed from; the target comes first.
        original: The real video it was made from.
        images: Face images in their order, for data sets of images; empty for a video file.
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

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read of it: the face images, or the video file."""
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
        layout: Name of the layout it was read as.
        root: Where it is.
        samples: Every labelled video, also those whose file is missing.
        missing: Keys of samples that the data set names but whose file is not there.
        notes: What a reader of the numbers should know.
        has_splits: Whether `split` of the samples comes from the publishers of the data set.
    """

    layout: str
    root: Path
    samples: list[Sample]
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_splits: bool = False

    @property
    def present(self) -> list[Sample]:
        """The samples whose file is there."""
        missing = set(self.missing)
        return [sample for sample in self.samples if sample.key not in missing]

    def __post_init__(self) -> None:
        keys = [sample.key for sample in self.samples]
        if len(set(keys)) != len(keys):
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise EvaluationError(f"{self.root}: {twice} is listed twice; leave one of them out.")

    def select(self, split: str | None) -> "Benchmark":
        """
        The part of a split.

        Args:
            split: One of `SPLITS`; `None` is the test split where there is one, else everything.

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
                f"{self.root}: no video belongs to the split {split!r} (known here: {', '.join(known)}); "
                "put the official split files beside the data, or choose --split all."
            )
        keys = {sample.key for sample in chosen}
        return replace(self, samples=chosen, missing=[key for key in self.missing if key in keys])


def natural_key(path: Path) -> list[str | int]:
    """Sorts `frame_2` before `frame_10`: text and numbers take turns."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", str(path)))]


def relative_key(path: Path, root: Path) -> str:
    """The path below the root, with forward slashes on every system."""
    return path.relative_to(root).as_posix()


def skipped_note(paths: Sequence[Path]) -> list[str]:
    """A note that counts files which are not samples; none where there is no such file."""
    if not paths:
        return []
    plural = "s" if len(paths) > 1 else ""
    return [f"skipped {len(paths)} file{plural} without a video or image, such as {paths[0].name}"]


def people_in_common(first: Iterable[Sample], second: Iterable[Sample]) -> list[str]:
    """Identities that stand in both groups, sorted."""
    return sorted(_people(first) & _people(second))


def _people(samples: Iterable[Sample]) -> set[str]:
    return {f"{sample.dataset}: {identity}" for sample in samples for identity in sample.identities}


def identity_groups(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples that share an identity, directly or over others, in one group; groups in the order of samples."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    names = [[f"{s.dataset}: {identity}" for identity in s.identities] or [s.key] for s in samples]
    for group in names:
        for name in group[1:]:
            leader[find(name)] = find(group[0])
    groups: dict[str, list[Sample]] = {}
    for sample, group in zip(samples, names, strict=True):
        groups.setdefault(find(group[0]), []).append(sample)
    return list(groups.values())
