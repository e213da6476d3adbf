# SPDX-License-Identifier: Apache-2.0
"""Run a task for each video in worker processes, and survive a video that kills its worker."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..common.errors import WorkError
from ..common.processes import NeverBegunError


T = TypeVar("T")


class WorkerError(WorkError):
    """Worker processes exit before they read any video; the message says what to do."""

    reason = "worker"


@dataclass(frozen=True, kw_only=True)
class Supervisor(Generic[T]):
    """
    Runs a task for each video in worker processes.

    If a worker dies, the tasks that were running are run again, each in a separate process. A task whose process dies
    then too has failed.

    Attributes:
        task: Called in a worker with the path of a video.
        start: Makes the pool of a number of workers.
        failed: Makes the result of a video whose process died, from its path and the error.
        ahead: Tasks that wait or run for each worker.
    """

    task: Callable[[str], T]
    start: Callable[[int], AbstractContextManager[Executor]]
    failed: Callable[[str, BrokenProcessPool], T]
    ahead: int = 1

    def run(self, paths: Sequence[str], num_workers: int) -> Iterator[list[T]]:
        """
        Yield results as they are done, those that are done at the same time together.

        Args:
            paths: The videos.
            num_workers: Number of worker processes.

        Raises:
            WorkerError: If not even a single worker process can be started.
        """
        waiting = deque(paths)
        while waiting:
            suspects: list[str] = []
            yield from self._run_together(waiting, suspects, num_workers)
            for path in suspects:
                yield [self._run_apart(path)]

    def _run_together(self, waiting: deque[str], suspects: list[str], num_workers: int) -> Iterator[list[T]]:
        """Take videos from `waiting` until a worker dies; those that were running then go to `suspects`."""
        running: dict[Future[T], str] = {}
        num_workers = min(num_workers, len(waiting))
        try:
            with self.start(num_workers) as pool:
                while waiting or running:
                    while waiting and len(running) < self.ahead * num_workers:
                        running[pool.submit(self.task, waiting[0])] = waiting[0]
                        waiting.popleft()
                    done = wait(running, return_when=FIRST_COMPLETED).done
                    # A worker may have died after others had finished.
                    finished = [future for future in done if not isinstance(future.exception(), BrokenProcessPool)]
                    for future in finished:
                        del running[future]
                    if finished:
                        yield [future.result() for future in finished]
                    for future in done.difference(finished):
                        future.result()
        except BrokenProcessPool:
            suspects += running.values()

    def _run_apart(self, path: str) -> T:
        """Run the task of one video in a process of its own, which may die of it."""
        is_ready = False
        try:
            with self.start(1) as pool:
                is_ready = pool.submit(bool, True).result()
                return pool.submit(self.task, path).result()
        except BrokenProcessPool as error:
            if isinstance(error, NeverBegunError):
                raise WorkerError(str(error)) from error
            if not is_ready:
                raise WorkerError(
                    "a worker process ended abruptly, possibly out of memory; try again with fewer --workers."
                ) from error
            return self.failed(path, error)
