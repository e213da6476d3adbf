# SPDX-License-Identifier: Apache-2.0
"""
Data of the default checkpoint: the split into people, cached face crops and validation videos.

DATA is a folder as the README describes. WORK receives the crops (`crops/`), the re-encoded copies (`copies/`) and one
folder per training run. `python chain_data.py DATA WORK` caches all crops.
"""

import argparse
import csv
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.evaluation.samples import Sample, identity_groups, people_in_common
from deepfake_video.training.augmentation import draw_framing, frame_clip
from deepfake_video.training.crops import CachedCrops, CropSettings, cache_crops
from deepfake_video.training.data import Video
from deepfake_video.training.errors import TrainingError


FACEFORENSICS, FACES = "FaceForensics++", "faces"
# Side of a cached crop in pixels; its side and that of the network's view over the side of the face box.
CROP_SIZE, CROP_MARGIN, VIEW_MARGIN = 288, 1.6, 1.15
CROPS = CropSettings(size=CROP_SIZE, margin=CROP_MARGIN, num_frames=32, search_images=False)
NUM_FACES = 6000
PORTRAITS = "portraits.csv"
TRAINED = ("faceforensics", PORTRAITS, FACES)
# Sources of `portraits` whose people are trained on; those of the other sources measure the false alarms.
TRAINED_PORTRAITS = ("celebv-text", "LivePortrait")
# Names of the validation sets in the tables, and where they are in DATA, besides the held-out FaceForensics++ people.
ALSO_VALIDATED = {"lipsync": "lipsync.csv", "grid": "grid", "dfdc": "dfdc"}


@dataclass(frozen=True, kw_only=True)
class ValidationVideo:
    """
    Face crops on which networks are compared.

    Attributes:
        dataset: Name of the validation set.
        person: The person in the video, or its name if that is unknown.
        is_fake: Label.
        frames: Cached crops (T, S, S, 3) uint8.
    """

    dataset: str
    person: str
    is_fake: bool
    frames: np.ndarray


def split_people(data: Path) -> tuple[list[Sample], list[Sample]]:
    """Training and validation samples; 30 % of the people of FaceForensics++ are held out."""
    return divide_people([data / name for name in TRAINED])


def divide_people(roots: Sequence[Path]) -> tuple[list[Sample], list[Sample]]:
    """
    Divide data sets into training and validation samples as `open_data` did when the packaged checkpoint was trained.

    Args:
        roots: Data sets; those with real and fake videos must name the people.

    Raises:
        EvaluationError: If a data set cannot be read.
        TrainingError: If a person is, or may be, in both parts.
    """
    train: list[Sample] = []
    validation: list[Sample] = []
    for root in roots:
        samples = open_benchmark(root).present
        if any(sample.split == "val" for sample in samples):
            train += [sample for sample in samples if sample.split == "train"]
            validation += [sample for sample in samples if sample.split == "val"]
            continue
        samples = [sample for sample in samples if sample.split != "test"]
        if len({sample.is_fake for sample in samples}) < 2:
            train += samples
            continue
        if not all(sample.identities for sample in samples):
            raise TrainingError(f"{root}: does not name the people of all videos; list them in a CSV file.")
        groups = identity_groups(samples)
        # `open_data` has another order now, which would hold out people that the packaged checkpoint was trained on.
        random.Random(f"0 {root.name}").shuffle(groups)
        held_out = max(1, round(len(groups) * 0.3))
        train += [sample for group in groups[held_out:] for sample in group]
        validation += [sample for group in groups[:held_out] for sample in group]
    if shared := people_in_common(train, validation):
        raise TrainingError(f"{len(shared)} people are in both parts, such as {shared[0]}; use other data sets.")
    return train, validation


def held_out_portraits(data: Path) -> dict[str, str]:
    """Source of each clip of `portraits` that is not trained on, by its path in the list."""
    with (data / PORTRAITS).open(newline="", encoding="utf-8") as stream:
        sources = {row["path"]: row["source"] for row in csv.DictReader(stream)}
    return {path: source for path, source in sources.items() if not source.startswith(TRAINED_PORTRAITS)}


def copy_path(work: Path, sample: Sample, kind: str, number: int) -> Path:
    """File of a re-encoded copy; kind "re" is the video itself, "sb" is a real video with a self-blended version."""
    return work / "copies" / f"{sample.dataset}~{sample.key.replace('/', '~')}~{kind}{number}.safetensors"


def read_crops(samples: Sequence[Sample], work: Path) -> Iterator[Video]:
    """Samples with their cached crops, which are made if they are missing; those without a face are left out."""
    for sample, crops in cache_crops(samples, CROPS, work / "crops"):
        if isinstance(crops, CachedCrops):
            # The packaged checkpoint was trained on the middle of images that were taken whole.
            yield Video(sample, replace(crops, whole=False))
        else:
            print(crops, file=sys.stderr, flush=True)


def training_samples(data: Path) -> list[Sample]:
    """Samples for training: the first images of the faces only, and no portraits of held-out sources."""
    held_out = held_out_portraits(data)
    samples = [s for s in split_people(data)[0] if s.dataset != FACES and s.key not in held_out]
    return [*samples, *open_benchmark(data / FACES).present[:NUM_FACES]]


def validation_videos(data: Path, work: Path, frames: int = 8) -> list[ValidationVideo]:
    """
    Read the validation sets: held-out people at c23 and re-encoded at CRF 40, and the other sets that DATA contains.

    Args:
        data: Folder of the data.
        work: Folder of the crops and copies.
        frames: Number of frames of each video.
    """
    held_out = split_people(data)[1]
    found = [_validation_video("ff-c23", video, frames) for video in read_crops(held_out, work)]
    for sample in held_out:
        path = copy_path(work, sample, "re", 0)
        if path.exists():
            with safe_open(path, "np") as file:
                copied = file.get_tensor("frames")
            found.append(_describe("ff-c40", sample, copied))
    for name, place in ALSO_VALIDATED.items():
        if (data / place).exists():
            videos = read_crops(open_benchmark(data / place).present, work)
            found += [_validation_video(name, video, frames) for video in videos]
    return found


def _validation_video(name: str, video: Video, count: int) -> ValidationVideo:
    crops, _ = video.crops.read(0, len(video.crops.frame_indices))
    chosen = np.unique(np.linspace(0, len(crops) - 1, count).round().astype(int))
    return _describe(name, video.sample, crops[chosen])


def _describe(name: str, sample: Sample, frames: np.ndarray) -> ValidationVideo:
    person = f"{sample.dataset} {sample.identities[0] if sample.identities else sample.key}"
    return ValidationVideo(dataset=name, person=person, is_fake=sample.is_fake, frames=frames)


def view_crops(frames: np.ndarray, size: int) -> torch.Tensor:
    """The view of a network (T, size, size, 3) uint8 of cached crops (T, S, S, 3), without augmentation."""
    framing = draw_framing(np.random.default_rng(0), frames.shape[1], VIEW_MARGIN / CROP_MARGIN, jitter=False)
    return torch.from_numpy(frame_clip(frames, np.zeros((len(frames), 5, 2), np.float32), framing, size)[0])


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add the arguments `data` and `work`, which all scripts share."""
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("work", type=Path, help="folder of crops, copies and runs")


def _cache_all(data: Path, work: Path) -> int:
    trained = list(read_crops(training_samples(data), work))
    print(f"{len(trained)} videos and images for training, {len(validation_videos(data, work))} for validation")
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folders(parser)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    return run_command(lambda: _cache_all(arguments.data, arguments.work))


if __name__ == "__main__":
    sys.exit(main())
