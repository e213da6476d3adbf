# SPDX-License-Identifier: Apache-2.0
"""Original frames with boxes drawn around the faces."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..face_tracking import rescale_box
from ..video_sources import MediaReader
from .evidence import Still
from .jpeg import to_jpeg
from .timeline import Window


STILL_SIDE = 960
# Dark enough for white text, and neither the colour of a fake nor of a real face.
_COLOUR = (36, 80, 181)


def draw_box(
    draw: ImageDraw.ImageDraw, box: np.ndarray, text: str, colour: tuple[int, int, int], font_size: int
) -> None:
    """
    Draw a box with a label above it.

    Args:
        draw: Drawing context of the image.
        box: Array of shape (4,): x0, y0, x1, y1 in pixels.
        text: Label, in white on `colour`.
        colour: Red, green and blue.
        font_size: Height of the text in pixels.
    """
    font = ImageFont.load_default(font_size)
    corner = (float(box[0]), max(0.0, float(box[1]) - font_size * 1.4))
    draw.rectangle(box.tolist(), outline=colour, width=3)
    left, top, right, bottom = draw.textbbox(corner, text, font=font)
    draw.rectangle([left - 4, top - 3, right + 4, bottom + 3], fill=colour)
    draw.text(corner, text, fill="white", font=font)


def draw_still(reader: MediaReader, windows: Sequence[Window]) -> Still | None:
    """
    Draw the middle frame of the window with the highest fake probability, with every face that is visible at that
    time.

    Args:
        reader: The open video.
        windows: Its timeline.

    Returns:
        The still; `None` if faces were not searched for.

    Raises:
        VideoError: If the frame cannot be read again.
    """
    of_faces = [window for window in windows if window.boxes is not None]
    if not of_faces:
        return None
    worst = max(of_faces, key=lambda window: window.entry.fake_probability)
    index = int(worst.frame_indices[len(worst.frame_indices) // 2])
    ((_, frame),) = reader.frames([index])
    image = Image.fromarray(frame)
    own_size = image.size
    image.thumbnail((STILL_SIDE, STILL_SIDE), Image.Resampling.LANCZOS)
    shown: dict[int, np.ndarray] = {}
    for window in of_faces:
        found = np.flatnonzero(window.frame_indices == index)
        if len(found) and window.boxes is not None and window.entry.track_id is not None:
            box = rescale_box(window.boxes[found[0]], window.size, own_size)
            shown[window.entry.track_id] = box * image.width / own_size[0]
    for track_id, box in sorted(shown.items()):
        draw_box(ImageDraw.Draw(image), box, str(track_id + 1), _COLOUR, max(16, image.height // 20))
    return Still(
        time_s=float(reader.timestamps_s[index]),
        track_ids=sorted(shown),
        width=image.width,
        height=image.height,
        jpeg=to_jpeg(np.asarray(image), STILL_SIDE),
    )
