# SPDX-License-Identifier: Apache-2.0
"""The clips that are measured, made on the spot."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from deepfake_video.scanning.sample import draw_face


FPS = 25
_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "row-mt": "1"},
}


def write_clip(
    path: Path, *, codec: str = "libx264", size: tuple[int, int] = (1280, 720), seconds: int = 10, keyframe_every: int
) -> Path:
    """A moving texture with some noise, (width, height) pixels, 25 frames a second."""
    width, height = size
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 40, width // 40, 3), np.uint8).repeat(40, 0).repeat(40, 1)
    texture = np.clip(coarse + rng.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)
    pictures = (np.roll(texture, (2 * number, 5 * number), (0, 1)) for number in range(seconds * FPS))
    return _encode(path, pictures, codec, (texture.shape[1] // 2 * 2, texture.shape[0] // 2 * 2), keyframe_every)


def write_face(path: Path, *, size: tuple[int, int] = (1280, 720), seconds: int = 10) -> Path:
    """A drawn face that moves before a blurred background, (width, height) pixels."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(40, 216, (18, 32, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    background = np.clip(np.asarray(coarse) + rng.normal(0, 4, (*size[::-1], 3)), 0, 255).astype(np.uint8)

    def picture(number: int) -> np.ndarray:
        drawn = np.asarray(Image.fromarray(draw_face(number / FPS)).resize(size, Image.Resampling.BILINEAR))
        is_empty = (np.abs(drawn.astype(np.int16) - drawn[0, 0]) <= 2).all(-1, keepdims=True)
        return np.where(is_empty, background, drawn)

    return _encode(path, map(picture, range(seconds * FPS)), "libx264", size, 50)


def _encode(path: Path, pictures: Any, codec: str, size: tuple[int, int], keyframe_every: int) -> Path:
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=FPS, options=_OPTIONS[codec])
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size = keyframe_every
        # One slice a picture, as ffmpeg's own command writes it; PyAV would make x264 write one for each thread.
        stream.thread_type = "FRAME"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: size[1], : size[0]]), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def repeat_clip(path: Path, source: Path, times: int) -> Path:
    """Write a long clip that repeats the packets of a short one, without encoding it again."""
    with av.open(str(path), "w") as output:
        with av.open(str(source)) as first:
            stream: Any = output.add_stream_from_template(first.streams.video[0])
            length = int(first.streams.video[0].duration or 0)
        for turn in range(times):
            with av.open(str(source)) as reader:
                for packet in reader.demux(video=0):
                    if packet.dts is not None and packet.pts is not None:
                        packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                        packet.stream = stream
                        output.mux(packet)
    return path
