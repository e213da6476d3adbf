# SPDX-License-Identifier: Apache-2.0
"""
Score many videos with models on a GPU: worker processes read, and this process scores what they have read.

Workers decode, search for faces and crop, for which they load neither torch nor the models; the crops of all videos
that are ready pass the networks together. A worker that dies of a video takes no other video with it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from ..clip_sampling import ClipSampler
from ..common.errors import WorkError
from ..common.processes import spawned_pool
from ..video_errors import VideoError
from .clip_reading import VIDEO_FAILURES, ReadVideo, as_video_error, read_open_video
from .detector import Detector
from .evidence import Examination
from .media import known_of, open_media, photo_error
from .not_judged import find_not_judged
from .preprocessing import Preprocessing, UnsupportedChoiceError
from .provenance import reading_provenance
from .results import NotJudged, VideoResult
from .settings import ScanSettings
from .supervision import Supervisor
from .verdict import add_not_judged
from .workers import begin_process


# Videos that wait or are read for each worker, so that none is idle while this process scores.
_VIDEOS_PER_WORKER = 2


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A video as a worker returns it: its clips, or the reason why there are none."""

    path: str
    video: ReadVideo | None = None
    not_judged: Sequence[NotJudged] = ()
    error: VideoError | None = None
    warnings: Sequence[str] = ()
    known: dict[str, Any] = field(default_factory=dict)


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
    samplers = _samplers(detector)

    def start(number: int) -> AbstractContextManager[ProcessPoolExecutor]:
        settings = detector.settings.for_processes(number)
        return spawned_pool(number, begin_reading, (samplers, settings, detector.judges_sequences))

    supervisor = Supervisor(
        task=read_in_worker,
        start=start,
        failed=lambda path, error: _Read(path=path, error=as_video_error(path, error)),
        ahead=_VIDEOS_PER_WORKER,
    )
    # While the networks are busy, more videos become ready for the next passes.
    for read in supervisor.run(paths, num_workers):
        yield from _score(detector, read)


def _score(detector: Detector, read: Sequence[_Read]) -> Iterator[Examination]:
    videos = [one.video for one in read if one.video is not None]
    try:
        results = iter(detector.score_together(videos))
    except VIDEO_FAILURES:
        # One of them fails, which must not fail the others.
        results = iter([_score_alone(detector, video) for video in videos])
    for one in read:
        if one.error is None:
            result = add_not_judged(next(results), one.not_judged)
        else:
            result = detector.refuse(one.path, one.error, one.warnings)
        yield Examination(result=replace(result, **one.known))


def _score_alone(detector: Detector, video: ReadVideo) -> VideoResult:
    try:
        return detector.score_clips(video)
    except VIDEO_FAILURES as error:
        return detector.refuse(video.path, as_video_error(video.path, error))


def _samplers(detector: Detector) -> list[ClipSampler]:
    samplers: list[ClipSampler] = []
    for model in detector.models:
        try:
            # The same pictures as those of the processor, which would bring torch into each worker.
            samplers.append(Preprocessing.from_choices(model.description.preprocessing))
        except UnsupportedChoiceError:
            samplers.append(model.processor)
    return samplers


_worker: tuple[Sequence[ClipSampler], ScanSettings, bool] | None = None


def begin_reading(processors: Sequence[ClipSampler], settings: ScanSettings, judges_sequences: bool) -> None:
    """Prepare a worker process: preprocessing of each model, settings, and whether a model needs several frames."""
    global _worker
    begin_process()
    _worker = (processors, settings, judges_sequences)


def read_in_worker(path: str) -> _Read:
    """Read one video in a worker process."""
    if _worker is None:
        raise WorkError("a worker process was not initialised.")
    processors, settings, judges_sequences = _worker
    try:
        with open_media(path, limits=settings.limits) as reader, reading_provenance(path) as provenance:
            try:
                if judges_sequences and reader.is_photo:
                    raise photo_error(path)
                video = read_open_video(path, reader, processors, settings)
            except VideoError as error:
                known = {**known_of(reader), "provenance": provenance(), "fetched": reader.fetched}
                return _Read(path=path, error=error, warnings=reader.warnings, known=known)
            not_judged = find_not_judged(reader, video)
            known = {"provenance": provenance(), "fetched": reader.fetched}
            return _Read(path=path, video=video, not_judged=not_judged, known=known)
    except VIDEO_FAILURES as error:
        return _Read(path=path, error=as_video_error(path, error))
