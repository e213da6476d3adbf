# SPDX-License-Identifier: Apache-2.0
"""Celeb-DF-v2 and Celeb-DF++.

`Celeb-real`, `YouTube-real` (some copies write `Youtube-real`) and `Celeb-synthesis`, in some copies each with a
folder `videos` inside; Celeb-DF++ has `Celeb-synthesis/{FaceSwap,FaceReenact,TalkingFace}/<method>/`.
`List_of_testing_videos.txt` names the test videos, `1 YouTube-real/00170.mp4`: no header, and 1 means *real*.
Videos that it does not list are for training.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..scanning.inputs import VIDEO_EXTENSIONS
from ..scanning.listing import InputError, is_clutter, read_text
from .samples import Benchmark, EvaluationError, Sample, find_files, listed_path, relative_key, skipped_note


TEST_LIST = "List_of_testing_videos.txt"
YOUTUBE = "youtube-real"
_FAKE = "celeb-synthesis"
_REAL = ("celeb-real", YOUTUBE)
_CATEGORIES = ("faceswap", "facereenact", "talkingface")


def is_celeb_df(root: Path) -> bool:
    """Return whether the folder has the layout of this data set."""
    return root.is_dir() and bool(_top_folders(root).keys() & {_FAKE, "celeb-real"})


def read_celeb_df(root: Path) -> Benchmark:
    """
    Read Celeb-DF-v2 or Celeb-DF++.

    Args:
        root: Folder of the data set.

    Raises:
        EvaluationError: If there is no video, or the list of test videos contradicts the folders.
    """
    folders = _top_folders(root)
    is_plus_plus = _FAKE in folders and any(child.name.lower() in _CATEGORIES for child in folders[_FAKE].iterdir())
    dataset = "Celeb-DF++" if is_plus_plus else "Celeb-DF-v2"
    videos = [path for name in (*_REAL, _FAKE) if name in folders for path in _find(folders[name])]
    found = [_sample(root, path, dataset) for path in videos if not is_clutter(path.relative_to(root))]
    skipped = skipped_note([path for path in videos if is_clutter(path.relative_to(root))])
    if not found:
        raise EvaluationError(f"{root}: there is no video in Celeb-real, YouTube-real and Celeb-synthesis.")
    list_file = root / TEST_LIST
    if not list_file.is_file():
        notes = [f"no official split: {TEST_LIST} is missing", *skipped]
        return Benchmark(layout="celeb-df", root=root, samples=found, notes=notes)
    listed = _read_test_list(list_file)
    by_name = {_plain_name(sample.key): sample for sample in found}
    samples = [
        replace(sample, split="test" if _plain_name(sample.key) in listed else "train") for sample in by_name.values()
    ]
    missing = [name for name in listed if name not in by_name]
    samples += [replace(_sample(root, root / listed[name], dataset), split="test") for name in missing]
    return Benchmark(
        layout="celeb-df",
        root=root,
        samples=sorted(samples, key=lambda sample: sample.key),
        missing=sorted(listed[name] for name in missing),
        notes=[*(f"the folder {name} is missing" for name in (*_REAL, _FAKE) if name not in folders), *skipped],
        has_splits=True,
    )


def _top_folders(root: Path) -> dict[str, Path]:
    return {child.name.lower(): child for child in sorted(root.iterdir()) if child.is_dir()}


def _find(folder: Path) -> Iterator[Path]:
    for path in find_files(folder):
        if path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file():
            yield path


def _sample(root: Path, path: Path, dataset: str) -> Sample:
    """Derive a sample from the path."""
    folder, *inner = [part for part in path.relative_to(root).parent.parts if part != "videos"]
    is_fake = folder.lower() == _FAKE
    people, original = read_celeb_name(path.stem, folder)
    return Sample(
        key=relative_key(path, root),
        path=path,
        is_fake=is_fake,
        dataset=dataset,
        method=(inner[-1] if inner else folder) if is_fake else None,
        identities=people,
        original=original if is_fake else None,
    )


def read_celeb_name(name: str, folder: str = YOUTUBE) -> tuple[tuple[str, ...], str]:
    """
    Read the people of a video, the target first, and the name of the real video with the target.

    Args:
        name: Name without extension: `id0_0000` shows id0, and `id0_id1_0000` shows id0 with the face of id1. The
            videos of other people have numbers, each of which stands for a person of its own.
        folder: Top folder of the video, which distinguishes these numbers.

    Example:
        >>> read_celeb_name("id0_id1_0003"), read_celeb_name("00170")
        ((('id0', 'id1'), 'id0_0003'), (('youtube-real/00170',), '00170'))
    """
    people = tuple(part for part in name.split("_") if part.startswith("id") and part[2:].isdigit())
    if not people:
        return (f"{folder.lower()}/{name}",), name
    return people, f"{people[0]}_{name.rsplit('_', 1)[-1]}"


def _plain_name(key: str) -> str:
    """Path as in the list, without inserted folders, and with the folder of real videos in lower case."""
    folder, *inner = [part for part in key.replace("\\", "/").split("/") if part != "videos"]
    return "/".join([folder.lower(), *inner])


def _read_test_list(file: Path) -> dict[str, str]:
    """Path of each test video as listed, by its plain name. There is no header: the first line is a video too."""
    listed = {}
    try:
        text = read_text(file)
    except InputError as error:
        raise EvaluationError(str(error)) from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        label, _, path = line.strip().partition(" ")
        name = _plain_name(path.strip())
        if label not in ("0", "1") or "/" not in name:
            raise EvaluationError(f"{file}, line {number}: expected `1 <real>` or `0 <fake>`, got {line!r}.")
        if (label == "1") == name.startswith(f"{_FAKE}/"):
            raise EvaluationError(
                f"{file}, line {number}: {path.strip()} is marked {label}, but in this list 1 means real and 0 fake; "
                "use the official list."
            )
        listed_path(file, path.strip())
        listed[name] = path.strip()
    return listed
