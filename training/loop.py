# SPDX-License-Identifier: Apache-2.0
"""The training loop: optimise, average the weights, validate, keep the best, and resume from the last stored state."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..modeling_deepfake import DeepfakeForVideoClassification
from .batch_sources import BatchSource
from .checkpointing import Checkpoints, Progress, hash_videos, hash_weights
from .data import Video
from .errors import TrainingError, TrainingFailedError
from .modes import ClipMode, make_mode
from .networks import set_training_mode
from .optimization import make_optimizer, make_schedule
from .recipe import PairsOn, Recipe
from .training_log import TrainingLog
from .validation import Scores, join, score_with_copies, summarize


LOG_EVERY = 20
_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class TrainingOutcome:
    """
    The result of a finished training run.

    Attributes:
        network: Network with the best weights, on the CPU.
        progress: Final progress of the training run.
        probabilities: Fake probabilities (N,) of the validation videos, followed by those of their re-encoded copies
            if the recipe makes any.
        is_fake: Labels (N,) bool.
    """

    network: DeepfakeForVideoClassification
    progress: Progress
    probabilities: np.ndarray
    is_fake: np.ndarray


def train_network(
    network: DeepfakeForVideoClassification,
    train_videos: Sequence[Video],
    validation_videos: Sequence[Video],
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    precision: str = "no",
    workers: int | None = None,
    pairs_on: PairsOn = "cpu",
    stop_after: int | None = None,
    on_record: Callable[[Mapping[str, Any]], None] = lambda record: None,
) -> TrainingOutcome | None:
    """
    Train a network, or resume the training run whose state is in `folder`.

    Args:
        network: Network with its initial weights.
        train_videos: Videos from which the pairs are drawn.
        validation_videos: Videos by which the best step is chosen.
        recipe: Recipe of the training.
        folder: Folder of the log, of the state after each validation, and of the best weights.
        device: "auto", or "cpu" to use no GPU.
        precision: Mixed precision of accelerate: "no", "fp16" or "bf16".
        workers: Processes that draw pairs; 0 draws them in this process, `None` chooses by the number of cores.
        pairs_on: Where the pixels of the pairs are computed, see [`TrainingPlan`].
        stop_after: Number of steps after which this call stores its state and stops.
        on_record: Called with each record of the log.

    Returns:
        The outcome, or `None` if `stop_after` ended the training early.

    Raises:
        TrainingError: If the folder contains a different training run, `batch_pairs` does not fit the number of
            processes, or the pairs cannot be computed there.
        TrainingFailedError: If the loss is not finite, or the log in the folder is damaged.
    """
    _forget_earlier_accelerators()
    accelerator = Accelerator(
        mixed_precision=precision, gradient_accumulation_steps=recipe.accumulation, cpu=device == "cpu"
    )
    if recipe.batch_pairs % accelerator.num_processes:
        raise TrainingError(
            f"recipe: batch_pairs ({recipe.batch_pairs}) must be a multiple of the number of processes "
            f"({accelerator.num_processes})."
        )
    data, initial = hash_videos(train_videos, validation_videos), hash_weights(network)
    mode = make_mode(recipe, pairs_on)
    checkpoints = Checkpoints(accelerator, folder, recipe, data=data, initial=initial, pairs_on=pairs_on)
    log = TrainingLog(folder, on_record, is_writer=accelerator.is_main_process)
    loop = TrainingLoop(accelerator, network, mode, recipe, checkpoints, log)
    loop.resume()
    source = mode.make_source(train_videos, network, folder, accelerator, workers=workers)
    return loop.run(source, validation_videos, stop_after=stop_after)


def _forget_earlier_accelerators() -> None:
    """
    Let the next accelerator choose its device and precision.

    accelerate keeps those of the first one of a program: a training on the GPU after one on the CPU would stay on the
    CPU, and another precision would be refused. Only a group of processes is kept.
    """
    is_group = torch.distributed.is_available() and torch.distributed.is_initialized()
    AcceleratorState._reset_state(reset_partial_state=not is_group)


class TrainingLoop:
    """
    The training loop that [`train_network`] runs.

    Args:
        accelerator: Accelerator of the training.
        network: Network with its initial weights; it is trained in place.
        mode: Converts batches to inputs and computes the loss.
        recipe: Recipe of the training.
        checkpoints: Stores the state and the best weights.
        log: Receives a record every `LOG_EVERY` steps and one per validation.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: DeepfakeForVideoClassification,
        mode: ClipMode,
        recipe: Recipe,
        checkpoints: Checkpoints,
        log: TrainingLog,
    ) -> None:
        self.accelerator, self.mode, self.recipe = accelerator, mode, recipe
        self.checkpoints, self.log, self.progress = checkpoints, log, Progress()
        # On a CPU, convolutions are faster if the channels of a pixel are contiguous.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._initial = {n: t.cpu().clone() for n, t in network.state_dict().items()} if recipe.initial_share else {}
        # The copy is taken before the mode attaches anything to the network: the average is what is saved.
        self.average = AveragedModel(
            network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay), use_buffers=True
        )
        module = mode.wrap(network)
        optimizer = make_optimizer(module, recipe)
        self.schedule = make_schedule(optimizer, recipe)
        self.module, self.optimizer = accelerator.prepare(module, optimizer)
        self.average.to(accelerator.device)
        accelerator.register_for_checkpointing(self.average, self.schedule)
        # With a frozen frame encoder, the features of the validation videos are computed once.
        self._known: dict[Path, torch.Tensor] | None = {} if recipe.trains == "head" else None
        self._losses: list[float] = []
        self._since, self._waited, self._images = time.monotonic(), 0.0, 0

    @property
    def averaged_network(self) -> DeepfakeForVideoClassification:
        """The network with the moving average of the weights."""
        return cast(DeepfakeForVideoClassification, self.average.module)

    def resume(self) -> None:
        """
        Restore the state in the folder of the training, if there is one.

        Raises:
            TrainingError: If the state belongs to a different training run.
            TrainingFailedError: If the log is damaged.
        """
        self.progress = self.checkpoints.restore()
        # The recipe may ask for more steps, or for less patience, than before.
        self.progress.finished = self.progress.finished and self._is_finished()
        # Without a state, too: a run that was interrupted before its first validation has logged steps already.
        self.log.truncate(self.progress.step)

    def run(
        self, source: BatchSource, validation_videos: Sequence[Video], *, stop_after: int | None = None
    ) -> TrainingOutcome | None:
        """
        Train for the number of steps in the recipe, or until early stopping.

        Args:
            source: Source of the batches.
            validation_videos: Videos by which the best step is chosen.
            stop_after: Number of steps after which this call stores its state and stops.

        Returns:
            The outcome, or `None` if `stop_after` ended the training early.
        """
        progress, recipe = self.progress, self.recipe
        last = min(recipe.steps, progress.step + (stop_after or recipe.steps))
        for batch in self._timed(source.batches(progress.step)):
            if progress.finished or progress.step >= last:
                break
            ends_step = self.optimize(batch)
            if ends_step and (progress.step % recipe.validate_every == 0 or progress.step >= recipe.steps):
                self.validate(validation_videos)
                self.checkpoints.save(progress)
        if not progress.finished and progress.step >= recipe.steps:
            # A training that is resumed with fewer steps than it has done ends with a validation.
            self.validate(validation_videos)
            self.checkpoints.save(progress)
        if not progress.finished:
            self.checkpoints.save(progress)
            return None
        return self._finish(validation_videos)

    def optimize(self, batch: torch.Tensor) -> bool:
        """
        Train on one batch.

        Args:
            batch: Pairs as the mode reads them, on the device of the network.

        Returns:
            Whether the batch completed an optimiser step.

        Raises:
            TrainingFailedError: If the loss is not finite.
        """
        self.module.train()
        set_training_mode(self.network, self.recipe)
        with self.accelerator.accumulate(self.module):
            inputs = self.mode.inputs(batch)
            loss = self.mode.loss(self.module, inputs)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.module.parameters(), _MAX_GRADIENT_NORM)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self._images += inputs.values.shape[0] * inputs.values.shape[1]
        if not self.accelerator.sync_gradients:
            return False
        self.schedule.step()
        self.average.update_parameters(self.network)
        self.progress.step += 1
        self._losses.append(float(loss.detach()))
        if not math.isfinite(self._losses[-1]):
            raise TrainingFailedError(
                f"the loss of step {self.progress.step} is {self._losses[-1]}. The state of the last validation is "
                "kept; try a lower learning_rate."
            )
        if self.progress.step % LOG_EVERY == 0:
            self._log_training()
        return True

    def _log_training(self) -> None:
        seconds = time.monotonic() - self._since
        self.progress.seconds += seconds
        self.log.write(
            {
                "step": self.progress.step,
                "loss": round(float(np.mean(self._losses)), 6),
                "learning_rate": self.schedule.get_last_lr()[0],
                "images_per_s": round(self._images * self.accelerator.num_processes / seconds, 1),
                # What remains is the time of the network.
                "waiting_for_pairs": round(self._waited / seconds, 3),
                "seconds": round(self.progress.seconds, 1),
            }
        )
        self._losses, self._images, self._waited, self._since = [], 0, 0.0, time.monotonic()

    def _timed(self, batches: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The batches; the time until each arrives is added up."""
        while True:
            started = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - started
            if batch is None:
                return
            yield batch

    def validate(self, videos: Sequence[Video]) -> None:
        """Validate the averaged weights, and keep them if they are the best so far."""
        started, progress = time.monotonic(), self.progress
        summary = summarize(self._score(videos))
        self.log.write({"step": progress.step, **summary})
        progress.validations_since += 1
        if summary["validation_auc"] > progress.best:
            progress.best, progress.best_step = summary["validation_auc"], progress.step
            progress.validations_since = 0
            self.checkpoints.save_best(self.averaged_network)
        progress.finished = self._is_finished()
        self._since += time.monotonic() - started

    def _is_finished(self) -> bool:
        return self.progress.validations_since >= self.recipe.patience or self.progress.step >= self.recipe.steps

    def _score(self, videos: Sequence[Video]) -> list[Scores]:
        network, device = self.averaged_network, self.accelerator.device
        return score_with_copies(network, videos, self.recipe, self.mode.processor, device, known=self._known)

    def _finish(self, videos: Sequence[Video]) -> TrainingOutcome:
        network, weights = self.averaged_network, self.checkpoints.load_best()
        for name, initial in self._initial.items():
            if initial.is_floating_point():
                weights[name] = torch.lerp(weights[name], initial, self.recipe.initial_share)
        network.load_state_dict(weights)
        probabilities, is_fake = join(self._score(videos))
        return TrainingOutcome(network.eval().to("cpu"), self.progress, probabilities, is_fake)
