# SPDX-License-Identifier: Apache-2.0
"""Private data sets: a folder with `real/` and `fake/`, or a table with the columns `path,label[,group]`."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..scanning.inputs import VIDEO_EXTENSIONS
from ..scanning.listing import TABLE_EXTENSIONS, InputError, Row, Table, find_on_disk, is_clutter, read_table
from ..scanning.photo_formats import PHOTO_EXTENSIONS
from .samples import (
    IMAGE_EXTENSIONS,
    Benchmark,
    EvaluationError,
    Sample,
    find_files,
    natural_key,
    parse_split,
    relative_key,
    skipped_note,
)


_PICTURE_EXTENSIONS = IMAGE_EXTENSIONS | PHOTO_EXTENSIONS
# Excel saves the table format "Unicode text" with the extension .txt.
_EXTENSIONS = TABLE_EXTENSIONS | {".txt"}


def is_labelled_folder(root: Path) -> bool:
    """Return whether the folder has `real/`, `fake/` or both."""
    return any((root / label).is_dir() for label in ("real", "fake"))


def read_labelled_folder(root: Path, *, photos: bool = False) -> Benchmark:
    """
    Read the videos or face images in `real/` and `fake/`.

    A folder in `fake/` is a method. A folder of images is one video, and its images are the frames in the order of
    their numbers; an image in `real/` or `fake/` itself is a video of one frame.

    Args:
        root: Folder with `real/`, `fake/` or both.
        photos: Whether each picture is a photo of its own, in which faces are searched.

    Raises:
        EvaluationError: If there is no video or image.
    """
    skipped: list[Path] = []
    samples = [
        sample
        for label in ("real", "fake")
        if (root / label).is_dir()
        for sample in _find(root / label, root, skipped, is_fake=label == "fake", photos=photos)
    ]
    if not samples:
        raise EvaluationError(f"{root}: there is no video or image in real/ and fake/.")
    notes = [*skipped_note(skipped), *_faces_note(samples)]
    return Benchmark(
        layout=_layout("folder", photos), root=root, samples=samples, notes=notes, derived_name=root.resolve().name
    )


def _find(folder: Path, root: Path, skipped: list[Path], *, is_fake: bool, photos: bool) -> Iterator[Sample]:
    images: dict[Path, list[Path]] = {}
    for path in find_files(folder):
        extension = path.suffix.lower()
        if is_clutter(path.relative_to(folder)):
            skipped.append(path)
        elif extension in VIDEO_EXTENSIONS or (photos and extension in _PICTURE_EXTENSIONS):
            yield replace(_folder_sample(path, folder, root, is_fake=is_fake), may_be_photo=photos)
        elif extension in IMAGE_EXTENSIONS:
            images.setdefault(path if path.parent == folder else path.parent, []).append(path)
        else:
            skipped.append(path)
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


def _layout(name: str, photos: bool) -> str:
    """The layout as it is shown and compared: photos and cropped faces have different scores."""
    return f"{name}, photos" if photos else name


def _faces_note(samples: list[Sample]) -> list[str]:
    """A note on single pictures, which are photos as often as cropped faces."""
    count = sum(sample.images == (sample.path,) for sample in samples)
    if not count:
        return []
    taken = "1 picture is taken as a cropped face" if count == 1 else f"{count} pictures are taken as cropped faces"
    return [f"{taken}; --photos searches for the faces in photos"]


def is_csv(root: Path) -> bool:
    """Return whether the extension is that of a table."""
    return root.is_file() and root.suffix.lower() in _EXTENSIONS


def read_csv(root: Path, *, photos: bool = False) -> Benchmark:
    """
    Read a table of videos with path, label, and an optional group: the person or source video.

    The label is real or fake, or 0 or 1 with 1 for fake. A header may name the columns, and then also `dataset`,
    `method`, `compression` and `split`; see [`read_table`] for names and separators. Paths are relative to the folder
    of the file.

    Args:
        root: The file.
        photos: Whether faces are searched in pictures, which are taken as cropped faces otherwise.

    Raises:
        EvaluationError: If a line is invalid.
    """
    try:
        table = read_table(root, required=("path", "label"))
        rows = [row for row in table.rows if not is_clutter(row.cells["path"])]
        samples = [_csv_sample(root, table, row, photos) for row in rows]
    except InputError as error:
        raise EvaluationError(str(error)) from error
    if not samples:
        raise EvaluationError(f"{root}: there is no video in this list.")
    _refuse_repeated(root, rows, samples)
    clutter = [Path(row.cells["path"]) for row in table.rows if is_clutter(row.cells["path"])]
    return Benchmark(
        layout=_layout("csv", photos),
        root=root,
        samples=samples,
        missing=[sample.key for sample in samples if not sample.path.is_file()],
        notes=[*skipped_note(clutter), *_faces_note(samples)],
        has_splits=any(sample.split == "test" for sample in samples),
        derived_name=None if any(row.cells.get("dataset") == root.stem for row in rows) else root.stem,
    )


def _refuse_repeated(root: Path, rows: list[Row], samples: list[Sample]) -> None:
    """A file that is listed twice would count twice, possibly with two labels."""
    lines: dict[str, int] = {}
    for row, sample in zip(rows, samples, strict=True):
        file = os.path.realpath(sample.path)
        if file in lines:
            pair = f"lines {lines[file]} and {row.line}"
            raise EvaluationError(f"{root}: {pair} are the same file ({row.cells['path']}); remove one of them.")
        lines[file] = row.line


def _csv_sample(root: Path, table: Table, row: Row, photos: bool) -> Sample:
    cells = {role: text or None for role, text in row.cells.items()}
    split = parse_split(cells.get("split") or "")
    if cells.get("split") and split is None:
        raise EvaluationError(
            f"{root}, line {row.line}: the split must be train, val or test, got {cells['split']!r}."
        )
    path = Path(find_on_disk(root.parent / row.cells["path"]))
    group, is_fake = cells.get("group"), table.is_fake(row)
    return Sample(
        key=row.cells["path"],
        path=path,
        is_fake=is_fake,
        dataset=cells.get("dataset") or root.stem,
        method=cells.get("method") if is_fake else None,
        compression=cells.get("compression"),
        split=split,
        identities=(group,) if group else (),
        images=(path,) if path.suffix.lower() in IMAGE_EXTENSIONS and not photos else (),
        may_be_photo=photos,
    )
