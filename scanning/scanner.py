# SPDX-License-Identifier: Apache-2.0
"""The public function `scan`."""

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from ..common.errors import UsageError
from ..common.files import as_paths
from ..common.processes import ProcessGroup
from ..common.text import printable
from .batch import examine_all
from .evidence import Examination
from .inputs import Inputs, collect_inputs, find_source
from .media import check_decode_device
from .outputs import check_targets, name_partial, write_outputs
from .plan import ScanListener, ScanPlan, ScanResult
from .results import VideoResult
from .settings import ScanSettings


@overload
def scan(
    source: str | Path,
    *,
    model: str | Path | Sequence[str | Path] = ...,
    device: str = ...,
    settings: ScanSettings | None = ...,
    timeline: bool = ...,
) -> VideoResult: ...


@overload
def scan(source: ScanPlan, *, listener: ScanListener | None = ...) -> ScanResult: ...


def scan(
    source: str | Path | ScanPlan,
    *,
    model: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
    settings: ScanSettings | None = None,
    timeline: bool = False,
    listener: ScanListener | None = None,
) -> VideoResult | ScanResult:
    """
    Score one video, or all videos of a plan.

    A video that cannot be scored does not raise an error: its result has a `status`, a `message` and no score. Every
    call with a path loads the model again; use a plan for several videos.

    Args:
        source: Path or address of one video, or a [`ScanPlan`]. All other arguments except `listener` apply to a
            single video; a plan contains its own settings.
        model: Model folder or Hub id, or several for an ensemble. `"default"`, or none, is the packaged checkpoint.
        device: `"cpu"`, `"cuda"`, `"mps"`, or `"auto"` for the fastest one available.
        settings: How the video is scored.
        timeline: Whether to also score short windows of the video, which shows where it looks manipulated. It takes
            longer and does not change the score of the video.
        listener: Follows the scan of a plan.

    Returns:
        A [`VideoResult`] for a path, a [`ScanResult`] for a plan. `to_dict()` and `to_json()` of a video's result have
        the keys of `scanning/result.schema.json`. If several processes scan a plan together (`accelerate launch`,
        `torchrun`), the first process returns all results and the others return an empty result.

    Raises:
        UsageError: If the request is invalid: sources that contain no video, a list, folder or pattern in place of one
            path, a model that cannot be loaded ([`ModelLoadError`]), a device that does not exist, an `output` folder
            of another scan.
        WorkError: If the work fails: a file cannot be written ([`OutputError`]), worker processes do not start.

    Example:

        >>> from deepfake_video import ScanPlan, scan
        >>> result = scan("clip.mp4")
        >>> result.status, result.label in ("real", "fake")
        ('ok', True)
        >>> results = scan(ScanPlan(sources=["clip.mp4", "missing.mp4"], csv="results.csv"))
        >>> [result.status for result in results]
        ['ok', 'not_found']
        >>> results.num_scored
        1
    """
    if isinstance(source, ScanPlan):
        if model or settings or timeline or device != "auto":
            raise UsageError("a plan has its own models, device and settings; set them in ScanPlan(...).")
        return _run(source, listener or ScanListener())
    from .detector import Detector

    path = _one_path(source)
    models = as_paths("model", model)
    plan = ScanPlan(models=models, device=device, settings=ScanSettings() if settings is None else settings)
    settings = replace(plan.settings, timeline=plan.settings.timeline or timeline)
    return Detector(plan.model_names, device=plan.device, settings=settings).score(path)


def _one_path(source: Any) -> str:
    """The path or address of a single video. What stands for several is refused, because only a plan expands it."""
    is_path = isinstance(source, str | os.PathLike)
    path = find_source(as_paths("source", [source])[0]) if is_path else ""
    is_pattern = glob.has_magic(path) and "://" not in path and not os.path.lexists(path)
    if not is_path or is_pattern or os.path.isdir(path):
        shown = printable(repr(path if is_path else source), 80)
        raise UsageError(
            f"source must be the path of one video, got {shown}; for a list, a folder or a pattern, call "
            "scan(ScanPlan(sources=[...]))."
        )
    return path


def _run(plan: ScanPlan, listener: ScanListener) -> ScanResult:
    # Sources and outputs in stores are limited, too.
    check_decode_device(plan.settings.limits)
    inputs = collect_inputs(as_paths("sources", plan.sources), as_paths("lists", plan.lists), photos=plan.photos)
    check_targets(plan, inputs.paths)
    group = ProcessGroup(plan.device)
    if not group.is_first:
        listener = ScanListener()
    listener.started(inputs, len(group.share(inputs.paths)))
    examinations: list[Examination] = []
    try:
        for examination in examine_all(plan, inputs.paths, group=group, on_progress=listener.timeline_at):
            # The windows of many long videos would fill the memory; only a copy of a single one draws them.
            keeps_windows = plan.annotate is not None
            examinations.append(examination if keeps_windows else replace(examination, windows=()))
            report = listener.video_kept if examination.is_kept else listener.video_done
            report(examination.result)
    except (KeyboardInterrupt, ValueError, OSError):
        # What was scored until then is written and reported nevertheless.
        if examinations and group.is_first:
            page, table = (target and name_partial(target) for target in (plan.report, plan.csv))
            _finish(replace(plan, report=page, csv=table), inputs, examinations, listener)
        raise
    examinations = group.gather(examinations)
    if not group.is_first:
        return ScanResult(results=(), num_videos=len(inputs.paths), num_skipped=inputs.num_others)
    return _finish(plan, inputs, examinations, listener)


def _finish(plan: ScanPlan, inputs: Inputs, examinations: Sequence[Examination], listener: ScanListener) -> ScanResult:
    """Write the files of the plan, and report the results even if that fails."""
    position = {path: number for number, path in enumerate(inputs.paths)}
    ordered = sorted(examinations, key=lambda examination: position[examination.result.path])
    result = ScanResult(
        results=tuple(examination.result for examination in ordered),
        num_videos=len(inputs.paths),
        num_skipped=inputs.num_others,
        kept=frozenset(examination.result.path for examination in ordered if examination.is_kept),
    )
    try:
        write_outputs(plan, ordered)
    finally:
        listener.finished(result)
    return result
