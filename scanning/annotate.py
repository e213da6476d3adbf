# SPDX-License-Identifier: Apache-2.0
"""A copy of a video in which each face has its box and the score of the moment."""

import secrets
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..video_decoding import VideoLimits, VideoReader
from .files import OutputError
from .results import UNTRAINED_WARNING, VideoResult
from .timeline import Window


TIME_BASE = Fraction(1, 90_000)
_FAKE, _REAL, _UNKNOWN = (214, 60, 46), (46, 150, 110), (150, 160, 172)
# Between two boxes of the timeline further apart than this, the face was away.
_LONGEST_GAP_S = 1.0


def annotate_video(
    path: str | Path, result: VideoResult, windows: Sequence[Window], *, limits: VideoLimits | None = None
) -> None:
    """
    Write an MP4 file (H.264, without sound) with what the timeline says drawn into every frame.

    Args:
        path: The file; it is there as a whole or not at all.
        result: Of the video, which is read again.
        windows: Behind its timeline.
        limits: Of what is read.

    Raises:
        VideoError: If the video cannot be read any more.
        OutputError: If the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with VideoReader(result.path, limits=limits) as reader:
            _write(temporary, reader, result, _Boxes(windows, reader.timestamps_s))
        temporary.replace(target)
    except OSError as error:
        raise OutputError(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, reader: VideoReader, result: VideoResult, boxes: "_Boxes") -> None:
    # yuv420p wants even sides; where the resolution changes inside a file, later frames are scaled to the first.
    width, height = reader.width // 2 * 2, reader.height // 2 * 2
    font_size = max(12, height // 28)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(reader.fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        for index, picture in reader.frames(range(reader.num_frames)):
            second = float(reader.timestamps_s[index])
            scale = np.tile([width / picture.shape[1], height / picture.shape[0]], 2)
            image = Image.fromarray(picture).resize((width, height))
            for box, probability, name in boxes.at(second):
                text, colour = f"{name}{probability:.2f}", _colour(probability, result)
                _draw(ImageDraw.Draw(image), box * scale, text, colour, font_size)
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = round(second / TIME_BASE), TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _draw(draw: ImageDraw.ImageDraw, box: np.ndarray, text: str, colour: tuple[int, int, int], font_size: int) -> None:
    font = ImageFont.load_default(font_size)
    corner = (float(box[0]), max(0.0, float(box[1]) - font_size * 1.4))
    draw.rectangle(box.tolist(), outline=colour, width=3)
    left, top, right, bottom = draw.textbbox(corner, text, font=font)
    draw.rectangle([left - 4, top - 3, right + 4, bottom + 3], fill=colour)
    draw.text(corner, text, fill="white", font=font)


def _colour(probability: float, result: VideoResult) -> tuple[int, int, int]:
    if UNTRAINED_WARNING in result.warnings or result.threshold is None:
        return _UNKNOWN
    return _FAKE if probability >= result.threshold else _REAL


class _Boxes:
    """Where each face is at any time, from the frames of the timeline's windows."""

    def __init__(self, windows: Sequence[Window], timestamps_s: np.ndarray) -> None:
        self._windows = windows
        self._tracks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for track_id in sorted({w.entry.track_id for w in windows if w.entry.track_id is not None}):
            of_face = [w for w in windows if w.entry.track_id == track_id and w.boxes is not None]
            indices, first = np.unique(np.concatenate([w.frame_indices for w in of_face]), return_index=True)
            boxes = np.concatenate([w.boxes for w in of_face if w.boxes is not None])[first]
            self._tracks[track_id] = (timestamps_s[indices], boxes)

    def at(self, second: float) -> list[tuple[np.ndarray, float, str]]:
        """(box, fake probability of the window whose middle is nearest, name) of each face that is there."""
        shown = []
        for track_id, (times, boxes) in self._tracks.items():
            after = int(np.searchsorted(times, second))
            around = times[max(0, after - 1) : after + 1]
            if abs(around - second).max() > _LONGEST_GAP_S:
                continue
            box = np.array([np.interp(second, times, boxes[:, side]) for side in range(4)])
            own = [window.entry for window in self._windows if window.entry.track_id == track_id]
            nearest = min(own, key=lambda entry: abs((entry.start_s + entry.end_s) / 2 - second))
            shown.append((box, nearest.fake_probability, f"{track_id + 1}: "))
        return shown
