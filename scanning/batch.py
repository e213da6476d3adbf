# SPDX-License-Identifier: Apache-2.0
"""Score many videos: one after the other or in worker processes, and optionally store the results."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..common.processes import ProcessGroup
from ..common.processors import usable_cores
from ..video_addresses import is_address
from ..video_errors import VideoError, VideoLimits
from .addresses import as_target
from .evidence import Examination
from .fingerprint import with_engine_of
from .media import open_recognised
from .plan import ScanPlan
from .results import ModelIdentity, VideoResult
from .settings import ScanSettings
from .store import ResultStore


if TYPE_CHECKING:
    from .detector import Detector

# Processes that read for a GPU unless the user chose a number.
_MOST_READERS = 16


def examine_all(
    plan: ScanPlan, paths: Sequence[str], *, group: ProcessGroup, on_progress: Callable[[float], None]
) -> Iterator[Examination]:
    """
    Score videos and yield each one when it is done; stored results of an earlier run come first.

    If no video can be opened, the models are not loaded, which saves seconds.

    Args:
        plan: The plan of the scan.
        paths: Distinct videos found in the sources.
        group: The processes that share the videos. Each process yields its own share.
        on_progress: Called with the position of the timeline in the current video, in seconds. Not called with
            several workers.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        RunMismatchError: If the output folder holds results of another scan.
        OutputError: If the output folder cannot be written.
        WorkerError: If no worker process can be started.
        UsageError: If the device does not exist.
    """
    if plan.output is None and (failed := _fail_all(plan, paths)):
        yield from group.share(failed)
        return
    # Loads numpy, and perhaps torch.
    from .detector import Detector

    device = group.device if group.device and plan.device == "auto" else plan.device
    settings = plan.settings
    if plan.gpus_per_worker and device == "auto":
        # Only the workers have GPUs for sure; this process describes the models and scores nothing.
        device, settings = "cpu", replace(settings, engine="torch")
    if plan.output is not None:
        settings = with_engine_of(settings, [as_target(plan.output)], device)
    if plan.ray is not None:
        from .cluster import require_ray

        require_ray()
    detector = Detector(plan.model_names, device=device, settings=settings)
    if plan.output is None:
        yield from _examine(plan, detector, group.share(paths), on_progress, group.size)
        return
    with ResultStore(
        plan.output, function=detector.describe(), needs_pictures=plan.needs_pictures, rank=group.rank
    ) as store:
        kept = store.begin(paths, group.wait)
        share = group.share(paths)
        for path in share:
            if path in kept:
                evidence = store.pictures(kept[path]) if plan.needs_pictures else None
                yield Examination(result=kept[path], evidence=evidence, is_kept=True)
        missing = [path for path in share if path not in kept]
        for examination in _examine(plan, detector, missing, on_progress, group.size):
            # The workers of a cluster have stored it.
            if plan.ray is None:
                store.add(examination.result, examination.evidence)
            yield examination
        store.finish(paths, group.wait)


def _examine(
    plan: ScanPlan,
    detector: "Detector",
    paths: Sequence[str],
    on_progress: Callable[[float], None],
    num_processes: int,
) -> Iterator[Examination]:
    if plan.ray is not None and paths:
        from .cluster import examine_on_cluster

        yield from examine_on_cluster(plan, detector.settings, paths)
        return
    is_read_apart = detector.device != "cpu" and not (detector.settings.timeline or plan.needs_pictures)
    readers = min(usable_cores() // num_processes, _MOST_READERS)
    workers = plan.workers or (max(1, readers) if is_read_apart else 1)
    if workers == 1 or len(paths) < 2:
        for path in paths:
            yield detector.examine(path, with_evidence=plan.needs_pictures, on_progress=on_progress)
    elif is_read_apart:
        from .device_batch import examine_on_device

        yield from examine_on_device(detector, paths, workers)
    else:
        from .workers import examine_in_workers

        yield from examine_in_workers(plan, detector, paths)


def _fail_all(plan: ScanPlan, paths: Sequence[str]) -> list[Examination]:
    """One result per video if none of them can be opened, otherwise an empty list."""
    failed = []
    for path in paths:
        error = _opening_error(path, plan.settings)
        if error is None:
            return []
        result = VideoResult(
            path=path,
            status=error.reason,
            threshold=plan.settings.threshold,
            message=str(error),
            settings=plan.settings.to_dict(),
            model=ModelIdentity(id=" + ".join(plan.model_names) or "default"),
        )
        failed.append(Examination(result=result))
    return failed


def _opening_error(path: str, settings: ScanSettings) -> VideoError | None:
    """The error that opening a local file raises before any decoder reads it."""
    if is_address(path):
        return None
    try:
        open_recognised(path, limits=settings.limits or VideoLimits.from_environment())[0].close()
    except VideoError as error:
        return error
    return None
