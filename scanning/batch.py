# SPDX-License-Identifier: Apache-2.0
"""Many videos: one after the other or in several worker processes, kept in a folder when asked for."""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..common.processes import ProcessGroup, worker_pool
from ..video_errors import VideoError, VideoLimits, is_url
from ..video_opening import open_video_file
from .evidence import Examination
from .results import ModelIdentity, VideoResult
from .settings import ScanSettings
from .store import ResultStore


if TYPE_CHECKING:
    from .detector import Detector


class WorkerError(ValueError):
    """Worker processes die before they look at any video; the sentence says what to do."""

    reason = "worker"


@dataclass(frozen=True, kw_only=True)
class ScanPlan:
    """
    What is to be done.

    Attributes:
        paths: Files or http(s) addresses, each once.
        models: Folders or Hub ids; none takes the packaged checkpoint.
        device: "cpu", "cuda", "mps" or "auto".
        settings: The choices of the scan.
        with_evidence: Whether pictures are made.
        workers: Processes that scan; each has the models loaded.
        output: Folder that keeps the results, so that a scan can be killed and started again.
    """

    paths: Sequence[str]
    models: Sequence[str] = ()
    device: str = "auto"
    settings: ScanSettings = field(default_factory=ScanSettings)
    with_evidence: bool = False
    workers: int = 1
    output: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= 256:
            raise ValueError(f"the number of workers must lie between 1 and 256, got {self.workers}.")


def scan_many(
    plan: ScanPlan,
    *,
    group: ProcessGroup | None = None,
    on_progress: Callable[[float], None] = lambda second: None,
) -> Iterator[Examination]:
    """
    The result of each video as it is done; with `output`, those of an earlier run first.

    Where no video can be opened at all, no model is loaded: that takes seconds.

    Args:
        plan: What is to be done.
        group: Shares the videos among processes; each yields its own.
        on_progress: Called with the second that the timeline of the video in hand has come to; not with workers.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        OutputError: If the folder cannot be written to.
        WorkerError: If not even a single worker process can be made ready.
        ValueError: If the device does not exist here.
    """
    group = group or ProcessGroup()
    paths = list(dict.fromkeys(plan.paths))
    if plan.output is None and (refused := _refuse_all(plan, paths)):
        yield from group.share(refused)
        return
    from .detector import Detector

    device = group.device if group.device and plan.device == "auto" else plan.device
    detector = Detector(plan.models, device=device, settings=plan.settings)
    if plan.output is None:
        yield from _examine_all(plan, detector, group.share(paths), on_progress)
        return
    with ResultStore(
        plan.output, function=detector.describe(), needs_pictures=plan.with_evidence, rank=group.rank
    ) as store:
        kept = store.begin(paths, group.wait)
        share = group.share(paths)
        for path in share:
            if path in kept:
                yield Examination(
                    result=kept[path], evidence=store.pictures(kept[path]) if plan.with_evidence else None
                )
        for examination in _examine_all(plan, detector, [path for path in share if path not in kept], on_progress):
            store.add(examination.result, examination.evidence)
            yield examination
        store.finish(paths, group.wait)


def _examine_all(
    plan: ScanPlan, detector: "Detector", paths: Sequence[str], on_progress: Callable[[float], None]
) -> Iterator[Examination]:
    if plan.workers == 1 or len(paths) < 2:
        for path in paths:
            yield detector.examine(path, with_evidence=plan.with_evidence, on_progress=on_progress)
        return
    plan = replace(plan, workers=min(plan.workers, len(paths)))
    waiting = deque(paths)
    while waiting:
        suspects: list[str] = []
        yield from _examine_together(plan, detector, waiting, suspects)
        for path in suspects:
            yield _examine_apart(plan, detector, path)


def _examine_together(
    plan: ScanPlan, detector: "Detector", waiting: deque[str], suspects: list[str]
) -> Iterator[Examination]:
    """Takes videos from `waiting` until a worker dies; those in hand, one of which may be why, become `suspects`."""
    in_hand: dict[Future[Examination], str] = {}
    num_workers = min(plan.workers, len(waiting))
    try:
        with _pool(plan, detector, num_workers) as pool:
            while waiting or in_hand:
                while waiting and len(in_hand) < num_workers:
                    in_hand[pool.submit(_examine_in_worker, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(in_hand, return_when=FIRST_COMPLETED).done:
                    examination = future.result()
                    del in_hand[future]
                    yield examination
    except BrokenProcessPool:
        suspects += in_hand.values()


def _examine_apart(plan: ScanPlan, detector: "Detector", path: str) -> Examination:
    """One video in a process of its own, which may die of it."""
    is_ready = False
    try:
        with _pool(plan, detector, 1) as pool:
            is_ready = pool.submit(bool, True).result()
            return pool.submit(_examine_in_worker, path).result()
    except BrokenProcessPool as error:
        if not is_ready:
            raise WorkerError(
                "a worker process ended abruptly, perhaps for want of memory; try again with fewer --workers."
            ) from error
        from .reading import as_video_error

        return Examination(result=detector.refuse(path, as_video_error(path, error)))


def _pool(
    plan: ScanPlan, detector: "Detector", num_workers: int
) -> contextlib.AbstractContextManager[ProcessPoolExecutor]:
    # Forking a process that has used torch's threads can hang its child.
    context = multiprocessing.get_context("spawn")
    arguments = (list(plan.models), detector.device, plan.settings, plan.with_evidence, plan.workers)
    return worker_pool(num_workers, context, _begin_worker, arguments)


_worker: "tuple[Detector, bool] | None" = None


def _begin_worker(
    models: Sequence[str], device: str, settings: ScanSettings, with_evidence: bool, num_workers: int
) -> None:
    global _worker
    # The parent decides what an interrupt means; where signals cannot be blocked, it is ignored from here on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from .detector import Detector

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_workers))
    _worker = (Detector(models, device=device, settings=settings), with_evidence)


def _examine_in_worker(path: str) -> Examination:
    if _worker is None:
        raise WorkerError("a worker process was not made ready.")
    detector, with_evidence = _worker
    return detector.examine(path, with_evidence=with_evidence)


def _refuse_all(plan: ScanPlan, paths: Sequence[str]) -> list[Examination]:
    """A result for each video if not a single one can be opened, otherwise none."""
    refused = []
    for path in paths:
        error = _why_unreadable(path, plan.settings)
        if error is None:
            return []
        result = VideoResult(
            path=path,
            status=error.reason,
            threshold=plan.settings.threshold,
            message=str(error),
            settings=plan.settings.to_dict(),
            model=ModelIdentity(id=" + ".join(plan.models) or "default"),
        )
        refused.append(Examination(result=result))
    return refused


def _why_unreadable(path: str, settings: ScanSettings) -> VideoError | None:
    """The error that opening a local file meets before any decoder sees it."""
    if is_url(path):
        return None
    try:
        open_video_file(path, limits=settings.limits or VideoLimits.from_environment()).close()
    except VideoError as error:
        return error
    return None
