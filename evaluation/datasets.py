# SPDX-License-Identifier: Apache-2.0
"""Detect the layout of a data set and read it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .celeb_df import is_celeb_df, read_celeb_df
from .deepfakebench import is_deepfakebench, read_deepfakebench
from .dfdc import is_dfdc, is_dfdc_preview, read_dfdc, read_dfdc_preview
from .faceforensics import is_faceforensics, read_faceforensics
from .folders import is_csv, is_labelled_folder, read_csv, read_labelled_folder
from .samples import Benchmark, EvaluationError


@dataclass(frozen=True)
class Layout:
    """
    The layout of a data set on disk.

    Attributes:
        recognise: Returns whether a path has this layout, without reading a video.
        read: Reads the data set at a path; raises `EvaluationError`.
        shape: Expected files, for messages.
    """

    recognise: Callable[[Path], bool]
    read: Callable[[Path], Benchmark]
    shape: str


# Layouts whose pictures can be photos; those of the others are cropped faces.
PHOTO_LAYOUTS = {"csv": read_csv, "folder": read_labelled_folder}
# The first that matches is used, so the more specific layouts come first.
LAYOUTS: dict[str, Layout] = {
    "csv": Layout(is_csv, read_csv, "a CSV file with the columns path,label[,group]"),
    "faceforensics": Layout(is_faceforensics, read_faceforensics, "original_sequences/, manipulated_sequences/"),
    "celeb-df": Layout(is_celeb_df, read_celeb_df, "Celeb-real/, YouTube-real/, Celeb-synthesis/"),
    "dfdc-preview": Layout(is_dfdc_preview, read_dfdc_preview, "dataset.json"),
    "dfdc": Layout(is_dfdc, read_dfdc, "dfdc_train_part_N/metadata.json or labels.csv"),
    "folder": Layout(is_labelled_folder, read_labelled_folder, "real/, fake/"),
    "deepfakebench": Layout(is_deepfakebench, read_deepfakebench, "a JSON file of DeepfakeBench"),
}


def open_benchmark(root: str | Path, layout: str | None = None, *, photos: bool = False) -> Benchmark:
    """
    Read a data set in its original layout.

    Args:
        root: Folder, or CSV or JSON file.
        layout: A name in `LAYOUTS`; detected if not given.
        photos: Whether pictures are photos, in which faces are searched, and not cropped faces.

    Raises:
        EvaluationError: If it does not exist, has an unknown layout, is damaged, or cannot contain photos.
    """
    root = Path(root)
    if not root.exists():
        raise EvaluationError(f"{root}: no such folder or file.")
    if layout is None:
        layout = next((name for name, known in LAYOUTS.items() if known.recognise(root)), None)
    if layout is None:
        shapes = "; ".join(f"{name}: {known.shape}" for name, known in LAYOUTS.items())
        raise EvaluationError(f"{root}: unrecognised dataset layout; expected one of: {shapes}.")
    if not photos:
        return LAYOUTS[layout].read(root)
    if layout not in PHOTO_LAYOUTS:
        raise EvaluationError(
            f"{root}: the pictures of the layout {layout} are cropped faces; photos are read from a folder with real/ "
            "and fake/ or from a CSV file."
        )
    return PHOTO_LAYOUTS[layout](root, photos=True)
