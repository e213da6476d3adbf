# SPDX-License-Identifier: Apache-2.0
"""Many videos, one after the other."""

from collections.abc import Iterator, Sequence

from ..video_fetching import VideoError, VideoLimits, is_url, open_video_file
from .results import ModelIdentity, VideoResult
from .settings import ScanSettings


def score_many(
    paths: Sequence[str], *, models: Sequence[str], device: str, settings: ScanSettings
) -> Iterator[VideoResult]:
    """
    The result of each video, in order. Where no video can be opened at all, no model is loaded: that takes seconds.

    Raises:
        ModelLoadError: If a model cannot be loaded.
        ValueError: If the device does not exist here.
    """
    settings_dict = settings.to_dict()
    identity = ModelIdentity(id=" + ".join(models) or "default")
    failures = {path: failure for path in paths if (failure := _why_unreadable(path, settings))}
    if len(failures) == len(set(paths)):
        for path in paths:
            error = failures[path]
            yield VideoResult(
                path=path,
                status=error.reason,
                threshold=settings.threshold,
                message=str(error),
                settings=settings_dict,
                model=identity,
            )
        return
    from .detector import Detector

    detector = Detector(models, device=device, settings=settings)
    for path in paths:
        yield detector.score(path)


def _why_unreadable(path: str, settings: ScanSettings) -> VideoError | None:
    """The error that opening a local file meets before any decoder sees it."""
    if is_url(path):
        return None
    try:
        open_video_file(path, limits=settings.limits or VideoLimits.from_environment()).close()
    except VideoError as error:
        return error
    return None
