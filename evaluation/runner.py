# SPDX-License-Identifier: Apache-2.0
"""Score the videos of a data set: workers read while the network computes, on one process or several.

Under `accelerate launch` or `torchrun` each process takes every n-th of the unfinished tasks and appends what it
finishes to a separate file. There is no padding, so there are no duplicates to remove. A task finished by an earlier
run is found in any of the files, even if that run used a different number of processes.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ..clip_sampling import ClipSampler
from ..common.processes import NeverBegunError, ProcessGroup, sending_process, worker_pool
from ..common.processors import helper_processes
from ..scanning.clip_reading import VIDEO_FAILURES, ReadVideo, as_video_error, read_video
from ..scanning.file_stamps import hash_files, stamp_files
from ..scanning.media import photo_error
from ..scanning.settings import ScanSettings
from ..video_errors import VideoError
from .corruptions import Corruption
from .frame_scorer import FrameScorer
from .progress import EvaluationListener
from .run_folder import load_valid_scores
from .sample_reading import read_corrupted, read_sample
from .samples import EvaluationError, Sample
from .scores import Score, ScoreLog, unique


MAX_WORKERS = 8


@dataclass(frozen=True)
class Item:
    """
    One task that a worker has read, or failed to read.

    Attributes:
        sample: The video.
        corruption: Its corruption; `None` for the video as it is.
        video: Frames to score, or the error of reading them.
        sha256: SHA-256 of the files of the sample.
        stamp: Stamp of the files of the sample, see `scanning.file_stamps`.
    """

    sample: Sample
    corruption: Corruption | None
    video: ReadVideo | VideoError
    sha256: str | None = None
    stamp: str | None = None

    @property
    def task(self) -> tuple[str, str | None]:
        """Key of the sample and name of the corruption."""
        return self.sample.key, None if self.corruption is None else str(self.corruption)


@dataclass(frozen=True, kw_only=True)
class Work:
    """
    Videos to score.

    Attributes:
        samples: The videos.
        whole: All videos of the data set, so that scores of other splits stay in the folder. Empty if `samples` is the
            whole data set.
        corruptions: Corruptions to score each video with, besides the video as it is.
        seed: Seed of the corruptions.
    """

    samples: Sequence[Sample]
    whole: Sequence[Sample] = ()
    corruptions: Sequence[Corruption] = ()
    seed: int = 0

    def tasks_of(self, sample: Sample) -> list[tuple[str, str | None]]:
        """List the tasks of a sample: the video as it is, then each corruption."""
        return [(sample.key, None), *((sample.key, str(corruption)) for corruption in self.corruptions)]


@dataclass(frozen=True)
class _Reading:
    """Reads many videos one after the other."""

    work: Work
    processors: list[ClipSampler]
    settings: ScanSettings
    finished: frozenset[tuple[str, str | None]] = field(default_factory=frozenset)
    began_ns: int = field(default_factory=time.time_ns)

    def __iter__(self) -> Iterator[Item]:
        for sample in self.work.samples:
            yield from self.read(sample)

    def read(self, sample: Sample) -> Iterator[Item]:
        """Yield every unfinished task of a sample, read or failed."""
        settled = set(self.finished)
        known: dict[str, Any] = {}
        try:
            for item in self._read(sample):
                if not known:
                    known = self._identify(item)
                item = replace(item, **known)
                settled.add(item.task)
                yield item
        except Exception as error:
            # One video must not end a run of thousands: its row says what went wrong.
            failure = as_video_error(sample.path, error)
            for corruption in (None, *self.work.corruptions):
                item = Item(sample, corruption, failure)
                if item.task not in settled:
                    yield replace(item, **(known or self._identify(item)))

    def _identify(self, item: Item) -> dict[str, Any]:
        """Identify the bytes that were read, or that could not be."""
        files = item.sample.files
        read = item.video.sha256 if isinstance(item.video, ReadVideo) else ""
        return {"sha256": read or hash_files(files), "stamp": stamp_files(files, began_ns=self.began_ns)}

    def _read(self, sample: Sample) -> Iterator[Item]:
        open_tasks = set(self.work.tasks_of(sample)) - self.finished
        left = [corruption for corruption in self.work.corruptions if (sample.key, str(corruption)) in open_tasks]
        clean = read_sample(sample, self.processors, self.settings)
        if (sample.key, None) in open_tasks:
            yield Item(sample, None, clean)
        if left:
            seed = self.work.seed
            for corruption, video in read_corrupted(sample, clean, self.processors, self.settings, left, seed=seed):
                yield Item(sample, corruption, video)


def score_samples(
    scorer: FrameScorer,
    work: Work,
    *,
    processes: ProcessGroup,
    folder: Path,
    description: dict[str, Any],
    workers: int | None = None,
    listener: EvaluationListener | None = None,
) -> list[Score]:
    """
    Score the videos that have no score yet, and return all scores, the same on every process.

    Args:
        scorer: The loaded models.
        work: Videos to score.
        processes: Processes that share the work.
        folder: Folder of the scores, from which an interrupted run is resumed. Locked by the caller.
        description: Settings that determine the scores, see [`describe`]; a folder with a different description is
            refused.
        workers: Number of reader processes per scoring process; 0 reads and scores alternately in one process.
        listener: Receives the progress.

    Raises:
        RunMismatchError: If the folder belongs to another run.
        EvaluationError: If its scores are damaged, or no worker process begins.
        OSError: If it cannot be written.
    """
    listener = listener or EvaluationListener()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {task for sample in work.samples for task in work.tasks_of(sample)}
    whole = work.whole or work.samples
    before = load_valid_scores(folder, whole, wanted, description, scorer=scorer, processes=processes)
    finished = frozenset(score.task for score in before)
    pending = [sample for sample in work.samples if not finished.issuperset(work.tasks_of(sample))]
    own = replace(work, samples=processes.share(pending))
    reading = _Reading(replace(own, whole=()), scorer.processors, scorer.settings, finished)
    total = sum(task not in finished for sample in own.samples for task in own.tasks_of(sample))
    scores: list[Score] = []
    label = "scoring" if processes.size == 1 else f"scoring, process {processes.rank + 1} of {processes.size}"
    with ScoreLog(folder / f"scores-{processes.rank:05d}.jsonl") as log:
        listener.start(total, label)
        try:
            for item in _read_ahead(reading, workers):
                scores.append(_score(scorer, item))
                log.append(scores[-1])
                listener.advance()
        finally:
            listener.finish()
    return unique(processes.gather([*before, *scores]))


def _score(scorer: FrameScorer, item: Item) -> Score:
    corruption = None if item.corruption is None else str(item.corruption)
    known: dict[str, Any] = {"sha256": item.sha256, "stamp": item.stamp}
    known["seen"] = scorer.known_videos.seen(item.sample, item.sha256)
    try:
        if isinstance(item.video, VideoError):
            raise item.video
        if item.video.is_photo and scorer.judges_sequences:
            raise photo_error(item.sample.path)
        scored = scorer.score_frames(item.video)
    except VIDEO_FAILURES as error:
        failure = as_video_error(item.sample.path, error)
        return Score.of(item.sample, corruption, status=failure.reason, message=str(failure), **known)
    result = scored.result
    sizes = {face.track_id: face.size_px for face in result.faces}
    return Score.of(
        item.sample,
        corruption,
        fake_probability=result.fake_probability,
        face_coverage=result.face_coverage,
        num_faces=len(scorer.counted_faces(result.faces)) or None,
        face_px=sizes.get(result.decisive_track_id or 0),
        bits_per_pixel=result.bits_per_pixel,
        media="faces" if item.sample.images else result.media,
        frame_indices=tuple(scored.frame_indices),
        frame_probabilities=tuple(scored.frame_probabilities),
        frame_weights=tuple(scored.frame_weights),
        **known,
    )


def _read_ahead(reading: _Reading, workers: int | None) -> Iterator[Item]:
    if workers is None:
        workers = helper_processes(MAX_WORKERS)
    workers = min(workers, len(reading.work.samples))
    if workers == 0:
        yield from reading
        return
    reading = replace(reading, settings=reading.settings.for_processes(workers))
    context = _worker_context()
    shares: dict[Connection, _Reading] = {}
    with ExitStack() as processes:

        def begin(share: _Reading) -> None:
            shares[processes.enter_context(sending_process(context, share))] = share

        samples = reading.work.samples
        for worker in range(workers):
            begin(replace(reading, work=replace(reading.work, samples=samples[worker::workers])))
        done = set(reading.finished)
        while shares:
            ready = wait(list(shares))
            for connection in [one for one in shares if one in ready]:
                try:
                    items: list[Item] = [connection.recv()]
                except (EOFError, OSError):
                    share, items = replace(shares.pop(connection), finished=frozenset(done)), []
                    left = [s for s in share.work.samples if not done.issuperset(share.work.tasks_of(s))]
                    if left:
                        # The worker died of the first of them, or for lack of memory: it is read again on its own.
                        items = _read_apart(share, left[0], context)
                        begin(replace(share, work=replace(share.work, samples=left[1:])))
                for item in items:
                    done.add(item.task)
                    yield item


def _worker_context() -> Any:
    # Forking a process that has threads is unsafe; a server that has imported everything forks quickly and safely.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([read_video.__module__])
    return context


def _read_apart(reading: _Reading, sample: Sample, context: Any) -> list[Item]:
    """Read one sample in a process of its own, which may die of it."""
    try:
        with worker_pool(1, context) as pool:
            return pool.submit(_read_all, reading, sample).result()
    except NeverBegunError as error:
        raise EvaluationError(str(error)) from error
    except BrokenProcessPool as error:
        failure = as_video_error(sample.path, error)
    items = [Item(sample, corruption, failure) for corruption in (None, *reading.work.corruptions)]
    return [item for item in items if item.task not in reading.finished]


def _read_all(reading: _Reading, sample: Sample) -> list[Item]:
    return list(reading.read(sample))
