# SPDX-License-Identifier: Apache-2.0
"""FaceForensics++ and the Deep Fake Detection data set (DFD), which share one folder layout.

`original_sequences/{youtube,actors}/{raw,c0,c23,c40}/videos/`, `manipulated_sequences/<method>/<c>/videos/`.
Splits: lists of pairs of ids in `{train,val,test}.json`, in the folder itself or in `splits/`; each pair means two
real videos and the fakes in both orders. DFD has no official split: all of it is for testing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ..common.json_files import as_list, read_json
from ..scanning.listing import is_clutter
from .samples import SPLITS, Benchmark, EvaluationError, Sample, relative_key, skipped_note


COMPRESSIONS = ("raw", "c0", "c23", "c40")
FACEFORENSICS, DFD = "FaceForensics++", "DFD"
FF_METHODS = ("Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures")
_DFD_FOLDERS = {"actors", "DeepFakeDetection"}
_REAL, _FAKE = "original_sequences", "manipulated_sequences"


def is_faceforensics(root: Path) -> bool:
    """Return whether the folder has the layout of these data sets."""
    return any((root / name).is_dir() for name in (_REAL, _FAKE))


def read_faceforensics(root: Path) -> Benchmark:
    """
    Read FaceForensics++, DFD, or both.

    Args:
        root: Folder of the data set.

    Raises:
        EvaluationError: If there is no video, or a split file is not a list of pairs.
    """
    videos = list(_find(root))
    skipped = {path for path in videos if is_clutter(path.relative_to(root))}
    found = {relative_key(path, root): _sample(path, root) for path in videos if path not in skipped}
    if not found:
        raise EvaluationError(
            f"{root}: there is no video in {_REAL} and {_FAKE}; expected .../<method>/c23/videos/*.mp4."
        )
    splits = _read_splits(root)
    split_of = {video: name for name, pairs in splits.items() for pair in pairs for video in _videos_of(pair)}
    samples = [replace(sample, split=_split_of(sample, split_of)) for sample in found.values()]
    missing = []
    for sample in _expected(root, found.values(), splits):
        if sample.key not in found:
            samples.append(sample)
            missing.append(sample.key)
    samples.sort(key=lambda sample: sample.key)
    return Benchmark(
        layout="faceforensics",
        root=root,
        samples=samples,
        missing=sorted(missing),
        notes=[*_notes(samples, splits), *skipped_note(sorted(skipped))],
        has_splits=bool(splits),
    )


def _find(root: Path) -> Iterator[Path]:
    for kind in (_REAL, _FAKE):
        for folder in sorted(root.glob(f"{kind}/*/*/videos")):
            if folder.parent.name in COMPRESSIONS:
                yield from sorted(folder.glob("*.mp4"))


def _sample(path: Path, root: Path) -> Sample:
    """Derive a sample from the path."""
    kind, folder, compression = path.relative_to(root).parts[:3]
    is_fake = kind == _FAKE
    people, original = read_faceforensics_name(path.stem)
    return Sample(
        key=relative_key(path, root),
        path=path,
        is_fake=is_fake,
        dataset=DFD if folder in _DFD_FOLDERS else FACEFORENSICS,
        method=folder if is_fake else None,
        compression=compression,
        identities=people,
        original=original if is_fake else None,
    )


def read_faceforensics_name(name: str) -> tuple[tuple[str, ...], str]:
    """
    Read the people of a video, the target first, and the name of the real video with the target.

    Args:
        name: Name without extension: `033` or `033_097` (FaceForensics++), `01__scene` or `01_02__scene__hash` (DFD).

    Example:
        >>> read_faceforensics_name("033_097"), read_faceforensics_name("01_02__walking__YVGY8LOK")
        ((('033', '097'), '033'), (('01', '02'), '01__walking'))
    """
    pair, *rest = name.split("__")
    people = tuple(pair.split("_"))
    return people, "__".join([people[0], *rest[:1]])


def _read_splits(root: Path) -> dict[str, list[tuple[str, str]]]:
    splits = {}
    for name in SPLITS:
        files = [file for folder in (root, root / "splits") if (file := folder / f"{name}.json").is_file()]
        if files:
            splits[name] = _read_pairs(files[0])
    return splits


def _read_pairs(file: Path) -> list[tuple[str, str]]:
    try:
        pairs = [(str(first), str(second)) for first, second in as_list(read_json(file), file.name)]
        if any(set(f"{first}{second}") & {"/", "\\"} for first, second in pairs):
            raise ValueError("an id is a path")
        return pairs
    except (OSError, ValueError, TypeError) as error:
        raise EvaluationError(f"{file}: not a list of pairs of ids; use the official split file.") from error


def _videos_of(pair: tuple[str, str]) -> list[str]:
    first, second = pair
    return [first, second, f"{first}_{second}", f"{second}_{first}"]


def _split_of(sample: Sample, split_of: dict[str, str]) -> str | None:
    return "test" if sample.dataset == DFD else split_of.get(sample.path.stem)


def _expected(root: Path, found: Iterable[Sample], splits: dict[str, list[tuple[str, str]]]) -> list[Sample]:
    """Videos that the splits list, for every method and compression with any video."""
    folders = {sample.path.parent for sample in found if sample.dataset == FACEFORENSICS}
    expected = []
    for folder in sorted(folders):
        is_real = folder.relative_to(root).parts[0] == _REAL
        for name, pairs in splits.items():
            for pair in pairs:
                videos = _videos_of(pair)
                for video in videos[:2] if is_real else videos[2:]:
                    expected.append(replace(_sample(folder / f"{video}.mp4", root), split=name))
    return expected


def _notes(samples: list[Sample], splits: dict[str, list[tuple[str, str]]]) -> list[str]:
    notes = []
    methods = {sample.method for sample in samples}
    if any(sample.dataset == FACEFORENSICS for sample in samples):
        if absent := [method for method in FF_METHODS if method not in methods]:
            notes.append(f"not in this copy: {', '.join(absent)}")
        if absent := [name for name in SPLITS if name not in splits]:
            notes.append(f"no official split file: {', '.join(f'{name}.json' for name in absent)}")
    if DFD in {sample.dataset for sample in samples}:
        notes.append("DFD has no official split: all of its videos are evaluated as the test split")
    return notes
