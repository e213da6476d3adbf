# SPDX-License-Identifier: Apache-2.0
"""The settings of an evaluation; nothing here imports torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ..common.errors import UsageError
from ..common.files import make_paths
from ..common.plans import check_fields
from ..scanning.settings import ScanSettings


LayoutName = Literal["faceforensics", "celeb-df", "dfdc", "dfdc-preview", "deepfakebench", "folder", "csv"]
KindName = Literal["saturation", "contrast", "blockwise", "noise", "blur", "resize", "compression"]
SplitName = Literal["train", "val", "test", "all"]
GroupBy = Literal["identity", "video"]
Ensemble = Literal["probabilities", "logits"]
LAYOUT_NAMES: tuple[str, ...] = get_args(LayoutName)
KIND_NAMES: tuple[str, ...] = get_args(KindName)
SPLIT_NAMES: tuple[str, ...] = get_args(SplitName)
GROUP_NAMES: tuple[str, ...] = get_args(GroupBy)
# Frames of a video in DeepfakeBench's test configuration.
DEEPFAKEBENCH_FRAMES = 32


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """
    The settings of an evaluation.

    Attributes:
        layout: Layout of the data set; detected from its files if not given.
        photos: Whether pictures are photos, in which faces are searched as in videos. Otherwise they are taken as
            cropped faces, as in DeepfakeBench. For folders with `real/` and `fake/` and for CSV files.
        split: Part of the data set to evaluate; "test" if the data set has splits, else "all".
        limit: Maximum number of videos per class, drawn with the seed; `None` uses all. A larger limit extends the
            sample of a smaller one.
        group_by: Resampling unit of the bootstrap: all videos of an identity (those of the target person or source
            video; videos without a known identity are drawn alone), or single videos.
        deepfakebench: Whether to add rows by the rule of DeepfakeBench: 32 frames, the mean of their fake
            probabilities, and its EER.
        settings: Scoring settings, including the threshold.
        ensemble: Quantity averaged over several models, probabilities or logits.
        device: "auto", "cpu", "cuda" or "mps".
        workers: Number of reader processes per scoring process; 0 reads and scores alternately in one process, `None`
            chooses by the number of cores. They import the calling script again, which must therefore call
            `evaluate` below `if __name__ == "__main__":`.
        corruptions: Kinds of corruption to score each video with, at five levels each.
        calibrated_folder: Folder for a calibrated checkpoint, fitted on held-out identities; must not exist.
        calibration_split: Split to calibrate on; "val" if there is one, else half of the identities.
        resamples: Bootstrap draws; 0 leaves the intervals out.
        seed: Seed of the bootstrap, of the draw for `limit`, of the corruptions and of the split into calibration and
            evaluation halves.

    Raises:
        UsageError: If a setting is invalid, or two settings contradict each other.

    Example:
        >>> EvaluationPlan(limit=100, corruptions=("blur",)).limit
        100
        >>> EvaluationPlan(limit=0)
        Traceback (most recent call last):
        ...
        deepfake_video.common.errors.UsageError: the limit must be at least 1, got 0.
    """

    layout: LayoutName | None = None
    photos: bool = False
    split: SplitName | None = None
    limit: int | None = None
    group_by: GroupBy = "identity"
    deepfakebench: bool = False
    settings: ScanSettings = field(default_factory=ScanSettings)
    ensemble: Ensemble = "probabilities"
    device: str = "auto"
    workers: int | None = None
    corruptions: tuple[KindName, ...] = ()
    calibrated_folder: Path | None = None
    calibration_split: Literal["train", "val", "test"] | None = None
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        make_paths(self, "calibrated_folder")
        check_fields(self)
        for name, number, lowest in (
            ("limit", self.limit, 1),
            ("number of workers", self.workers, 0),
            ("number of bootstrap draws", self.resamples, 0),
            ("seed", self.seed, 0),
        ):
            if number is not None and number < lowest:
                raise UsageError(f"the {name} must be at least {lowest}, got {number}.")
        if self.deepfakebench and self.settings.num_frames not in (None, DEEPFAKEBENCH_FRAMES):
            raise UsageError(
                f"DeepfakeBench takes {DEEPFAKEBENCH_FRAMES} frames of a video, got {self.settings.num_frames}; leave "
                "the number of frames out."
            )
        if self.calibrated_folder is not None and self.settings.face_aggregation == "mean":
            raise UsageError(
                "a mean over faces cannot be calibrated, because no model outputs it; choose max or main."
            )
        if self.calibration_split is not None and self.calibrated_folder is None:
            raise UsageError("a calibration split needs a folder for the calibrated checkpoint.")
