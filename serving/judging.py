# SPDX-License-Identifier: Apache-2.0
"""Score a video that somebody else sent. The demo and the service share this function."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..common.errors import UsageError
from ..scanning.detector import Detector
from ..scanning.evidence import Examination
from ..scanning.results import ModelIdentity, VideoResult
from ..video_addresses import is_url, printable_name
from ..video_errors import UnsupportedVideoError, VideoLimits
from .plan import MAX_DURATION_S, MAX_UPLOAD_BYTES


NAMELESS = "upload"


def judge(
    detector: Detector,
    source: Path | str,
    *,
    name: str | None = None,
    with_evidence: bool = False,
    on_progress: Callable[[float], None] = lambda second: None,
) -> Examination:
    """
    Score a video that somebody else sent, and remove the paths of this machine from the result.

    Args:
        detector: Scores the video. Its limits apply.
        source: A saved upload as a `Path`, or an http(s) address as a string, which never names a local file.
        name: Name of the upload as its sender gave it. It is only displayed, and compared with the content: a warning
            says if its ending belongs to another format.
        with_evidence: Whether to draw thumbnails and heat maps. They need `settings.timeline`.
        on_progress: Called with the position of the timeline in the video, in seconds.
    """
    if isinstance(source, str) and (not is_url(source) or os.path.lexists(source)):
        error = UnsupportedVideoError(source, "an address begins with https:// or http://")
        return Examination(result=detector.refuse(source, error))
    shown = None if name is None else display_name(name)
    examination = detector.examine(source, name=shown, with_evidence=with_evidence, on_progress=on_progress)
    return replace(examination, result=without_paths(examination.result, name))


def limits_for_uploads(
    limits: VideoLimits | None, *, max_bytes: int = MAX_UPLOAD_BYTES, max_duration_s: float = MAX_DURATION_S
) -> VideoLimits:
    """
    Tighten the limits of reading for videos from other people.

    Args:
        limits: Limits of this process; those of the environment by default.
        max_bytes: Maximum size of a file, uploaded or downloaded.
        max_duration_s: Maximum length of a video in seconds.

    Raises:
        UsageError: If a limit, also one of the environment, is not a positive number.
    """
    try:
        limits = limits or VideoLimits.from_environment()
        return replace(
            limits,
            max_download_bytes=min(max_bytes, limits.max_download_bytes),
            max_duration_s=min(max_duration_s, limits.max_duration_s or max_duration_s),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def without_paths(result: VideoResult, name: str | None = None) -> VideoResult:
    """
    Replace paths on this machine by names of files and folders.

    Args:
        result: The result of a video.
        name: Name of the video as its sender gave it; the last part of its path by default.
    """
    result = replace(result, model=without_folders(result.model))
    if is_url(result.path):
        return result
    shown = display_name(result.path if name is None else name)
    message = result.message and result.message.replace(printable_name(result.path), shown)
    return replace(result, path=shown, message=message)


def without_folders(model: ModelIdentity) -> ModelIdentity:
    """
    Replace the path of each model folder by its name.

    Args:
        model: Identity of one or several models.
    """
    parts, names = model.id.split(" + "), []
    while parts:
        # A folder may have the separator in its name.
        num = next((n for n in range(len(parts), 0, -1) if os.path.isdir(" + ".join(parts[:n]))), 0)
        names.append(os.path.basename(os.path.abspath(" + ".join(parts[:num]))) if num else parts[0])
        del parts[: num or 1]
    return replace(model, id=" + ".join(names))


def display_name(name: str) -> str:
    """
    The last part of a file name from elsewhere, as one printable line.

    Args:
        name: The name, with any separators and characters.

    Example:

        >>> display_name("C:\\\\videos\\\\clip.mp4"), display_name("../../etc/passwd"), display_name("/")
        ('clip.mp4', 'passwd', 'upload')
    """
    return printable_name(re.split(r"[/\\]", name.rstrip("/\\"))[-1]) or NAMELESS
