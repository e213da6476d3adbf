# SPDX-License-Identifier: Apache-2.0
"""The files that a scan writes at its end: report, CSV, heat maps, annotated copy."""

import os
from collections.abc import Sequence
from pathlib import Path

from ..common.errors import UsageError, WorkError
from ..video_addresses import is_store_address
from ..video_errors import VideoError
from .addresses import as_target, check_target
from .evidence import Examination
from .plan import ScanPlan
from .store import is_file_of_store


def check_targets(plan: ScanPlan, paths: Sequence[str]) -> None:
    """
    Check before the scan that its files can be written and that none overwrites an input or another output.

    Args:
        plan: The plan of the scan.
        paths: The videos found in the sources.

    Raises:
        UsageError: If a file cannot be written there, is an input, or is named twice.
    """
    if plan.annotate is not None and len(paths) != 1:
        raise UsageError(f"--annotate requires a single video, but the sources contain {len(paths)}.")
    used = {os.path.realpath(path) for path in (*paths, *plan.lists)}
    for option, target in (("heatmaps", plan.heatmaps), ("annotate", plan.annotate)):
        if is_store_address(str(target)):
            raise UsageError(f"--{option} writes to a local path, not to an address.")
    for option, target in (("report", plan.report), ("csv", plan.csv), ("annotate", plan.annotate)):
        if target is None:
            continue
        check_target(target, is_folder=False)
        if plan.output is not None and is_file_of_store(plan.output, target):
            raise UsageError(
                f"--{option} {target}: --output keeps a file of its own there, with the results; choose another name."
            )
        names = [str(target)] if option == "annotate" else [str(target), name_partial(target)]
        for name in names:
            if os.path.realpath(name) in used:
                which = "this file" if name == str(target) else f"{name}, which a scan that ends early writes,"
                raise UsageError(
                    f"--{option} {target}: {which} is also an input or another output; choose another name."
                )
        used.update(map(os.path.realpath, names))
    for folder in (plan.output, plan.heatmaps):
        if folder is not None:
            check_target(folder, is_folder=True)
            if os.path.realpath(folder) in used:
                raise UsageError(f"{folder}: one output cannot be both a file and a folder; choose another name.")


def name_partial(target: str | Path) -> str:
    """
    Return where the results of a scan that ended early are written, so that they do not replace a complete file.

    Args:
        target: Path or address that the complete file would have.

    Example:
        >>> from deepfake_video.scanning.outputs import name_partial
        >>> name_partial("results.csv")
        'results.partial.csv'
    """
    stem, extension = os.path.splitext(str(target))
    return f"{stem}.partial{extension}"


def write_outputs(plan: ScanPlan, examinations: Sequence[Examination]) -> None:
    """
    Write the files that a plan asks for.

    Args:
        plan: The plan of the scan.
        examinations: At least one, in the order in which they appear in the files.

    Raises:
        OutputError: If a file cannot be written.
        WorkError: If the video to annotate can no longer be read.
    """
    results = [examination.result for examination in examinations]
    evidence = [examination.evidence for examination in examinations]
    # Imported here: each needs a library that nothing else needs.
    if plan.csv is not None:
        from .csv_table import write_csv

        write_csv(as_target(plan.csv), results)
    if plan.report is not None:
        from .html_report import write_report

        write_report(as_target(plan.report), results, evidence)
    if plan.heatmaps is not None:
        from .heatmaps import write_heatmaps

        write_heatmaps(plan.heatmaps, results, evidence)
    if plan.annotate is not None and results[0].media == "image":
        raise WorkError(f"{results[0].path}: --annotate is for videos; --report shows a photo with its face boxes.")
    if plan.annotate is not None and results[0].status == "ok":
        from .annotate import annotate_video

        try:
            annotate_video(plan.annotate, results[0], examinations[0].windows, limits=plan.settings.limits)
        except VideoError as error:
            raise WorkError(f"{error}; the video changed during the scan.") from error
