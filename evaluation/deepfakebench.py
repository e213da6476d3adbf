# SPDX-License-Identifier: Apache-2.0
"""DeepfakeBench's JSON: {data set: {label: {split: {[compression]: {video: {label, frames}}}}}}.

Frames are face images. A video is identified by its whole path in the file, not by the name of its folder: the four
methods of FaceForensics++ have videos of the same names.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..common.json_files import as_list, as_object
from .celeb_df import read_celeb_name
from .dfdc import read_preview_name
from .faceforensics import read_faceforensics_name
from .samples import SPLITS, Benchmark, EvaluationError, Sample, natural_key, read_json_list


# DeepfakeBench keeps its lists and its images in folders beside each other.
_PICTURE_FOLDERS = (".", "rgb", "datasets/rgb")
# Functions that return the people and the original of a video by its name, as the readers of the original layouts do.
# The lists of single methods of FaceForensics++ are data sets of their own in DeepfakeBench.
_NAME_READERS: dict[str, Callable[[str], tuple[tuple[str, ...], str | None]]] = {
    **dict.fromkeys(
        ("FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FaceShifter", "DeepFakeDetection"),
        read_faceforensics_name,
    ),
    **dict.fromkeys(("Celeb-DF-v1", "Celeb-DF-v2"), read_celeb_name),
    "DFDCP": read_preview_name,
}


def is_deepfakebench(root: Path) -> bool:
    """Return whether this is such a JSON file, or a folder of such files."""
    files = _json_files(root)
    return bool(files) and all(_looks_right(read_json_list(file)) for file in files)


def read_deepfakebench(root: Path) -> Benchmark:
    """
    Read a JSON file of DeepfakeBench, or all of them in a folder.

    Args:
        root: The file or folder.

    Raises:
        EvaluationError: If a file has another structure or lists no video.
    """
    samples: list[Sample] = []
    for file in _json_files(root):
        content = read_json_list(file)
        if not _looks_right(content):
            raise EvaluationError(f"{file}: expected the structure {{dataset: {{label: {{split: {{video: ...}}}}}}}}.")
        pictures = _Pictures(file)
        try:
            samples += _samples(content, pictures)
        except ValueError as error:
            raise EvaluationError(f"{file}: not a list of DeepfakeBench ({error}); download it again.") from error
    if not samples:
        raise EvaluationError(f"{root}: there is no video in this list.")
    kept = _without_repetitions(samples)
    notes = []
    if repeated := len(samples) - len(kept):
        notes.append(f"{repeated} entries of train and val left out, because the split test lists the same videos")
    return Benchmark(
        layout="deepfakebench",
        root=root,
        samples=kept,
        missing=[s.key for s in kept if not s.images or not all(image.is_file() for image in s.images)],
        notes=notes,
        has_splits=True,
    )


def _without_repetitions(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without those of other splits that the split test lists too: several data sets have one list."""
    tested = {_video_name(sample) for sample in samples if sample.split == "test"}
    return [sample for sample in samples if sample.split == "test" or _video_name(sample) not in tested]


def _video_name(sample: Sample) -> tuple[str, ...]:
    """The place of a video in the list, without the split."""
    dataset, label, _, *name = sample.key.split("/")
    return dataset, label, *name


def _json_files(root: Path) -> list[Path]:
    if root.is_dir():
        return sorted(root.glob("*.json"))
    return [root] if root.suffix.lower() == ".json" and root.is_file() else []


def _looks_right(content: Any) -> bool:
    """Check four levels of names, the third of which are splits."""
    if not isinstance(content, dict) or not all(isinstance(dataset, dict) for dataset in content.values()):
        return False
    labels = [label for dataset in content.values() for label in dataset.values()]
    return bool(labels) and all(isinstance(label, dict) and label.keys() <= set(SPLITS) for label in labels)


class _Pictures:
    """Finds the images of one JSON file."""

    def __init__(self, file: Path) -> None:
        above = [file.parent, *file.resolve().parents[1:4]]
        self.places = [place / folder for place in above for folder in _PICTURE_FOLDERS]

    def find(self, name: str) -> Path:
        relative = Path(name.replace("\\", "/"))
        for i, place in enumerate(self.places):
            if (place / relative).is_file():
                # The other images are probably in the same folder.
                self.places.insert(0, self.places.pop(i))
                return place / relative
        return self.places[0] / relative


def _samples(content: dict[str, Any], pictures: _Pictures) -> Iterator[Sample]:
    for dataset, labels in content.items():
        for label, splits in labels.items():
            for split, videos in splits.items():
                listed = as_object(videos, f"{dataset}/{label}/{split}")
                if isinstance(listed.get("frames"), list):
                    # DeepfakeBench's script writes the last video of DFDC's test set into the split itself.
                    listed = {name: entry for name, entry in listed.items() if name not in ("frames", "label")}
                for compression, name, entry in _videos(listed):
                    place = [dataset, label, split, *([compression] if compression else []), name]
                    yield _sample(place, entry, pictures, compression=compression)


def _videos(videos: dict[str, Any]) -> Iterator[tuple[str | None, str, dict[str, Any]]]:
    """Videos of a split; only FaceForensics++ divides them by compression."""
    for name, entry in videos.items():
        if "frames" in as_object(entry, name):
            yield None, name, entry
        else:
            yield from ((name, inner_name, as_object(inner, inner_name)) for inner_name, inner in entry.items())


def _sample(place: list[str], entry: dict[str, Any], pictures: _Pictures, *, compression: str | None) -> Sample:
    dataset, label, split, *_, name = place
    is_fake = not label.lower().endswith("real")
    frames = as_list(entry.get("frames", []), f"frames of {name}")
    images = tuple(pictures.find(frame) for frame in sorted(map(str, frames), key=_natural))
    people, original = _NAME_READERS[dataset](name) if dataset in _NAME_READERS else ((), None)
    return Sample(
        key="/".join(place),
        path=images[0].parent if images else Path(name),
        is_fake=is_fake,
        dataset=dataset,
        method=label if is_fake else None,
        compression=compression,
        split=split,
        identities=people,
        original=original if is_fake else None,
        images=images,
    )


def _natural(name: str) -> list[str | int]:
    return natural_key(Path(name))
