# SPDX-License-Identifier: Apache-2.0
"""Write a copy of a video with face boxes and scores drawn into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from PIL import Image, ImageDraw

from ..common.files import OutputError, new_file
from ..face_tracking import rescale_box
from ..video_errors import VideoLimits
from ..video_sources import MediaReader
from .media import open_media
from .results import UNTRAINED_WARNING, VideoResult
from .stills import draw_box
from .timeline import DENSE_INTERVAL_S, Window


TIME_BASE = Fraction(1, 90_000)
_FAKE, _REAL, _UNKNOWN = (214, 60, 46), (46, 150, 110), (150, 160, 172)
# If two boxes of the timeline are further apart than this, the face was absent in between.
_LONGEST_GAP_S = 1.0


def annotate_video(
    path: str | Path, result: VideoResult, windows: Sequence[Window], *, limits: VideoLimits | None = None
) -> None:
    """
    Write an MP4 file (H.264, without sound) with the boxes and scores of the timeline drawn into every frame.

    Args:
        path: The file to write. It appears only when it is complete.
        result: The result of the video, which is decoded again.
        windows: The windows of its timeline.
        limits: Limits on what is read.

    Raises:
        VideoError: If the video can no longer be read.
        OutputError: If the file cannot be written.
    """
    try:
        with new_file(path) as temporary, open_media(result.path, limits=limits) as reader:
            _write(temporary, reader, result, _Boxes(windows, reader.timestamps_s))
    except OSError as error:
        raise OutputError(path, error) from error
    except av.FFmpegError as error:  # for instance, frames that last for hours; `open_media` raises no such error
        said = f"FFmpeg cannot encode the copy: {error.strerror}"
        raise OutputError(path, OSError(error.errno, said)) from error


def _write(path: Path, reader: MediaReader, result: VideoResult, boxes: "_Boxes") -> None:
    # yuv420p needs even sides. If the frame size changes within a file, later frames are fitted into the first size.
    first_size = (reader.width, reader.height)
    width, height = (side // 2 * 2 for side in first_size)
    font_size = max(12, height // 28)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(reader.fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        # Without it, the last frame would last as long as the one before.
        stream.codec_context.flags |= Flags.frame_duration

        def show(image: Image.Image, start_s: float, end_s: float) -> None:
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = round(start_s / TIME_BASE), TIME_BASE
            frame.duration = round(end_s / TIME_BASE) - frame.pts
            container.mux(stream.encode(frame))

        starts_s = [*reader.timestamps_s.tolist(), reader.duration_s]
        if starts_s[0] * reader.fps >= 1:
            # The picture starts later than the container: a player shows black until then.
            show(Image.new("RGB", (width, height)), 0.0, starts_s[0])
        for index, picture in reader.frames(range(reader.num_frames)):
            second = starts_s[index]
            own_size = (picture.shape[1], picture.shape[0])
            image, scale, shift = _fit(Image.fromarray(picture), (width, height), first_size)
            for box, size, probability, name in boxes.at(second):
                text, colour = f"{name}{probability:.2f}", _colour(probability, result)
                shown = rescale_box(box, size, own_size) * scale + shift
                draw_box(ImageDraw.Draw(image), shown, text, colour, font_size)
            show(image, second, starts_s[index + 1])
        container.mux(stream.encode(None))


def _fit(
    image: Image.Image, size: tuple[int, int], first_size: tuple[int, int]
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """An image centred in a picture of `size`, with the scale (4,) and the shift (4,) of the boxes in it."""
    if image.size == first_size:
        scale = np.tile(np.array(size) / image.size, 2)
        return image.resize(size), scale, np.zeros(4)
    factor = min(size[0] / image.width, size[1] / image.height)
    fitted = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    corner = ((size[0] - fitted[0]) // 2, (size[1] - fitted[1]) // 2)
    screen = Image.new("RGB", size)
    screen.paste(image.resize(fitted), corner)
    return screen, np.tile(np.array(fitted) / image.size, 2), np.tile(corner, 2)


def _colour(probability: float, result: VideoResult) -> tuple[int, int, int]:
    if UNTRAINED_WARNING in result.warnings or result.threshold is None:
        return _UNKNOWN
    return _FAKE if probability >= result.threshold else _REAL


@dataclass(frozen=True)
class _TrackBoxes:
    """Boxes (N, 4) of a face at increasing times (N,), and the middle (W,) and the score of each of its windows."""

    times_s: np.ndarray
    boxes: np.ndarray
    size: tuple[int, int] | None
    middles_s: np.ndarray
    probabilities: list[float]


class _Boxes:
    """The position of each face at any time, interpolated between the frames of the timeline's windows."""

    def __init__(self, windows: Sequence[Window], timestamps_s: np.ndarray) -> None:
        self._tracks: dict[int, _TrackBoxes] = {}
        for track_id in sorted({w.entry.track_id for w in windows if w.entry.track_id is not None}):
            of_face = [w for w in windows if w.entry.track_id == track_id and w.boxes is not None]
            indices, first = np.unique(np.concatenate([w.frame_indices for w in of_face]), return_index=True)
            boxes = np.concatenate([w.boxes for w in of_face if w.boxes is not None])[first]
            entries = [w.entry for w in windows if w.entry.track_id == track_id]
            self._tracks[track_id] = _TrackBoxes(
                times_s=timestamps_s[indices],
                boxes=boxes,
                size=of_face[0].size,
                middles_s=np.array([(entry.start_s + entry.end_s) / 2 for entry in entries]),
                probabilities=[entry.fake_probability for entry in entries],
            )

    def at(self, second: float) -> list[tuple[np.ndarray, tuple[int, int] | None, float, str]]:
        """For each visible face its box, the size the box refers to, its score in the nearest window, and its name."""
        shown = []
        for track_id, track in self._tracks.items():
            after = int(np.searchsorted(track.times_s, second))
            # A long video has many thousands of boxes, of which two are needed.
            neighbours = slice(max(0, after - 1), after + 1)
            around = track.times_s[neighbours]
            away_s = abs(around - second)
            if away_s.max() > _LONGEST_GAP_S and away_s.min() > DENSE_INTERVAL_S / 2:
                continue
            box = np.array([np.interp(second, around, track.boxes[neighbours, side]) for side in range(4)])
            nearest = int(np.argmin(abs(track.middles_s - second)))
            shown.append((box, track.size, track.probabilities[nearest], f"{track_id + 1}: "))
        return shown
