# SPDX-License-Identifier: Apache-2.0
"""The state of a training run on disk, from which it can be resumed, and the best weights so far."""

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from ..common.files import write_atomically
from ..common.json_files import Between, as_dataclass, read_json
from .data import Video
from .errors import TrainingError
from .recipe import CHANGEABLE, PairsOn, Recipe


STATE_NAME, BEST_NAME, PROGRESS_NAME = "state", "best.safetensors", "progress.json"


@dataclass
class Progress:
    """
    Progress of a training run.

    Attributes:
        step: Number of optimiser steps completed.
        best: Highest validation AUC so far.
        best_step: Step at which the best AUC was reached.
        validations_since: Number of validations since the best step.
        seconds: Training time in seconds, without validation.
        finished: Whether the recipe requires no further step.
    """

    step: int = 0
    best: Annotated[float, Between(-math.inf, 1)] = -math.inf
    best_step: int = 0
    validations_since: int = 0
    seconds: float = 0.0
    finished: bool = False


@dataclass(frozen=True)
class _Record:
    """What is stored besides the tensors of a state, see [`Checkpoints`]."""

    recipe: dict[str, Any]
    data: str
    initial: str
    pairs_on: str
    progress: Progress


class Checkpoints:
    """
    Stores and restores the state of a training run in its folder.

    A state is replaced as a whole: an interruption leaves the previous one.

    Args:
        accelerator: Holds the network, optimiser and schedule that are stored.
        folder: Folder of the training.
        recipe: Recipe of the training.
        data: Hash of the training and validation videos, see [`hash_videos`].
        initial: Hash of the initial weights, see [`hash_weights`].
        pairs_on: Where the pixels of the pairs are computed.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: Path,
        recipe: Recipe,
        *,
        data: str,
        initial: str,
        pairs_on: PairsOn = "cpu",
    ) -> None:
        self._accelerator, self.folder, self._recipe = accelerator, folder, recipe
        self._data, self._initial, self._pairs_on = data, initial, pairs_on
        self._state, self._replaced = folder / STATE_NAME, folder / f".{STATE_NAME}.old"

    def save(self, progress: Progress) -> None:
        """Store the state of all processes."""
        self._accelerator.wait_for_everyone()
        fresh, is_main = self.folder / f".{STATE_NAME}.new", self._accelerator.is_main_process
        if is_main:
            shutil.rmtree(fresh, ignore_errors=True)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(fresh))
        self._accelerator.wait_for_everyone()
        if is_main:
            record = _Record(self._recipe.to_dict(), self._data, self._initial, self._pairs_on, progress)
            write_atomically(fresh / PROGRESS_NAME, json.dumps(asdict(record)).encode())
            shutil.rmtree(self._replaced, ignore_errors=True)
            if self._state.exists():
                self._state.rename(self._replaced)
            fresh.rename(self._state)
            shutil.rmtree(self._replaced, ignore_errors=True)
        self._accelerator.wait_for_everyone()

    def restore(self) -> Progress:
        """
        Restore the state in the folder.

        Returns:
            Progress of the restored training, or of a new one if the folder contains no state.

        Raises:
            TrainingError: If the state belongs to a different recipe, different data, different initial weights, or
                pairs that were computed elsewhere, or if its record is damaged.
        """
        state = self._replaced if not self._state.exists() and self._replaced.exists() else self._state
        if not (state / PROGRESS_NAME).is_file():
            return Progress()
        record = _read_record(state)
        stored, wanted = record.recipe, self._recipe.to_dict()
        changed = [name for name in wanted if stored.get(name) != wanted[name] and name not in CHANGEABLE]
        if changed:
            raise TrainingError(
                f"{self.folder}: contains a training run with a different recipe ({', '.join(changed)} differ); "
                "choose another folder."
            )
        if record.data != self._data:
            raise TrainingError(
                f"{self.folder}: contains a training run on different videos, a different split, or crops made by a "
                "different version of this package; choose another folder."
            )
        if record.initial != self._initial:
            source = self._recipe.initial or "the seed"
            raise TrainingError(
                f"{self.folder}: contains a training run with different initial weights; {source} has changed since "
                "it was started; choose another folder."
            )
        if (pairs_on := record.pairs_on) != self._pairs_on:
            raise TrainingError(
                f"{self.folder}: contains a training run whose pairs are computed on the {pairs_on}; resume it with "
                f"--pairs-on {pairs_on}, or choose another folder."
            )
        self._accelerator.load_state(str(state))
        return record.progress

    def save_best(self, network: nn.Module) -> None:
        """Store the weights of a network as the best so far."""
        if self._accelerator.is_main_process:
            weights = {name: value.contiguous() for name, value in network.state_dict().items()}
            unfinished = self.folder / f".{BEST_NAME}"
            save_file(weights, unfinished)
            unfinished.replace(self.folder / BEST_NAME)

    def load_best(self) -> dict[str, torch.Tensor]:
        """Load the best weights on the CPU."""
        return load_file(self.folder / BEST_NAME)


def read_progress(folder: Path) -> Progress:
    """Read the progress of the training run stored in a folder; raises `OSError` if there is none."""
    return _read_record(folder / STATE_NAME).progress


def _read_record(state: Path) -> _Record:
    file = state / PROGRESS_NAME
    try:
        return as_dataclass(read_json(file), _Record)
    except ValueError as error:
        raise TrainingError(f"{file}: damaged ({error}); choose another folder.") from error


def hash_videos(*sides: Sequence[Video]) -> str:
    """Hash the content and labels of training and validation videos, regardless of their order."""
    listed = [sorted((video.crops.path.name, video.sample.is_fake) for video in side) for side in sides]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def hash_weights(network: nn.Module) -> str:
    """Hash the names, shapes and values of the weights of a network."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
