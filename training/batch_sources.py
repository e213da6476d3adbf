# SPDX-License-Identifier: Apache-2.0
"""Sources of training batches: a data loader, or anything else that can start at a given step."""

import signal
from collections.abc import Iterator
from typing import Protocol

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, Subset

from ..common.processors import helper_processes
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


class LoaderBatches:
    """
    Batches of a data set of pairs, drawn by the worker processes of a `DataLoader`.

    Args:
        pairs: Data set of `recipe.num_pairs` pairs, in their order.
        recipe: Recipe of the training.
        accelerator: Divides the batches among processes and moves them to the device.
        workers: Worker processes; 0 draws the pairs in this process, `None` chooses by the number of cores.
    """

    def __init__(
        self, pairs: Dataset[torch.Tensor], recipe: Recipe, accelerator: Accelerator, *, workers: int | None
    ) -> None:
        self._pairs, self._recipe, self._accelerator = pairs, recipe, accelerator
        self._workers = choose_workers(accelerator.device.type) if workers is None else workers

    def batches(self, first_step: int) -> Iterator[torch.Tensor]:
        """Iterate over the batches from an optimiser step on, see [`BatchSource.batches`]."""
        first_pair = first_step * self._recipe.batch_pairs * self._recipe.accumulation
        loader = self._accelerator.prepare(
            DataLoader(
                Subset(self._pairs, range(first_pair, self._recipe.num_pairs)),
                self._recipe.batch_pairs // self._accelerator.num_processes,
                num_workers=self._workers,
                pin_memory=self._accelerator.device.type == "cuda",
                worker_init_fn=_start_worker,
                persistent_workers=False,
                # A loader draws from torch's generator when it starts; with a generator of its own, a resumed training
                # draws the same dropout as an unbroken one.
                generator=torch.Generator(),
            )
        )
        return iter(loader)


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
