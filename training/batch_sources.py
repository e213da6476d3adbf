# SPDX-License-Identifier: Apache-2.0
"""Sources of training batches: a data loader, or anything else that can start at a given step."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, Subset

from ..common.processors import helper_processes
from .batches import TrainingPairs
from .device_pairs import DevicePairs, PackedPairs, pack_pairs
from .pair_plans import PairPlan
from .recipe import Recipe


CPU_WORKERS, MAX_WORKERS = 2, 16


class BatchSource(Protocol):
    """The batches of a training run. A batch depends only on its index, so that a run can be resumed."""

    def batches(self, first_step: int) -> Iterator[torch.Tensor]:
        """
        Iterate over the batches from an optimiser step on.

        Args:
            first_step: Number of optimiser steps, of `recipe.accumulation` batches each, that are skipped.

        Returns:
            Batches on the device of the network, in the layout that `inputs` of the training mode reads: clips
            (pairs, 2, T, H, W, 3 or 4) or features (pairs, 2, T, num_features), the real one of each pair first. Each
            process receives its share of the pairs.
        """
        ...


@dataclass(frozen=True)
class LoaderBatches:
    """
    Batches of a data set of pairs, drawn by the worker processes of a `DataLoader`.

    Args:
        pairs: Data set of `recipe.num_pairs` pairs, in their order.
        recipe: Recipe of the training.
        accelerator: Divides the batches among processes and moves them to the device.
        workers: Worker processes; 0 draws the pairs in this process.
    """

    pairs: Dataset[torch.Tensor]
    recipe: Recipe
    accelerator: Accelerator
    workers: int

    def batches(self, first_step: int) -> Iterator[torch.Tensor]:
        """Iterate over the batches from an optimiser step on, see [`BatchSource.batches`]."""
        first_pair = first_step * self.recipe.batch_pairs * self.recipe.accumulation
        loader = self.accelerator.prepare(
            DataLoader(
                Subset(self.pairs, range(first_pair, self.recipe.num_pairs)),
                self.recipe.batch_pairs // self.accelerator.num_processes,
                num_workers=self.workers,
                pin_memory=self.accelerator.device.type == "cuda",
                worker_init_fn=_start_worker,
                persistent_workers=False,
                # A loader draws from torch's generator when it starts; with a generator of its own, a resumed training
                # draws the same dropout as an unbroken one.
                generator=torch.Generator(),
            )
        )
        return iter(loader)


@dataclass(frozen=True)
class DeviceBatches:
    """
    Batches whose pixels are computed on the device of the network.

    Worker processes read the crops and draw the plans. While the network learns a batch, a thread computes the next
    one, on a GPU in a stream of its own.

    Args:
        pairs: Pairs of the training run.
        recipe: Recipe of the training.
        accelerator: Gives the device and the share of this process.
        workers: Worker processes; 0 draws the plans in the thread.
    """

    pairs: TrainingPairs
    recipe: Recipe
    accelerator: Accelerator
    workers: int

    def batches(self, first_step: int) -> Iterator[torch.Tensor]:
        """Iterate over the batches from an optimiser step on, see [`BatchSource.batches`]."""
        device, size = self.accelerator.device, self.pairs.image_size
        is_cuda = device.type == "cuda"
        # Not prepared by accelerate, which ends an accumulation when its loader ends: this one is read ahead of the
        # network.
        loader: DataLoader[Any] = DataLoader(
            _Plans(self.pairs),
            batch_sampler=self._shares(first_step),
            num_workers=self.workers,
            collate_fn=partial(pack_pairs, size=size),
            pin_memory=is_cuda,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),
        )
        stream = torch.cuda.Stream(device) if is_cuda else None
        packed = iter(loader)
        with (
            ThreadPoolExecutor(helper_processes(MAX_WORKERS)) as encoders,
            ThreadPoolExecutor(1, "device-pairs") as thread,
        ):
            compute = partial(_compute_next, packed, DevicePairs(size, device, encoders), stream)
            following = thread.submit(compute)
            while (batch := following.result()) is not None:
                following = thread.submit(compute)
                if stream is not None:
                    # The memory is not reused before the network has read it.
                    batch.record_stream(torch.cuda.current_stream(device))
                yield batch

    def _shares(self, first_step: int) -> list[list[int]]:
        """The pairs of this process in each batch, as accelerate divides them."""
        whole, share = self.recipe.batch_pairs, self.recipe.batch_pairs // self.accelerator.num_processes
        first, own = first_step * whole * self.recipe.accumulation, self.accelerator.process_index * share
        starts = range(first + own, self.recipe.num_pairs, whole)
        return [list(range(start, start + share)) for start in starts]


class _Plans(Dataset[PairPlan]):
    """The plans of pairs."""

    def __init__(self, pairs: TrainingPairs) -> None:
        self._pairs = pairs

    def __getitem__(self, index: int) -> PairPlan:
        return self._pairs.plan(index)


def _compute_next(
    packed: Iterator[PackedPairs], pairs: DevicePairs, stream: torch.cuda.Stream | None
) -> torch.Tensor | None:
    """The next batch, computed in a stream; `None` after the last one."""
    plans = next(packed, None)
    if plans is None:
        return None
    with nullcontext() if stream is None else torch.cuda.stream(stream):
        batch = pairs.compute(plans)
        if stream is not None:
            stream.synchronize()
    return batch


def choose_workers(device_type: str) -> int:
    """
    Choose the number of processes that draw pairs for one training process.

    On a GPU, the network is faster than the processes that draw its pairs, so every core but one draws, up to 16. On a
    CPU, the network needs the cores, and two processes draw faster than it learns.

    Args:
        device_type: Type of the device of the network, such as "cuda".
    """
    return CPU_WORKERS if device_type == "cpu" else helper_processes(MAX_WORKERS)


def _start_worker(_: int) -> None:
    # The main process handles an interrupt.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
