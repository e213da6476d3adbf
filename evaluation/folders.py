# SPDX-License-Identifier: Apache-2.0
"""Data sets of one's own: a folder with `real/` and `fake/`, or a CSV file `path,label[,group]`."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ..scanning.inputs import VIDEO_EXTENSIONS
from .samples import IMAGE_EXTENSIONS, SPLITS, Benchmark, EvaluationError, Sample, natural_key, relative_key


_LABELS = {"real": False, "fake": True, "0": False, "1": True}
# What a column may be called, by what it means.
_COLUMNS = {
    "path": "path",
    "file": "path",
    "filename": "path",
    "video": "path",
    "label": "label",
    "group": "group",
    "identity": "group",
    "dataset": "dataset",
    "method": "method",
    "compression": "compression",
    "split": "split",
}
_WITHOUT_HEADER = ["path", "label", "group"]


def is_labelled_folder(root: Path) -> bool:
    """Whether the folder holds `real/`, `fake/` or both."""
    return any((root / label).is_dir() for label in ("real", "fake"))


def read_labelled_folder(root: Path) -> Benchmark:
    """
    Read `real/` and `fake/`: videos, or face images.

    A folder below `fake/` is a method. A folder that holds images is one video, its images the frames in the order
    of their numbers; an image that lies in `real/` or `fake/` itself is a video of one frame.

    Raises:
        EvaluationError: If there is nothing in them.
    """
    samples = [
        sample
        for label in ("real", "fake")
        if (root / label).is_dir()
        for sample in _find(root / label, root, is_fake=label == "fake")
    ]
    if not samples:
        raise EvaluationError(f"{root}: real/ and fake/ hold neither videos nor images.")
    return Benchmark(layout="folder", root=root, samples=samples)


def _find(folder: Path, root: Path, *, is_fake: bool) -> Iterator[Sample]:
    images: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        extension = path.suffix.lower()
        if extension in VIDEO_EXTENSIONS:
            yield _folder_sample(path, folder, root, is_fake=is_fake)
        elif extension in IMAGE_EXTENSIONS:
            images.setdefault(path if path.parent == folder else path.parent, []).append(path)
    for path, frames in images.items():
        frames = sorted(frames, key=natural_key)
        yield _folder_sample(path, folder, root, is_fake=is_fake, images=tuple(frames))


def _folder_sample(path: Path, folder: Path, root: Path, *, is_fake: bool, images: tuple[Path, ...] = ()) -> Sample:
    inner = path.relative_to(folder).parts
    return Sample(
        key=relative_key(path, root),
        path=path,
        is_fake=is_fake,
        dataset=root.resolve().name,
        method=inner[0] if is_fake and len(inner) > 1 else None,
        images=images,
    )


def is_csv(root: Path) -> bool:
    """Whether this is a CSV file."""
    return root.is_file() and root.suffix.lower() == ".csv"


def read_csv(root: Path) -> Benchmark:
    """
    Read a list of videos: `path,label` with an optional third column `group` that names the person or source video.

    The label is real or fake, or 0 or 1 with 1 for fake. The first line counts as a header only if it names the
    columns; it may then name `dataset`, `method`, `compression` and `split` as well. Paths start at the file's folder.

    Raises:
        EvaluationError: If a line is wrong.
    """
    try:
        with root.open(encoding="utf-8-sig", newline="") as stream:
            rows = [(number, row) for number, row in enumerate(csv.reader(stream), 1) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{root}: cannot be read as CSV in UTF-8.") from error
    if not rows:
        raise EvaluationError(f"{root}: lists no video.")
    names = [name.strip().lower() for name in rows[0][1]]
    columns = _WITHOUT_HEADER
    if {"path", "label"} <= {_COLUMNS.get(name, "") for name in names}:
        columns = [_COLUMNS.get(name, name) for name in names]
        rows = rows[1:]
    samples = [_csv_sample(root, number, dict(zip(columns, row, strict=False))) for number, row in rows]
    return Benchmark(
        layout="csv",
        root=root,
        samples=samples,
        missing=[sample.key for sample in samples if not sample.path.is_file()],
        has_splits=any(sample.split == "test" for sample in samples),
    )


def _csv_sample(root: Path, number: int, row: dict[str, str]) -> Sample:
    row = {name: value.strip() for name, value in row.items()}
    label, split = row.get("label", "").lower(), row.get("split") or None
    if not row["path"] or label not in _LABELS:
        raise EvaluationError(f"{root}, line {number}: want `path,label`, real or fake (0 or 1), got {label!r}.")
    if split is not None and split not in SPLITS[:3]:
        raise EvaluationError(f"{root}, line {number}: the split must be train, val or test, got {split!r}.")
    path = root.parent / row["path"]
    return Sample(
        key=row["path"],
        path=path,
        is_fake=_LABELS[label],
        dataset=row.get("dataset") or root.stem,
        method=row.get("method") or None,
        compression=row.get("compression") or None,
        split=split,
        identities=(row["group"],) if row.get("group") else (),
        images=(path,) if path.suffix.lower() in IMAGE_EXTENSIONS else (),
    )
