# SPDX-License-Identifier: Apache-2.0
"""
Write the CSV files of the videos that the default checkpoint is evaluated on.

`python evaluation_lists.py DATA LISTS` writes one file per validation set, for `deepfake-video evaluate` and
`../model_zoo.py`. The held-out people of FaceForensics++ are also encoded again with H.264 at CRF 40, which needs
FFmpeg's program.
"""

import argparse
import csv
import io
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from chain_data import FACEFORENSICS, PORTRAITS, held_out_portraits, split_people

from deepfake_video.common.errors import WorkError
from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.common.files import write_atomically
from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.evaluation.samples import Sample


COLUMNS = ("path", "label", "group", "dataset", "method")
# Who speaks in the clips of `lipsync`, as seen by eye; its own list does not say it. 24 of the 30 real clips show D.
SPEAKERS = {
    "real": {"A": (1, 2), "B": (3, 4), "C": (5, 6), "D": range(7, 31)},
    "fake": {"D": range(1, 22), "E": range(22, 26), "B": range(26, 29), "F": (29, 30)},
}


def speaker(path: Path) -> str:
    """Name of the speaker of a clip of `lipsync`, such as `lip_real_07.mp4`."""
    _, label, number = path.stem.split("_")
    return next(f"speaker {name}" for name, numbers in SPEAKERS[label].items() if int(number) in numbers)


def encode_again(video: Path, target: Path) -> None:
    """
    Encode a video with H.264 at CRF 40; does nothing if the target exists.

    Raises:
        WorkError: If FFmpeg fails.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part.mp4")
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-i",
        str(video),
        "-c:v",
        "libx264",
        "-crf",
        "40",
        "-an",
        str(unfinished),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise WorkError(
            "FFmpeg's program `ffmpeg` is needed to encode videos at CRF 40, but was not found."
        ) from error
    except subprocess.CalledProcessError as error:
        raise WorkError(f"{video}: ffmpeg failed: {error.stderr.strip()}") from error
    unfinished.replace(target)


def _row(sample: Sample, *, path: Path | None = None, group: str | None = None, dataset: str) -> dict[str, str]:
    return {
        "path": str((path or sample.path).absolute()),
        "label": sample.label,
        "group": group or next(iter(sample.identities), sample.path.stem),
        "dataset": dataset,
        "method": sample.method or "",
    }


def _write(file: Path, rows: Iterable[dict[str, str]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, stream.getvalue().encode())


def _portraits(data: Path) -> list[dict[str, str]]:
    """Rows of the portraits that are not trained on; each of their sources counts as a data set."""
    sources = held_out_portraits(data)
    samples = open_benchmark(data / PORTRAITS).present
    return [_row(sample, dataset=sources[sample.key]) for sample in samples if sample.key in sources]


def write_lists(data: Path, lists: Path) -> list[Path]:
    """
    Write one CSV file per validation set that DATA contains.

    Args:
        data: Folder of the data sets, as the README describes.
        lists: Folder of the CSV files, and of the re-encoded videos.

    Returns:
        The files.

    Raises:
        WorkError: If FFmpeg is needed and fails.
        EvaluationError: If a data set cannot be read.
    """
    lists.mkdir(parents=True, exist_ok=True)
    held_out = split_people(data)[1]
    copies = [lists / "crf40" / Path(sample.key).relative_to(Path(sample.key).parts[0]) for sample in held_out]
    for sample, copy in zip(held_out, copies, strict=True):
        encode_again(sample.path, copy)
    sets = {
        "ff-c23": [_row(sample, dataset=FACEFORENSICS) for sample in held_out],
        # The same data set: a copy shows no further person.
        "ff-crf40": [
            _row(sample, path=copy, dataset=FACEFORENSICS) for sample, copy in zip(held_out, copies, strict=True)
        ],
        "dfdc": [_row(sample, group=sample.path.stem, dataset="DFDC") for sample in _present(data / "dfdc")],
        "grid": [_row(sample, group="GRID speaker", dataset="GRID") for sample in _present(data / "grid")],
        "lipsync": [
            _row(sample, group=speaker(sample.path), dataset="lipsync") for sample in _present(data / "lipsync.csv")
        ],
        "portraits": _portraits(data) if (data / PORTRAITS).exists() else [],
    }
    files = {lists / f"{name}.csv": rows for name, rows in sets.items() if rows}
    for file, rows in files.items():
        _write(file, rows)
    return list(files)


def _present(root: Path) -> list[Sample]:
    return open_benchmark(root).present if root.exists() else []


def _write_and_print(arguments: argparse.Namespace) -> int:
    for file in write_lists(arguments.data, arguments.lists):
        print(file)
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("lists", type=Path, help="folder to write the CSV files to")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _write_and_print(arguments))


if __name__ == "__main__":
    sys.exit(main())
