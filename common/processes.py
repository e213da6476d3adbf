# SPDX-License-Identifier: Apache-2.0
"""Work by several processes: those of `accelerate launch` or `torchrun`, and workers that this one starts."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

from .interrupts import deferred, unfinished


T = TypeVar("T")
# One process may still scan a film, or cut the faces out of a data set, when the others are done.
_LONGEST_WAIT = timedelta(days=7)


class ProcessGroup:
    """
    The processes of this scan or training; nearly always this one alone.

    Args:
        device: As typed; "cpu" forms a group of CPUs where there are GPUs too.

    Attributes:
        rank: Which of them this is, from 0.
        size: How many there are.
        device: Where this one's networks run, if the group says so.
    """

    def __init__(self, device: str = "auto") -> None:
        self.rank, self.size = 0, 1
        self.device: str | None = None
        self._state: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            import torch
            from accelerate import PartialState

            # accelerate forms a group on the CPU only if told so; else each process takes itself for the only one.
            on_cpu = device == "cpu" or not torch.cuda.is_available()
            self._state = PartialState(cpu=on_cpu, timeout=_LONGEST_WAIT)
            self.rank, self.size = self._state.process_index, self._state.num_processes
            self.device = str(self._state.device)

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes what belongs to all."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """What this process does of it."""
        return list(items[self.rank :: self.size])

    def wait(self) -> None:
        """Until every process is here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def first_alone(self) -> AbstractContextManager[Any]:
        """The first process passes before the others, who find what it left on disk."""
        return nullcontext() if self._state is None else self._state.main_process_first()

    def gather(self, items: list[T]) -> list[T]:
        """Everyone's items."""
        if self._state is None:
            return items
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(items)
        return gathered

    def close(self) -> None:
        """Leave the group; torch warns otherwise."""
        if self._state is not None:
            self._state.destroy_process_group()


def start_tracker() -> None:
    """
    Start the process in which `multiprocessing` keeps track of shared resources, where the system has one.

    Its start lifts a block of interrupts, so it must not happen within [`deferred`], in which workers start.
    """
    if os.name == "posix":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()


class _DeafPool(ProcessPoolExecutor):
    """A pool whose processes, which `submit` starts, never see an interrupt."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        with deferred():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def worker_pool(
    num_workers: int, context: Any, initializer: Callable[..., object] | None = None, arguments: Sequence[Any] = ()
) -> Iterator[ProcessPoolExecutor]:
    """
    Worker processes that end with the block; where an error or an interrupt ends it, at once.

    Args:
        num_workers: Number of processes.
        context: A context of `multiprocessing`.
        initializer: Called in each process as it starts.
        arguments: Arguments of the initializer.
    """
    start_tracker()
    with unfinished(), _DeafPool(num_workers, context, initializer, tuple(arguments)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
