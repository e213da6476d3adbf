# SPDX-License-Identifier: Apache-2.0
"""From a path to a benchmark: which layout it is, and the reader of that layout."""

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
    One way in which data sets lie on disk.

    Attributes:
        recognise: Whether a path looks like it; reads no video.
        read: The benchmark at a path; raises `EvaluationError`.
        shape: What is expected, for a message.
    """

    recognise: Callable[[Path], bool]
    read: Callable[[Path], Benchmark]
    shape: str


# In this order: what is more particular comes first.
LAYOUTS: dict[str, Layout] = {
    "csv": Layout(is_csv, read_csv, "a file path,label[,group]"),
    "faceforensics": Layout(is_faceforensics, read_faceforensics, "original_sequences/, manipulated_sequences/"),
    "celeb-df": Layout(is_celeb_df, read_celeb_df, "Celeb-real/, YouTube-real/, Celeb-synthesis/"),
    "dfdc-preview": Layout(is_dfdc_preview, read_dfdc_preview, "dataset.json"),
    "dfdc": Layout(is_dfdc, read_dfdc, "dfdc_train_part_N/metadata.json or labels.csv"),
    "folder": Layout(is_labelled_folder, read_labelled_folder, "real/, fake/"),
    "deepfakebench": Layout(is_deepfakebench, read_deepfakebench, "a JSON file of DeepfakeBench"),
}


def open_benchmark(root: str | Path, layout: str | None = None) -> Benchmark:
    """
    Read a data set from its official layout.

    Args:
        root: The folder, or the CSV or JSON file.
        layout: A name in `LAYOUTS`; recognised if not given.

    Raises:
        EvaluationError: If it is not there, of no known layout, or damaged.
    """
    root = Path(root)
    if not root.exists():
        raise EvaluationError(f"{root}: there is no such folder or file.")
    if layout is None:
        layout = next((name for name, known in LAYOUTS.items() if known.recognise(root)), None)
    if layout is None:
        shapes = "; ".join(f"{name}: {known.shape}" for name, known in LAYOUTS.items())
        raise EvaluationError(f"{root}: is laid out like no data set that is known here ({shapes}).")
    return LAYOUTS[layout].read(root)
