# SPDX-License-Identifier: Apache-2.0
"""What goes with a result: thumbnails of each face, and pictures of what the worst stretches rest on."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .results import VideoResult


if TYPE_CHECKING:
    from .timeline import Window


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A face, or a whole frame, at one moment: `jpeg` is base64."""

    time_s: float
    track_id: int | None
    jpeg: str


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """
    The frame of a window that its fake logit rests on most, bare and tinted.

    Attributes:
        start_s: Of the window.
        end_s: Of the window.
        time_s: Of the frame.
        track_id: Whose face; `None` means the whole frame.
        fake_probability: Of the window.
        model_id: Whose logit is explained: of an ensemble the first one's.
        jpeg: The picture, base64.
        overlay_jpeg: The picture tinted by Grad-CAM, base64.
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
class Evidence:
    """The pictures of one video."""

    thumbnails: list[Thumbnail] = field(default_factory=list)
    heatmaps: list[Heatmap] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dictionaries, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Evidence":
        """What [`to_dict`] gave."""
        return cls(
            thumbnails=[Thumbnail(**entry) for entry in content["thumbnails"]],
            heatmaps=[Heatmap(**entry) for entry in content["heatmaps"]],
        )


@dataclass(frozen=True, kw_only=True)
class Examination:
    """
    Everything about one video.

    Attributes:
        result: What is said about it.
        evidence: The pictures that go with it, if asked for and it could be judged.
        windows: Behind the timeline.
    """

    result: VideoResult
    evidence: Evidence | None = None
    windows: "tuple[Window, ...]" = ()
