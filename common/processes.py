# SPDX-License-Identifier: Apache-2.0
"""Several processes: those of `accelerate launch` or `torchrun`, and worker processes."""

import atexit
import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from .interrupts import deferred, unfinished


T = TypeVar("T")
# Long timeout, because one process may still scan a film or crop a data set when the others have finished.
_LONGEST_WAIT = timedelta(days=7)
_NEVER_BEGUN = (
    "the worker processes ended before they began. If a script starts them, it probably lacks the line "
    '`if __name__ == "__main__":` before its calls: each worker imports the script again. Otherwise the memory may be '
    "full; try again with fewer workers (--workers)."
)


class ProcessGroup:
    """
    The group of processes of a scan, evaluation or training; usually a single one.

    A group lasts until its program ends: torch cannot reliably form a second one, so all runs of a program share it.

    Args:
        device: Device as given by the user; "cpu" forms a CPU group even if there are GPUs.

    Attributes:
        rank: Index of this process, from 0.
        size: Number of processes.
        device: Device for the networks of this process, if the group determines it.
    """

    def __init__(self, device: str = "auto") -> None:
        self.rank, self.size = 0, 1
        self.device: str | None = None
        self._state: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            import torch
            from accelerate import PartialState

            # accelerate forms a group on the CPU only on request; otherwise each process assumes that it is the only
            # one.
            on_cpu = device == "cpu" or not torch.cuda.is_available()
            self._state = PartialState(cpu=on_cpu, timeout=_LONGEST_WAIT)
            # Otherwise torch gives a warning.
            atexit.register(self._state.destroy_process_group)
            self.rank, self.size = self._state.process_index, self._state.num_processes
            self.device = str(self._state.device)

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, which prints and writes the common output."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Return the items that this process works on."""
        return list(items[self.rank :: self.size])

    def wait(self) -> None:
        """Wait until every process has called this method."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def main_process_first(self) -> AbstractContextManager[Any]:
        """Let the first process run the block before the others, which can use the files it wrote."""
        return nullcontext() if self._state is None else self._state.main_process_first()

    def gather(self, items: list[T]) -> list[T]:
        """Collect the items of all processes."""
        if self._state is None:
            return items
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(items)
        return gathered


def start_resource_tracker() -> None:
    """
    Start the resource tracker of `multiprocessing`, if the system has one.

    Starting it unblocks interrupts, so call this before entering [`deferred`], in which workers are started.
    """
    if os.name == "posix":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()


class NeverBegunError(BrokenProcessPool):
    """All processes of a pool ended before any of them began, as when a script lacks the guard that they need."""


class _DeafPool(ProcessPoolExecutor):
    """A pool whose processes, which `submit` starts, never receive interrupts."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        with deferred():
            return super().submit(fn, *args, **kwargs)

    def end(self) -> None:
        """End the processes of this pool immediately, and no other child of this process, as `shutdown` cannot."""
        # `shutdown` forgets them. Python 3.14 has `terminate_workers` for this.
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


@contextmanager
def worker_pool(
    num_workers: int, context: Any, initializer: Callable[..., object] | None = None, arguments: Sequence[Any] = ()
) -> Iterator[ProcessPoolExecutor]:
    """
    Create worker processes that end with the block, immediately if an error or an interrupt ends it, and with this
    process, for whatever reason it ends.

    Args:
        num_workers: Number of processes.
        context: A context of `multiprocessing`.
        initializer: Called in each process as it starts.
        arguments: Arguments of the initializer.

    Raises:
        NeverBegunError: If the block raises a `BrokenProcessPool`, and no process had begun.
    """
    start_resource_tracker()
    has_begun = context.Event()
    with unfinished(), _DeafPool(num_workers, context, _begin, (has_begun, initializer, *arguments)) as pool:
        try:
            yield pool
        except BaseException as error:
            pool.end()
            if isinstance(error, BrokenProcessPool) and not has_begun.is_set():
                raise NeverBegunError(_NEVER_BEGUN) from error
            raise


def _begin(has_begun: Any, initializer: Callable[..., object] | None, *arguments: Any) -> None:
    has_begun.set()
    parent = multiprocessing.parent_process()
    if parent is not None:
        # If the parent is killed, nothing else ends a process that waits for work.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def sending_process(context: Any, items: Iterable[Any]) -> Iterator[Connection]:
    """
    Create a process that iterates over `items` and sends each of them; it ends with the block.

    A process that dies, even while it sends an item, closes the connection. In a queue that several processes share,
    the rest of such an item would be awaited for ever.

    Args:
        context: A context of `multiprocessing`.
        items: The items; they and the iterable can be pickled.

    Yields:
        The connection. Its `recv` raises `EOFError` or `OSError` when the process has ended.
    """
    start_resource_tracker()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_all, args=(sender, items), daemon=True)
    with deferred():
        # The process never receives interrupts.
        process.start()
    # The copy of the process remains, which is closed when it ends.
    sender.close()
    try:
        yield receiver
    finally:
        receiver.close()
        process.terminate()
        process.join()


def _send_all(connection: Connection, items: Iterable[Any]) -> None:
    # If the parent has ended, sending fails, which ends this process, too.
    with contextlib.suppress(BrokenPipeError):
        for item in items:
            connection.send(item)


def spawned_pool(
    num_workers: int, initializer: Callable[..., object], arguments: Sequence[Any] = ()
) -> AbstractContextManager[ProcessPoolExecutor]:
    """Worker processes that begin with `initializer(*arguments)`, see [`worker_pool`]."""
    # A forked child can hang if its parent has used torch's threads.
    return worker_pool(num_workers, multiprocessing.get_context("spawn"), initializer, arguments)
