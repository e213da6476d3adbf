# SPDX-License-Identifier: Apache-2.0
"""Score videos in worker processes, and survive a video that kills its worker."""

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from ..common.processes import spawned_pool
from ..common.threads import limit_threads, wanted_threads
from .clip_reading import as_video_error
from .detector import Detector
from .evidence import Examination
from .plan import ScanPlan
from .results import VideoResult
from .settings import ScanSettings
from .supervision import Supervisor, WorkerError


def examine_in_workers(plan: ScanPlan, detector: Detector, paths: Sequence[str]) -> Iterator[Examination]:
    """
    Score videos in several processes and yield each one when it is done.

    A video whose process dies gets the status "unreadable", see [`Supervisor`].

    Args:
        plan: The plan of the scan.
        detector: The loaded models. The workers load them again.
        paths: The videos.

    Raises:
        WorkerError: If no worker process can be started.
    """
    num_workers = min(plan.workers or 1, len(paths))
    settings = detector.settings.for_processes(num_workers)
    arguments = (plan.model_names, detector.device, settings, plan.needs_pictures)
    supervisor = Supervisor(
        task=examine_in_worker,
        start=lambda number: spawned_pool(number, begin_worker, arguments),
        failed=lambda path, error: Examination(result=detector.refuse(path, as_video_error(path, error))),
    )
    for examinations in supervisor.run(paths, num_workers):
        yield from examinations


def begin_process() -> None:
    """Prepare a worker process: its threads are limited, and its parent handles interrupts."""
    # Where signals cannot be blocked, they are ignored from here on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(wanted_threads())


_worker: tuple[Detector, bool] | None = None


def begin_worker(models: Sequence[str], device: str, settings: ScanSettings, with_evidence: bool) -> None:
    """Load the models in a worker process. The arguments are those of [`Detector`], and whether to draw pictures."""
    global _worker
    begin_process()
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
