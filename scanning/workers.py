# SPDX-License-Identifier: Apache-2.0
"""Score videos in worker processes, and survive a video that kills its worker."""

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from ..common.errors import WorkError
from ..common.processes import worker_pool
from ..common.threads import limit_threads, wanted_threads
from .clip_reading import as_video_error
from .detector import Detector
from .evidence import Examination
from .plan import ScanPlan
from .results import VideoResult
from .settings import ScanSettings


class WorkerError(WorkError):
    """Worker processes exit before they read any video; the message says what to do."""

    reason = "worker"


def examine_in_workers(plan: ScanPlan, detector: Detector, paths: Sequence[str]) -> Iterator[Examination]:
    """
    Score videos in several processes and yield each one when it is done.

    If a worker dies, the videos that were being scored are scored again, each in a separate process. A video whose
    process dies gets the status "unreadable".

    Args:
        plan: The plan of the scan.
        detector: The loaded models. The workers load them again.
        paths: The videos.

    Raises:
        WorkerError: If no worker process can be started.
    """
    plan = replace(plan, workers=min(plan.workers or 1, len(paths)))
    waiting = deque(paths)
    while waiting:
        suspects: list[str] = []
        yield from _examine_together(plan, detector, waiting, suspects)
        for path in suspects:
            yield _examine_apart(plan, detector, path)


def _examine_together(
    plan: ScanPlan, detector: Detector, waiting: deque[str], suspects: list[str]
) -> Iterator[Examination]:
    """Take videos from `waiting` until a worker dies; those being scored, including the cause, go to `suspects`."""
    running: dict[Future[Examination], str] = {}
    num_workers = min(plan.workers or 1, len(waiting))
    try:
        with _pool(plan, detector, num_workers) as pool:
            while waiting or running:
                while waiting and len(running) < num_workers:
                    running[pool.submit(examine_in_worker, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    examination = future.result()
                    del running[future]
                    yield examination
    except BrokenProcessPool:
        suspects += running.values()


def _examine_apart(plan: ScanPlan, detector: Detector, path: str) -> Examination:
    """Score one video in a process of its own, which may die of it."""
    is_ready = False
    try:
        with _pool(plan, detector, 1) as pool:
            is_ready = pool.submit(bool, True).result()
            return pool.submit(examine_in_worker, path).result()
    except BrokenProcessPool as error:
        if not is_ready:
            raise WorkerError(
                "a worker process ended abruptly, possibly out of memory; try again with fewer --workers."
            ) from error
        return Examination(result=detector.refuse(path, as_video_error(path, error)))


def _pool(
    plan: ScanPlan, detector: Detector, num_workers: int
) -> contextlib.AbstractContextManager[ProcessPoolExecutor]:
    settings = detector.settings.for_processes(plan.workers or 1)
    arguments = (plan.model_names, detector.device, settings, plan.needs_pictures)
    return spawned_pool(num_workers, begin_worker, arguments)


def spawned_pool(
    num_workers: int, initializer: Callable[..., object], arguments: Sequence[Any]
) -> contextlib.AbstractContextManager[ProcessPoolExecutor]:
    """Worker processes that begin with `initializer(*arguments)`, see [`worker_pool`]."""
    # A forked child can hang if its parent has used torch's threads.
    return worker_pool(num_workers, multiprocessing.get_context("spawn"), initializer, arguments)


_worker: tuple[Detector, bool] | None = None


def begin_worker(models: Sequence[str], device: str, settings: ScanSettings, with_evidence: bool) -> None:
    """Load the models in a worker process. The arguments are those of [`Detector`], and whether to draw pictures."""
    global _worker
    # The parent handles interrupts; where signals cannot be blocked, they are ignored from here on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(wanted_threads())
    _worker = (Detector(models, device=device, settings=settings), with_evidence)


def examine_in_worker(path: str) -> Examination:
    """Score one video in a worker process."""
    detector, with_evidence = _begun()
    return detector.examine(path, with_evidence=with_evidence)


def refuse_in_worker(path: str) -> VideoResult:
    """The result of a video that killed its worker process, made in another one."""
    return _begun()[0].refuse(path, as_video_error(path, BrokenProcessPool()))


def _begun() -> tuple[Detector, bool]:
    if _worker is None:
        raise WorkerError("a worker process was not initialised.")
    return _worker
