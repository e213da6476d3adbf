# SPDX-License-Identifier: Apache-2.0
"""The training loop: pairs in, a network out that was best on the validation videos; it stops and goes on at will."""

import hashlib
import json
import math
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Subset

from ..common.files import write_atomically
from ..evaluation.metrics import measure
from ..modeling_deepfake import DeepfakeForVideoClassification
from .batches import TrainingPairs, to_pixel_values
from .copies import VALIDATED
from .data import Video
from .features import FeatureClassifier, FeaturePairs
from .judging import join, judge
from .recipe import CHANGEABLE, Recipe, TrainingError
from .regions import RegionClassifier, region_loss


LOG_NAME, STATE_NAME, BEST_NAME = "log.jsonl", "state", "best.safetensors"
PROGRESS_NAME = "progress.json"
LOG_EVERY = 20


@dataclass
class Progress:
    """How far a training has come, stored beside its state."""

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    validations_since: int = 0
    seconds: float = 0.0
    finished: bool = False


@dataclass(frozen=True)
class Outcome:
    """
    What a training gave: the best weights, and the fake probabilities of the validation videos under them, followed by
    those of their re-encoded copies where the recipe makes some.
    """

    network: DeepfakeForVideoClassification
    progress: Progress
    probabilities: np.ndarray
    is_fake: np.ndarray


def train(
    network: DeepfakeForVideoClassification,
    train_videos: Sequence[Video],
    validation_videos: Sequence[Video],
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    precision: str = "no",
    workers: int = 1,
    stop_after: int | None = None,
    quiet: bool = False,
) -> Outcome | None:
    """
    Train, or go on with the training whose state lies in `folder`.

    Args:
        network: With its initial weights.
        train_videos: What pairs are drawn from.
        validation_videos: What chooses the best step.
        recipe: How.
        folder: Gets `log.jsonl`, the state after each validation, and the best weights.
        device: "cpu" keeps it off a GPU.
        precision: "no", "fp16" or "bf16", as accelerate has them.
        workers: Processes that make pairs; 0 makes them in this one.
        stop_after: Steps after which this call stops, with its state stored.
        quiet: Whether nothing is printed.

    Returns:
        The outcome, or `None` where `stop_after` came first.

    Raises:
        TrainingError: If the loss is not a number, or the folder holds a training by another recipe or on other data.
    """
    accelerator = Accelerator(
        mixed_precision=precision, gradient_accumulation_steps=recipe.accumulation, cpu=device == "cpu"
    )
    if recipe.batch_pairs % accelerator.num_processes:
        raise TrainingError(
            f"batch_pairs ({recipe.batch_pairs}) must be a multiple of the {accelerator.num_processes} processes."
        )
    initial = _digest_weights(network)
    run = TrainingRun(accelerator, network, recipe, folder, quiet=quiet)
    run.resume(_digest(train_videos, validation_videos), initial)
    drawn = TrainingPairs(train_videos, recipe)
    # One process computes the features; the others find them there.
    with accelerator.main_process_first():
        pairs = FeaturePairs(drawn, network, recipe, run.processor, folder) if recipe.feature_pairs else drawn
    per_step = recipe.batch_pairs * recipe.accumulation
    rest = Subset(pairs, range(run.progress.step * per_step, len(pairs)))
    loader = accelerator.prepare(
        DataLoader(
            rest,
            recipe.batch_pairs // accelerator.num_processes,
            num_workers=0 if recipe.feature_pairs else workers,
            worker_init_fn=_begin_worker,
            persistent_workers=False,
            # Its own: a loader draws from torch's generator where it begins, and a training that goes on begins again.
            generator=torch.Generator(),
        )
    )
    last = min(recipe.steps, run.progress.step + (stop_after or recipe.steps))
    for batch in loader:
        if run.progress.finished or run.progress.step >= last:
            break
        if run.optimize(batch) and (
            run.progress.step % recipe.validate_every == 0 or run.progress.step >= recipe.steps
        ):
            run.validate(validation_videos)
            run.store()
    if not run.progress.finished and run.progress.step >= recipe.steps:
        # It went on only to be told that it is long enough.
        run.validate(validation_videos)
        run.store()
    if not run.progress.finished:
        run.store()
        return None
    return run.outcome(validation_videos)


class TrainingRun:
    """Network, optimiser, averaged weights and progress of one training, as [`train`] drives them."""

    def __init__(
        self,
        accelerator: Accelerator,
        network: DeepfakeForVideoClassification,
        recipe: Recipe,
        folder: Path,
        *,
        quiet: bool,
    ) -> None:
        self.accelerator, self.recipe, self.folder, self.quiet = accelerator, recipe, folder, quiet
        self.progress, self._data, self._begun_from = Progress(), "", ""
        self.processor = recipe.make_processor()
        # Convolutions on a CPU are faster where the channels of a pixel lie together.
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._initial = {n: t.cpu().clone() for n, t in network.state_dict().items()} if recipe.initial_share else {}
        # Before anything is hung onto the network: what is averaged is what is stored.
        self.average = AveragedModel(
            network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay), use_buffers=True
        )
        self._bare = network
        trained: nn.Module = network
        if recipe.feature_pairs:
            trained = FeatureClassifier(network)
        elif recipe.region_weight:
            trained = RegionClassifier(network)
        decayed = [p for p in trained.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in trained.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        self.network, self.optimizer = accelerator.prepare(trained, optimizer)
        self.schedule = schedule
        self.average.to(accelerator.device)
        accelerator.register_for_checkpointing(self.average, self.schedule)
        # Where the frame encoder stays as it is, the validation videos go through it once.
        self._known: dict[Path, torch.Tensor] | None = {} if recipe.trains == "head" else None
        self._losses: list[float] = []
        self._since, self._images = time.monotonic(), 0

    @property
    def _averaged(self) -> DeepfakeForVideoClassification:
        return cast(DeepfakeForVideoClassification, self.average.module)

    def _rate(self, step: int) -> float:
        recipe = self.recipe
        if step < recipe.warmup_steps:
            return (step + 1) / recipe.warmup_steps
        share = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    def optimize(self, batch: torch.Tensor) -> bool:
        """One batch; whether it completed a step of the optimiser."""
        self.network.train()
        if self.recipe.trains == "head":
            # What is not trained keeps its batch statistics too.
            self._bare.base_model.frame_encoder.eval()
        elif self.recipe.keeps_statistics:
            for module in self._bare.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        with self.accelerator.accumulate(self.network):
            # (pairs, 2, frames, ...) -> (clips, frames, ...)
            clips = batch.flatten(0, 1)
            labels = torch.tensor([0, 1], device=batch.device).repeat(len(batch))
            inputs = clips if self.recipe.feature_pairs else to_pixel_values(clips[..., :3], self.processor)
            maps = None
            if self.recipe.region_weight:
                logits, maps = self.network(inputs)
            else:
                logits = self.network(inputs).logits
            # An untrained configuration has no calibration, so these are the plain logits.
            loss = torch.nn.functional.cross_entropy(
                logits.float(), labels, label_smoothing=self.recipe.label_smoothing
            )
            if maps is not None:
                loss = loss + self.recipe.region_weight * region_loss(maps, clips[..., 3])
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self._images += inputs.shape[0] * inputs.shape[1]
        if not self.accelerator.sync_gradients:
            return False
        self.schedule.step()
        self.average.update_parameters(self._bare)
        self.progress.step += 1
        self._losses.append(float(loss.detach()))
        if not math.isfinite(self._losses[-1]):
            raise TrainingError(
                f"the loss of step {self.progress.step} is {self._losses[-1]}: nothing was stored after the last "
                "validation; try a lower learning_rate."
            )
        if self.progress.step % LOG_EVERY == 0:
            self._log_training()
        return True

    def _log_training(self) -> None:
        seconds = time.monotonic() - self._since
        self.progress.seconds += seconds
        record = {
            "step": self.progress.step,
            "loss": round(float(np.mean(self._losses)), 6),
            "learning_rate": self.schedule.get_last_lr()[0],
            "images_per_s": round(self._images * self.accelerator.num_processes / seconds, 1),
            "seconds": round(self.progress.seconds, 1),
        }
        self._log(record)
        self._losses, self._images, self._since = [], 0, time.monotonic()

    def _log(self, record: dict[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        with (self.folder / LOG_NAME).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        if not self.quiet:
            print("  ".join(f"{name} {value:.4g}" for name, value in record.items()), flush=True)

    def validate(self, videos: Sequence[Video]) -> None:
        """Measure the averaged weights; keep them where they are the best so far."""
        started, network = time.monotonic(), self._averaged
        judged = self._judge(videos)
        areas = [measure(probabilities, is_fake, 0.5)["auc"] for probabilities, is_fake in judged]
        # Batch statistics differ a little between processes; all must stop where the first one does.
        areas, progress = broadcast_object_list(areas), self.progress
        area = float(np.mean(areas))  # `open_data` has seen to both labels
        record = {"step": progress.step, "validation_auc": area}
        if len(areas) > 1:
            record |= {"original_auc": areas[0], "copy_auc": areas[1]}
        probabilities, is_fake = join(judged)
        clipped = np.clip(np.where(is_fake, probabilities, 1 - probabilities), 1e-6, 1)
        self._log({**record, "validation_loss": round(float(-np.log(clipped).mean()), 6)})
        progress.validations_since += 1
        if area > progress.best:
            progress.best, progress.best_step, progress.validations_since = area, progress.step, 0
            if self.accelerator.is_main_process:
                weights = {name: value.contiguous() for name, value in network.state_dict().items()}
                unfinished = self.folder / f".{BEST_NAME}"
                save_file(weights, unfinished)
                unfinished.replace(self.folder / BEST_NAME)
        self._decide()
        self._since += time.monotonic() - started

    def _decide(self) -> None:
        """Whether this recipe asks for no more steps."""
        stopped = self.progress.validations_since >= self.recipe.patience
        self.progress.finished = stopped or self.progress.step >= self.recipe.steps

    def _judge(self, videos: Sequence[Video]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Fake probabilities and labels of the videos, and of their re-encoded copies where the recipe makes some."""
        device, network = self.accelerator.device, self._averaged
        judged = [judge(network, videos, self.recipe, self.processor, device, known=self._known)]
        copied = [video for video in videos if video.crops.num_copies]
        if len({video.sample.is_fake for video in copied}) == 2:
            judged.append(judge(network, copied, self.recipe, self.processor, device, copy=VALIDATED))
        return judged

    def store(self) -> None:
        """Everything that going on needs, whole or not at all."""
        self.accelerator.wait_for_everyone()
        fresh, old = self.folder / f".{STATE_NAME}.new", self.folder / f".{STATE_NAME}.old"
        if self.accelerator.is_main_process:
            shutil.rmtree(fresh, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(fresh))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            record = {"recipe": self.recipe.to_dict(), "data": self._data, "initial": self._begun_from}
            record["progress"] = asdict(self.progress)
            write_atomically(fresh / PROGRESS_NAME, json.dumps(record).encode())
            state = self.folder / STATE_NAME
            shutil.rmtree(old, ignore_errors=True)
            if state.exists():
                state.rename(old)
            fresh.rename(state)
            shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def resume(self, data: str, initial: str) -> None:
        """
        Go on where the folder's state stands, if it holds one.

        Args:
            data: Names what is trained and validated on.
            initial: Names the weights that a training begins with today.

        Raises:
            TrainingError: If the state is of another recipe, of other data, or of other initial weights.
        """
        self._data, self._begun_from = data, initial
        state = self.folder / STATE_NAME
        if not state.exists() and (old := self.folder / f".{STATE_NAME}.old").exists():
            state = old
        if not (state / PROGRESS_NAME).is_file():
            return
        record = json.loads((state / PROGRESS_NAME).read_text(encoding="utf-8"))
        # A field that a later version added has its default in a state of before.
        stored, wanted = Recipe(**record["recipe"]).to_dict(), self.recipe.to_dict()
        changed = [name for name in wanted if stored[name] != wanted[name] and name not in CHANGEABLE]
        if changed:
            raise TrainingError(
                f"{self.folder}: holds a training by another recipe ({', '.join(changed)}); choose another folder."
            )
        if record.get("data", data) != data:
            raise TrainingError(
                f"{self.folder}: holds a training on other videos, on the same ones divided otherwise, or on crops "
                "that another version made; choose another folder."
            )
        if record.get("initial", initial) != initial:
            source = self.recipe.initial or "the seed"
            raise TrainingError(
                f"{self.folder}: holds a training that began with other weights: what {source} gives has changed; "
                "choose another folder."
            )
        self.accelerator.load_state(str(state))
        self.progress = Progress(**record["progress"])
        if self.progress.finished:
            # It may have been made longer.
            self._decide()
        self._forget_later_log()

    def _forget_later_log(self) -> None:
        """The log lines after the stored step are written again."""
        log = self.folder / LOG_NAME
        if self.accelerator.is_main_process and log.is_file():
            lines = log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= self.progress.step]
            write_atomically(log, "".join(f"{line}\n" for line in kept).encode())

    def outcome(self, videos: Sequence[Video]) -> Outcome:
        network = self._averaged
        weights = load_file(self.folder / BEST_NAME)
        for name, initial in self._initial.items():
            if initial.is_floating_point():
                weights[name] = torch.lerp(weights[name], initial, self.recipe.initial_share)
        network.load_state_dict(weights)
        probabilities, is_fake = join(self._judge(videos))
        return Outcome(network.eval().to("cpu"), self.progress, probabilities, is_fake)


def _digest(*sides: Sequence[Video]) -> str:
    """Names the videos of each side by what they hold, with their labels."""
    listed = [sorted((video.crops.path.name, video.sample.is_fake) for video in side) for side in sides]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _digest_weights(network: nn.Module) -> str:
    """Names the weights of a network, and by their names and shapes its architecture."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _begin_worker(_: int) -> None:
    # The parent decides what an interrupt means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of a training's log."""
    for line in (folder / LOG_NAME).read_text(encoding="utf-8").splitlines():
        yield json.loads(line)
