# SPDX-License-Identifier: Apache-2.0
"""The interface of [`train`]: the plan, the listener and the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..common.files import make_paths
from ..common.plans import check_fields
from ..evaluation.metrics import Estimate
from .errors import TrainingError
from .recipe import PairsOn, Recipe


Device = Literal["auto", "cpu"]
Precision = Literal["no", "fp16", "bf16"]


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """
    Everything that [`train`] needs to know.

    Attributes:
        data: Data sets for training, in any layout that `deepfake-video evaluate` reads.
        recipe: Recipe of the training run; see [`Recipe.read`].
        output: Folder of the log, the state and, in `model`, the trained model. If the folder contains the state of a
            training run, the run is resumed.
        validation_data: Data sets for validation. If empty, a share of the identities in `data` is held out.
        cache: Folder of the face crops, which several training runs may share; `output/crops` by default.
        device: "auto", or "cpu" to use no GPU.
        precision: Mixed precision of accelerate.
        workers: Processes that cut out faces and draw training pairs, for each GPU; 0 does both in this process, and
            `None` chooses by the number of cores. They import the calling script again, which must therefore call
            `train` below `if __name__ == "__main__":`.
        pairs_on: Where the pixels of the training pairs are computed: by the worker processes ("cpu"), or by tensor
            operations on the device of the network ("device"), which needs fewer cores. The pixels differ slightly. A
            run is resumed with the choice that it was started with.
        stop_after: Number of steps after which the call stores its state and stops; `None` to finish the training.

    Raises:
        UsageError: If a value is of another type or none of the choices; a [`TrainingError`] if it is out of range,
            a path does not exist, or the recipe cannot be used.

    Example:

        >>> from pathlib import Path
        >>> from deepfake_video import Recipe, TrainingPlan
        >>> TrainingPlan(data=[Path("nowhere")], recipe=Recipe.read("frames"), output=Path("run1"))
        Traceback (most recent call last):
        ...
        deepfake_video.training.errors.TrainingError: nowhere: no such file or folder.
    """

    data: Sequence[Path]
    recipe: Recipe
    output: Path
    validation_data: Sequence[Path] = ()
    cache: Path | None = None
    device: Device = "auto"
    precision: Precision = "no"
    workers: int | None = None
    pairs_on: PairsOn = "cpu"
    stop_after: int | None = None

    def __post_init__(self) -> None:
        make_paths(self, "data", "output", "validation_data", "cache")
        check_fields(self)
        if not self.data:
            raise TrainingError("give at least one data set to train on.")
        for path in (*self.data, *self.validation_data):
            if not path.exists():
                raise TrainingError(f"{path}: no such file or folder.")
        if self.workers is not None and self.workers < 0:
            raise TrainingError(f"workers must be at least 0, got {self.workers}.")
        if self.stop_after is not None and self.stop_after < 1:
            raise TrainingError(f"stop_after must be at least 1, got {self.stop_after}.")
        self.recipe.check_pairs_on(self.pairs_on)
        self.recipe.check_model()
        if self.recipe.trains == "head" and self.recipe.initial is None:
            raise TrainingError('recipe: trains "head" requires initial, the model whose backbone is kept.')

    @property
    def crops(self) -> Path:
        """Folder of the cached face crops."""
        return self.cache or self.output / "crops"

    @property
    def model(self) -> Path:
        """Folder of the trained model."""
        return self.output / "model"


class TrainingListener:
    """Receives the messages of a training run. The methods do nothing by default; override the ones you need."""

    def note(self, text: str) -> None:
        """Called with a sentence about the data, such as the number of videos, or about the model folder."""

    def skipped(self, reason: str) -> None:
        """Called when a video is skipped."""

    def logged(self, record: Mapping[str, Any]) -> None:
        """Called when a record is appended to the log."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """
    The result of [`train`].

    Attributes:
        output: Folder of the training.
        model: Folder of the trained model; `None` if `stop_after` ended the call early.
        steps: Number of optimiser steps completed.
        best_step: Step whose weights were kept.
        metrics: Metrics on the validation videos by name, with 95 % intervals; empty if the training is not finished,
            and in all processes but the first.
    """

    output: Path
    model: Path | None
    steps: int
    best_step: int
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
