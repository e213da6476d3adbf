# SPDX-License-Identifier: Apache-2.0
"""Generate a short sample video with a drawn face, to try the tools without a video."""

from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter


WIDTH, HEIGHT, FPS = 640, 360, 25
# The face is drawn larger and scaled down for smooth edges.
_SCALE = 2


def write_sample_video(path: str | Path, *, num_frames: int = 50) -> Path:
    """
    Write a video of a drawn face that moves its head and blinks, as H.264 in MP4.

    Args:
        path: The file to write.
        num_frames: Number of frames, at 25 frames per second.

    Returns:
        The path.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw_face(index / FPS), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Path(path)


def draw_face(time_s: float) -> np.ndarray:
    """
    Draw one frame of a face that moves from side to side and blinks every second.

    Args:
        time_s: Time of the frame in seconds.

    Returns:
        Array of shape (360, 640, 3), uint8 RGB.
    """
    image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), (96, 112, 128))
    draw = ImageDraw.Draw(image)
    x, y = WIDTH // 2 + 40 * np.sin(2 * np.pi * 0.4 * time_s), HEIGHT // 2 + 5 * np.sin(2 * np.pi * time_s)

    def ellipse(dx: float, dy: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        corners = [x + dx - width, y + dy - height, x + dx + width, y + dy + height]
        draw.ellipse([corner * _SCALE for corner in corners], fill=colour)

    skin, shade, hair, lips = (214, 170, 140), (190, 146, 118), (60, 42, 32), (170, 90, 84)
    ellipse(0, 150, 130, 70, (70, 80, 110))  # shoulders
    ellipse(0, 80, 32, 50, shade)  # neck
    ellipse(0, -22, 76, 92, hair)
    ellipse(0, 0, 64, 84, skin)
    eye_height = 2.0 if time_s % 1.0 < 0.12 else 6.5
    for side in (-1, 1):
        ellipse(side * 64, 2, 8, 16, shade)  # ear
        ellipse(side * 26, -31, 15, 4, hair)  # brow
        ellipse(side * 26, -15, 14, eye_height + 3, shade)
        ellipse(side * 26, -15, 12, eye_height, (240, 238, 234))
        ellipse(side * 26, -15, min(6.0, eye_height), eye_height, (50, 40, 36))
        ellipse(side * 8, 22, 6, 4, shade)  # nostril
    ellipse(0, 6, 6, 22, (224, 184, 156))  # bridge of the nose
    ellipse(0, 48, 24, 8, lips)
    ellipse(0, 47, 20, 2, (120, 50, 50))
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(1.0))
    return np.asarray(image)
