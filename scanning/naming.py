# SPDX-License-Identifier: Apache-2.0
"""Short display names of videos and faces."""

import os
from collections import Counter
from collections.abc import Sequence

from ..common.text import printable
from .results import VideoResult


def _short_name(path: str) -> str:
    """The file name of a path or URL, without control characters."""
    return printable(os.path.basename(path.rstrip("/\\")) or path)


def short_names(paths: Sequence[str]) -> list[str]:
    """
    The file name of each video, or its whole path if another video has the same file name.

    Args:
        paths: Paths or URLs.

    Example:

        >>> from deepfake_video.scanning.naming import short_names
        >>> short_names(["one/a.mp4", "two/a.mp4", "two/b.mp4"])
        ['one/a.mp4', 'two/a.mp4', 'b.mp4']
    """
    names = [_short_name(path) for path in paths]
    counts = Counter(names)
    return [name if counts[name] == 1 else printable(path) for name, path in zip(names, paths, strict=True)]


def media_noun(result: VideoResult) -> str:
    """
    What the file of a result is called in a sentence.

    Args:
        result: The result.

    Returns:
        "photo" or "video".
    """
    return "photo" if result.media == "image" else "video"


def face_name(track_id: int | None) -> str:
    """
    Name of a face, counted from 1.

    Args:
        track_id: Number of the face, from 0; `None` for whole frames.
    """
    return "Whole frame" if track_id is None else f"Face {track_id + 1}"
