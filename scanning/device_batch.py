# SPDX-License-Identifier: Apache-2.0
"""
Score many videos with models on a GPU: worker processes read, and this process scores what they have read.

Workers decode, search for faces and crop, for which they load neither torch nor the models; the crops of all videos
that are ready pass the networks together. A worker that dies of a video takes no other video with it.
"""

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

from ..clip_sampling import ClipSampler
from ..common.errors import WorkError
from ..common.threads import limit_threads, wanted_threads
from ..video_decoding import VideoError, VideoReader
from .clip_reading import ReadVideo, as_video_error, read_open_video
from .detector import Detector, reading_provenance
from .evidence import Examination
from .preprocessing import Preprocessing, UnsupportedChoiceError
from .provenance import Provenance
from .results import VideoResult
from .settings import ScanSettings
from .workers import WorkerError, spawned_pool


# Videos that wait or are read for each worker, so that none is idle while this process scores.
_VIDEOS_PER_WORKER = 2


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A video as a worker returns it: its clips, or the reason why there are none."""

    path: str
    video: ReadVideo | None = None
    error: VideoError | None = None
    warnings: Sequence[str] = ()
    known: dict[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None


def examine_on_device(detector: Detector, paths: Sequence[str], num_workers: int) -> Iterator[Examination]:
    """
    Score videos without timelines, and yield each one when it is done.

    Args:
        detector: The loaded models.
        paths: The videos.
        num_workers: Number of processes that read.

    Raises:
        WorkerError: If not even a single worker process can be started.
    """
    waiting = deque(paths)
    while waiting:
        suspects: list[str] = []
        yield from _examine_together(detector, waiting, suspects, num_workers)
        for path in suspects:
            yield from _score(detector, [_read_apart(detector, path)])


def _examine_together(
    detector: Detector, waiting: deque[str], suspects: list[str], num_workers: int
) -> Iterator[Examination]:
    """Take videos from `waiting` until a worker dies; those being read, including the cause, go to `suspects`."""
    running: dict[Future[_Read], str] = {}
    num_workers = min(num_workers, len(waiting))
    try:
        with spawned_pool(num_workers, begin_reading, _worker_arguments(detector, num_workers)) as pool:
            while waiting or running:
                while waiting and len(running) < _VIDEOS_PER_WORKER * num_workers:
                    running[pool.submit(read_in_worker, waiting[0])] = waiting[0]
                    waiting.popleft()
                read = []
                # While the networks are busy, more videos become ready for the next passes.
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    read.append(future.result())
                    del running[future]
                yield from _score(detector, read)
    except BrokenProcessPool:
        suspects += running.values()


def _read_apart(detector: Detector, path: str) -> _Read:
    """Read one video in a process of its own, which may die of it."""
    is_ready = False
    try:
        with spawned_pool(1, begin_reading, _worker_arguments(detector, 1)) as pool:
            is_ready = pool.submit(bool, True).result()
            return pool.submit(read_in_worker, path).result()
    except BrokenProcessPool as error:
        if not is_ready:
            raise WorkerError(
                "a worker process ended abruptly, possibly out of memory; try again with fewer --workers."
            ) from error
        return _Read(path=path, error=as_video_error(path, error))


def _score(detector: Detector, read: Sequence[_Read]) -> Iterator[Examination]:
    videos = [one.video for one in read if one.video is not None]
    try:
        results = iter(detector.score_together(videos))
    except ValueError:
        # One of them fails, which must not fail the others.
        results = iter([_score_alone(detector, video) for video in videos])
    for one in read:
        if one.error is None:
            result = next(results)
        else:
            result = replace(detector.refuse(one.path, one.error, one.warnings), **one.known)
        yield Examination(result=replace(result, provenance=one.provenance))


def _score_alone(detector: Detector, video: ReadVideo) -> VideoResult:
    try:
        return detector.score_clips(video)
    except ValueError as error:
        return detector.refuse(video.path, as_video_error(video.path, error))


def _worker_arguments(detector: Detector, num_workers: int) -> tuple[list[ClipSampler], ScanSettings]:
    samplers: list[ClipSampler] = []
    for model in detector.models:
        try:
            # The same pictures as those of the processor, which would bring torch into each worker.
            samplers.append(Preprocessing.from_choices(model.description.preprocessing))
        except UnsupportedChoiceError:
            samplers.append(model.processor)
    return samplers, detector.settings.for_processes(num_workers)


_worker: tuple[Sequence[ClipSampler], ScanSettings] | None = None


def begin_reading(processors: Sequence[ClipSampler], settings: ScanSettings) -> None:
    """Prepare a worker process: the preprocessing of each model, and the settings of the scan."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(wanted_threads())
    _worker = (processors, settings)


def read_in_worker(path: str) -> _Read:
    """Read one video in a worker process."""
    if _worker is None:
        raise WorkError("a worker process was not initialised.")
    processors, settings = _worker
    try:
        with VideoReader(path, limits=settings.limits) as reader, reading_provenance(path) as provenance:
            try:
                video = read_open_video(path, reader, processors, settings)
            except VideoError as error:
                known: dict[str, Any] = {"duration_s": reader.duration_s, "sha256": reader.sha256()}
                return _Read(path=path, error=error, warnings=reader.warnings, known=known, provenance=provenance())
            return _Read(path=path, video=video, provenance=provenance())
    except ValueError as error:
        return _Read(path=path, error=as_video_error(path, error))


__all__ = ["examine_on_device"]
