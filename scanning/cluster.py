# SPDX-License-Identifier: Apache-2.0
"""Score videos on a cluster with Ray Data, and survive videos that kill their process and machines that are lost."""

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from typing import Any

from ..common.errors import WorkError
from ..common.packages import require_packages
from ..common.processes import spawned_pool
from ..common.processors import usable_cores
from .evidence import Examination
from .plan import ScanPlan
from .results import VideoResult
from .settings import ScanSettings
from .store import write_part
from .workers import begin_worker, examine_in_worker, refuse_in_worker


# What a lost machine has begun is scored again: at most one block for each of its workers.
MAX_VIDEOS_PER_BLOCK = 16
# Enough blocks per worker that none is left alone with a long one.
_BLOCKS_PER_WORKER = 4


class ClusterError(WorkError):
    """The cluster cannot be reached or ends the work; the message says what to do."""

    reason = "cluster"


def require_ray() -> None:
    """
    Check that Ray is installed.

    Raises:
        MissingPackageError: If it is not.
    """
    require_packages("--ray", "ray", "pyarrow", extra="cluster")


def examine_on_cluster(plan: ScanPlan, settings: ScanSettings, paths: Sequence[str]) -> Iterator[Examination]:
    """
    Score videos in the workers of a cluster and yield each one after its worker has stored the result.

    A worker is an actor with one process of its own, in which it loads the models once, decodes and scores. If that
    process dies of a video, the video gets the status "unreadable". If a machine is lost, Ray repeats on other
    machines the videos that its workers had in hand.

    Args:
        plan: The plan of the scan, with `ray` and `output`.
        settings: How each video is scored, with the engine that was resolved.
        paths: The videos.

    Raises:
        ClusterError: If the cluster cannot be reached, or cannot do the work.
    """
    import ray

    with ExitStack() as stack:
        _connect(plan, stack)
        device = "cuda" if plan.gpus_per_worker and plan.device == "auto" else plan.device
        workers = min(plan.workers, len(paths)) if plan.workers else 0
        # A worker has one core.
        settings = settings.for_processes(usable_cores())
        slots = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        num_blocks = max(len(paths) // MAX_VIDEOS_PER_BLOCK, min(len(paths), _BLOCKS_PER_WORKER * slots), 1)
        videos = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=num_blocks)
        scored = videos.map(
            _Worker,
            fn_constructor_args=(os.getcwd(), str(plan.output), plan.model_names, device, settings),
            compute=ray.data.ActorPoolStrategy(min_size=workers or 1, max_size=workers or slots),
            num_cpus=1,
            num_gpus=plan.gpus_per_worker or None,
        )
        try:
            for row in scored.iter_rows():
                yield Examination(result=VideoResult.from_dict(json.loads(row["result"])))
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterError(
                f"the cluster ended the work: {_reason(error)} Run the same command to resume."
            ) from error


def _reason(error: BaseException) -> str:
    """The sentence of an error of this package that a worker raised, or the kind of another error."""
    causes: list[BaseException | None] = [error]
    while causes[-1] is not None and not isinstance(causes[-1], WorkError):
        last = causes[-1]
        causes.append(getattr(last, "cause", None) or last.__cause__)
    return f"{type(error).__name__}." if causes[-1] is None else str(causes[-1])


def _connect(plan: ScanPlan, stack: ExitStack) -> None:
    """Connect to a cluster, or start one on this machine, unless this process is connected already."""
    import ray

    logging.getLogger("ray.data._internal").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        return
    try:
        ray.init(address=plan.ray, log_to_driver=False, logging_level="error", **_LOCAL.get(str(plan.ray), {}))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(f"--ray {plan.ray}: the cluster cannot be reached ({type(error).__name__}).") from error
    stack.callback(ray.shutdown)


# The object store can be small, because only names and results of videos pass through it.
_LOCAL: dict[str, dict[str, Any]] = {"local": {"object_store_memory": 200 << 20, "include_dashboard": False}}


class _Worker:
    """
    One actor: a process that scores, and the folder in which it stores the results.

    Args:
        folder: Working directory, from which relative paths start. It need not exist on a machine if there are none.
        output: Folder or address of the results.
        models: Model folders or Hub ids.
        device: Device of the models.
        settings: How each video is scored.
    """

    def __init__(self, folder: str, output: str, models: Sequence[str], device: str, settings: ScanSettings) -> None:
        with suppress(OSError):
            os.chdir(folder)
        self._arguments = (models, device, settings, False)
        self._output = output
        self._stack = ExitStack()
        self._pool = self._start()

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Score one video, store its result and return it as JSON."""
        began_ns = time.time_ns()
        result = self._examine(row["path"])
        write_part(self._output, result, began_ns=began_ns)
        return {"result": result.to_json()}

    def close(self) -> None:
        """End the process."""
        self._stack.close()

    def _examine(self, path: str) -> VideoResult:
        # A process may have been killed for another reason, so the video gets a second chance.
        for _ in range(2):
            try:
                return self._pool.submit(examine_in_worker, path).result().result
            except BrokenProcessPool:
                self._stack.close()
                self._pool = self._start()
        return self._pool.submit(refuse_in_worker, path).result()

    def _start(self) -> ProcessPoolExecutor:
        return self._stack.enter_context(spawned_pool(1, begin_worker, self._arguments))
