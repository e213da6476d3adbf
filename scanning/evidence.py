# SPDX-License-Identifier: Apache-2.0
"""The pictures of a result: thumbnails of the faces, and heat maps of the windows with the highest scores."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .results import VideoResult


if TYPE_CHECKING:
    from .timeline import Window


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """
    A picture of a face or of a whole frame.

    Attributes:
        time_s: Display time, in seconds from the start of the container.
        track_id: Number of the face; `None` for a whole frame.
        jpeg: JPEG in base64.
    """

    time_s: float
    track_id: int | None
    jpeg: str


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """
    The frame of a window that contributes most to its fake logit, plain and tinted by Grad-CAM.

    Attributes:
        start_s: Start of the window, in seconds from the start of the container.
        end_s: End of the window.
        time_s: Display time of the frame.
        track_id: Number of the face; `None` for a whole frame.
        fake_probability: Fake probability of the window.
        model_id: The model that is explained, of an ensemble the first one.
        jpeg: The plain picture, JPEG in base64.
        overlay_jpeg: The tinted picture, JPEG in base64.
    """

    start_s: float
    end_s: float
    time_s: float
    track_id: int | None
    fake_probability: float
    model_id: str
    jpeg: str
    overlay_jpeg: str


@dataclass(frozen=True, kw_only=True)
class Still:
    """
    An original frame in which the faces are boxed and numbered from 1, as everywhere in a report.

    Attributes:
        time_s: Display time, in seconds from the start of the container.
        track_ids: Numbers of the boxed faces, from 0.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        jpeg: JPEG in base64.
    """

    time_s: float
    track_ids: list[int]
    width: int
    height: int
    jpeg: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The pictures of one video."""

    still: Still | None = None
    thumbnails: list[Thumbnail] = field(default_factory=list)
    heatmaps: list[Heatmap] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """
    The result of one video with its pictures and windows.

    Attributes:
        result: The result.
        evidence: The pictures, if they were requested, of a photo or of a video with a timeline that could be scored;
            without any picture if the timeline failed.
        windows: The windows of the timeline.
        is_kept: Whether an earlier run stored this result.
    """

    result: VideoResult
    evidence: Evidence | None = None
    windows: "tuple[Window, ...]" = ()
    is_kept: bool = False
