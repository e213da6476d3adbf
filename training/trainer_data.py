# SPDX-License-Identifier: Apache-2.0
"""Data for `transformers.Trainer`: a data set of face clips, and its collator."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..evaluation.datasets import open_benchmark
from ..evaluation.samples import Sample
from ..image_processing_deepfake import DeepfakeVideoProcessor
from .crops import CropSettings, check_settings
from .data import load_videos, open_data, refuse_shared
from .errors import TrainingError


# Label ids of [`DeepfakeConfig`] unless it names others.
_LABEL_IDS: Mapping[str, int] = {"real": 0, "fake": 1}
# Settings of a processor that determine frames and crops, and that the crops of a training cannot follow.
_FIXED = (
    "antialias",
    "do_crop_faces",
    "do_resize",
    "face_detector",
    "face_min_score",
    "face_min_size",
    "face_padding",
    "face_square",
    "fps",
    "frame_sampling",
    "resample",
)


class FaceClipDataset(Dataset[dict[str, torch.Tensor]]):
    """
    Face clips of labelled videos, as `transformers.Trainer` and `DeepfakeForVideoClassification` expect them.

    Each video is decoded and searched for faces once, when the data set is created, and its face crops are cached. An
    item is a dictionary of `pixel_values_videos` (T, C, H, W) float32, the input of the network for the frames that
    the processor samples, and `labels`, the id of "real" or "fake". A short video has fewer frames than others:
    [`DeepfakeCollator`] pads it.

    Args:
        samples: Labelled videos or face images.
        processor: Processor of the network, which determines frames, crops and normalisation.
        cache: Folder of the face crops; several data sets may share it.
        label2id: Ids of the labels "real" and "fake", `model.config.label2id` of the model that is trained.
        workers: Processes that decode videos and detect faces; 0 does both in this process.
        search_images: Detect the face in images too; otherwise, and where none is found, an image is taken whole, as
            `evaluate` takes it.
        transform: Augmentation of a clip: frames (T, S, S, 3) uint8 to frames of the same shape.
        on_skip: Called with the reason for each video that is left out.

    Raises:
        TrainingError: If the processor samples or crops frames in a way that the crops of a training do not follow, or
            if `label2id` lacks "real" or "fake".
        TrainingFailedError: If more than a tenth of the videos have no face crops.
        OSError: If the cache cannot be written.

    Example:

        >>> from pathlib import Path
        >>> from deepfake_video import DeepfakeVideoProcessor, FaceClipDataset
        >>> processor = DeepfakeVideoProcessor.from_preset("efficientnet-b0-frames")
        >>> data = FaceClipDataset.open(Path("FaceForensics++"), processor, cache=Path("crops"))  # doctest: +SKIP
        >>> data[0]["pixel_values_videos"].shape, int(data[0]["labels"])  # doctest: +SKIP
        (torch.Size([100, 3, 224, 224]), 0)
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        processor: DeepfakeVideoProcessor,
        *,
        cache: Path,
        label2id: Mapping[str, int] = _LABEL_IDS,
        workers: int = 0,
        search_images: bool = False,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
        on_skip: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.processor, self.transform = processor, transform
        if missing := sorted(_LABEL_IDS.keys() - label2id.keys()):
            raise TrainingError(
                f"label2id must name real and fake; {', '.join(missing)} is missing in {dict(label2id)}."
            )
        self.label2id = {label: label2id[label] for label in _LABEL_IDS}
        sides = dict(processor.size)
        if not (sides.get("height") and sides.get("width")):
            raise TrainingError(f"processor: size must have height and width, got {sides}.")
        settings = CropSettings(
            size=max(sides["height"], sides["width"]),
            margin=processor.face_margin,
            num_frames=processor.num_frames,
            burst_length=processor.burst_length if processor.frame_sampling == "bursts" else 1,
            search_images=search_images,
        )
        check_settings("processor", processor, settings.processor(), _FIXED)
        self.videos = load_videos(samples, settings, cache, workers=workers, on_skip=on_skip)

    @classmethod
    def open(
        cls,
        root: Path,
        processor: DeepfakeVideoProcessor,
        *,
        cache: Path,
        split: str = "all",
        label2id: Mapping[str, int] = _LABEL_IDS,
        workers: int = 0,
        search_images: bool = False,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
        on_skip: Callable[[str], None] = lambda reason: None,
    ) -> "FaceClipDataset":
        """
        Open a data set in any layout that `deepfake-video evaluate` reads.

        Args:
            root: Folder, or CSV or JSON file.
            processor: Processor of the network.
            cache: Folder of the face crops.
            split: "train", "val", "test" or "all".
            label2id: Ids of the labels "real" and "fake".
            workers: Processes that decode videos and detect faces.
            search_images: Detect the face in images too.
            transform: Augmentation of a clip.
            on_skip: Called with the reason for each video that is left out.

        Raises:
            EvaluationError: If the data set cannot be read or has no such split.
        """
        samples = open_benchmark(root).select(split).present
        return cls(
            samples,
            processor,
            cache=cache,
            label2id=label2id,
            workers=workers,
            search_images=search_images,
            transform=transform,
            on_skip=on_skip,
        )

    @classmethod
    def open_divided(
        cls,
        root: Path,
        processor: DeepfakeVideoProcessor,
        *,
        cache: Path,
        validation_share: float = 0.3,
        seed: int = 0,
        label2id: Mapping[str, int] = _LABEL_IDS,
        workers: int = 0,
        search_images: bool = False,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
        on_skip: Callable[[str], None] = lambda reason: None,
    ) -> "tuple[FaceClipDataset, FaceClipDataset]":
        """
        Open a data set and divide it into training and validation data, with no person in both.

        Args:
            root: Folder, or CSV or JSON file; a data set with a "val" split keeps its splits.
            processor: Processor of the network.
            cache: Folder of the face crops.
            validation_share: Share of the identity groups that is held out.
            seed: Seed of the choice of these groups.
            label2id: Ids of the labels "real" and "fake".
            workers: Processes that decode videos and detect faces.
            search_images: Detect the face in images too.
            transform: Augmentation of a training clip.
            on_skip: Called with the reason for each video that is left out.

        Raises:
            EvaluationError: If the data set cannot be read.
            TrainingError: If it cannot be divided, for example because it does not name the people, or if a file is
                in both parts.
        """
        train, validation = open_data([root], [], share=validation_share, seed=seed)
        options: Any = {
            "cache": cache,
            "label2id": label2id,
            "workers": workers,
            "search_images": search_images,
            "on_skip": on_skip,
        }
        training_data = cls(train, processor, transform=transform, **options)
        validation_data = cls(validation, processor, **options)
        refuse_shared(training_data.videos, validation_data.videos)
        return training_data, validation_data

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        video = self.videos[index]
        frames, _ = video.crops.read(0, len(video.crops.frame_indices))
        if self.transform is not None:
            frames = self.transform(frames)
        clip = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, C, S, S)
        inputs = self.processor([clip], do_crop_faces=False, do_sample_frames=False, return_tensors="pt")
        label = torch.tensor(self.label2id["fake" if video.sample.is_fake else "real"])
        return {"pixel_values_videos": inputs["pixel_values_videos"][0], "labels": label}


class DeepfakeCollator:
    """
    Collate the items of [`FaceClipDataset`] into a batch, for `data_collator` of `transformers.Trainer`.

    Clips with fewer frames than the longest one are padded with zeros, which `frame_mask` excludes.

    Example:

        >>> import torch
        >>> from deepfake_video import DeepfakeCollator
        >>> clips = [torch.ones(2, 3, 8, 8), torch.ones(4, 3, 8, 8)]
        >>> items = [{"pixel_values_videos": clip, "labels": torch.tensor(0)} for clip in clips]
        >>> batch = DeepfakeCollator()(items)
        >>> batch["pixel_values_videos"].shape, batch["frame_mask"].sum(1)
        (torch.Size([2, 4, 3, 8, 8]), tensor([2, 4]))
    """

    def __call__(self, items: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """
        Collate items.

        Args:
            items: Dictionaries of `pixel_values_videos` (T, C, H, W) and `labels`.

        Returns:
            `pixel_values_videos` (B, T, C, H, W), `labels` (B,) and, if the clips differ in length, `frame_mask`
            (B, T) bool.
        """
        clips = [item["pixel_values_videos"] for item in items]
        batch = {
            "pixel_values_videos": torch.nn.utils.rnn.pad_sequence(clips, batch_first=True),
            "labels": torch.stack([item["labels"] for item in items]),
        }
        lengths = torch.tensor([len(clip) for clip in clips])
        if (lengths < lengths.max()).any():
            batch["frame_mask"] = torch.arange(int(lengths.max())) < lengths[:, None]
        return batch
