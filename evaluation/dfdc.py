# SPDX-License-Identifier: Apache-2.0
"""The Deepfake Detection Challenge: training parts, test sets, and the preview.

Training: `dfdc_train_part_N/metadata.json`, {file: {label: FAKE|REAL, split, original}}. Test: `labels.csv`,
`filename,label` with 1 for fake, in the folder of the videos or in its parent, or `metadata.json`, {file: {is_fake}}.
Of the people nothing is known: 486 of them are in 19,154 real videos (Dolhansky et al., 2020), so the identities are
source videos. Preview: `dataset.json`, {path: {label, set, target_id, swapped_id}}.
"""

from itertools import takewhile
from pathlib import Path
from typing import Any

from ..scanning.listing import InputError, parse_label, read_table
from .samples import Benchmark, EvaluationError, Sample, listed_path, parse_split, read_json_list, relative_key


DFDC, PREVIEW = "DFDC", "DFDC-preview"


def is_dfdc(root: Path) -> bool:
    """Return whether the folder has training parts or a labelled test set."""
    return root.is_dir() and bool(_metadata_files(root) or _label_files(root))


def is_dfdc_preview(root: Path) -> bool:
    """Return whether the folder has the layout of the preview."""
    return (root / "dataset.json").is_file()


def read_dfdc(root: Path) -> Benchmark:
    """
    Read the training parts and test sets of DFDC.

    Args:
        root: Folder of the data set.

    Raises:
        EvaluationError: If a list is damaged or has no video.
    """
    samples = [sample for file in _label_files(root) for sample in _read_labels(file, root)]
    labelled = {sample.path for sample in samples}
    described = [sample for file in _metadata_files(root) for sample in _read_metadata(file, root)]
    samples += [sample for sample in described if sample.path not in labelled]
    if not samples:
        raise EvaluationError(f"{root}: there is no video in metadata.json and labels.csv.")
    return _benchmark("dfdc", root, samples)


def read_dfdc_preview(root: Path) -> Benchmark:
    """
    Read the preview of DFDC.

    Args:
        root: Folder of the data set.

    Raises:
        EvaluationError: If `dataset.json` is damaged or has no video.
    """
    file = root / "dataset.json"
    samples = []
    for name, entry in _read_entries(file).items():
        is_fake = _label(file, name, entry)
        people = [str(entry[key]) for key in ("target_id", "swapped_id") if entry.get(key) is not None]
        samples.append(
            Sample(
                key=name,
                path=listed_path(file, name),
                is_fake=is_fake,
                dataset=PREVIEW,
                method=Path(name).parts[0] if is_fake else None,
                split=parse_split(str(entry.get("set", ""))),
                identities=tuple(people),
            )
        )
    if not samples:
        raise EvaluationError(f"{file}: there is no video in this list.")
    return _benchmark("dfdc-preview", root, samples)


def read_preview_name(name: str) -> tuple[tuple[str, ...], None]:
    """
    Read the people of a video of the preview, the target first; which video a fake was made from is not known.

    Args:
        name: Name without extension, such as `1224068_C_001`, or `1224068_1055023_A_000` for a fake.

    Example:
        >>> read_preview_name("1224068_1055023_A_000")
        (('1224068', '1055023'), None)
    """
    return tuple(takewhile(str.isdigit, name.split("_"))), None


def _benchmark(layout: str, root: Path, samples: list[Sample]) -> Benchmark:
    return Benchmark(
        layout=layout,
        root=root,
        samples=sorted(samples, key=lambda sample: sample.key),
        missing=sorted(sample.key for sample in samples if not sample.path.is_file()),
        has_splits=any(sample.split == "test" for sample in samples),
        names_people=layout != "dfdc",
    )


def _metadata_files(root: Path) -> list[Path]:
    return [file for file in (root / "metadata.json", *sorted(root.glob("*/metadata.json"))) if file.is_file()]


def _label_files(root: Path) -> list[Path]:
    return [file for file in (root / "labels.csv", *sorted(root.glob("*/labels.csv"))) if file.is_file()]


def _read_metadata(file: Path, root: Path) -> list[Sample]:
    samples = []
    for name, entry in _read_entries(file).items():
        original = entry.get("original")
        if not isinstance(original, str | None):
            raise EvaluationError(f"{file}: the original of {name} is not a file name; download it again.")
        path = listed_path(file, name)
        samples.append(
            Sample(
                key=relative_key(path, root),
                path=path,
                is_fake=_label(file, name, entry),
                dataset=DFDC,
                split=parse_split(str(entry.get("split", "test" if "is_fake" in entry else "train"))),
                identities=(Path(original or name).stem,),
                original=None if original is None else Path(original).stem,
            )
        )
    return samples


def _read_labels(file: Path, root: Path) -> list[Sample]:
    samples = []
    try:
        table = read_table(file, required=("path", "label"))
        labels = [(_find_beside(file, row.cells["path"]), table.is_fake(row)) for row in table.rows]
    except InputError as error:
        raise EvaluationError(str(error)) from error
    for path, is_fake in labels:
        samples.append(
            Sample(
                key=relative_key(path, root),
                path=path,
                is_fake=is_fake,
                dataset=DFDC,
                split="test",
                identities=(path.stem,),
            )
        )
    return samples


def _find_beside(file: Path, name: str) -> Path:
    """Path of the video beside the list or in a folder beside it; if it is missing, where it should be."""
    expected = listed_path(file, name)
    places = [file.parent, file.parent / "test", file.parent / "videos"]
    return next((place / name for place in places if (place / name).is_file()), expected)


def _read_entries(file: Path) -> dict[str, dict[str, Any]]:
    content = read_json_list(file)
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise EvaluationError(f"{file}: not a list of videos with labels; download it again.")
    return content


def _label(file: Path, name: str, entry: dict[str, Any]) -> bool:
    label = entry.get("label", entry.get("is_fake"))
    is_fake = parse_label(str(label))
    if is_fake is None:
        raise EvaluationError(f"{file}: {name} has the label {label!r}, expected FAKE or REAL.")
    return is_fake
