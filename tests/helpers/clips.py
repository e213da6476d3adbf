# SPDX-License-Identifier: Apache-2.0
"""Small video clips for the tests, made on the spot with PyAV: no file is fetched, none is stored.

Every picture of a clip says which one it is: its frame number stands in the top row as eight black or white
blocks (`frame_number` reads it back), over a texture that moves, so that neighbouring frames differ everywhere.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition


_BITS = 8
# What is called a video and is none.
NOT_VIDEOS = {
    "text.mp4": b"hello, this is a letter\n" * 50,
    "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "indented_playlist.mp4": b"\xef\xbb\xbf \n#EXTM3U\n#EXTINF:1,\nclip.ts\n\x00\x00",
    "script.mp4": b"ffconcat version 1.0\nfile secret.mp4\n",
    "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "manifest.mp4": b'<?xml version="1.0"?><MPD></MPD>',
    "wide_text.mp4": "#EXTM3U\nclip.ts\n".encode("utf-16"),
    "empty.mp4": b"",
    "zeros.mp4": bytes(5000),
    "archive.mp4": b"PK\x03\x04\x14\x00\x00\x00" + bytes(range(256)) * 10,
    "photo.mp4": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(300),
}

# A clip whose pictures are worth fetching in parts.
LONG_CLIP: dict[str, Any] = {"num_frames": 200, "keyframe_every": 10, "options": {"crf": "0"}}


def picture(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """The (height, width, 3) uint8 RGB picture with this number (0 to 255)."""
    rows, columns = np.arange(height)[:, None], np.arange(width)
    diagonals = 128 + 60 * np.sin((np.arange(height + width) + 5 * number) / 11)
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = 128 + 60 * np.sin((columns + 3 * number) / 9)
    image[..., 1] = 128 + 60 * np.sin((rows - 2 * number) / 7)
    image[..., 2] = diagonals.astype(np.uint8)[rows + columns]
    block = width // _BITS
    for bit in range(_BITS):
        image[: height // 4, bit * block : (bit + 1) * block] = 255 if number >> bit & 1 else 0
    return image


def frame_number(image: np.ndarray) -> int:
    """Reads the number back from a decoded (H, W, 3) picture of a clip."""
    height, width = image.shape[:2]
    block = width // _BITS
    middles = [image[height // 8, bit * block + block // 2].mean() > 127 for bit in range(_BITS)]
    return sum(1 << bit for bit, is_set in enumerate(middles) if is_set)


def write_clip(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 30,
    width: int = 96,
    height: int = 64,
    fps: int = 25,
    keyframe_every: int = 12,
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int | None = None,
    display_mirrored: bool = False,
    times: list[int] | None = None,
    audio: bool = False,
    title: str | None = None,
    **stream_settings: Any,
) -> Path:
    """Writes a clip whose i-th picture is `picture(i % 256)` and returns its path.

    `times` are presentation times in units of 1/1000 s (frames follow at `fps` without it); `rotation` is the
    counterclockwise turn in degrees that a player has to apply,
    `display_mirrored` a mirroring left to right; `stream_settings` are set on the video stream.
    """
    settings = {"libx264": {"preset": "ultrafast"}, "libx265": {"preset": "ultrafast", "x265-params": "log-level=0"}}
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        if title is not None:
            output.metadata["title"] = title
        stream: Any = output.add_stream(codec, rate=fps, options=settings.get(codec, {}) | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.gop_size = keyframe_every
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None or display_mirrored:
            stream.set_display_rotation(rotation or 0, hflip=display_mirrored)
        for name, value in stream_settings.items():
            setattr(stream, name, value)
        sound: Any = output.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000) if audio else None
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(number % 256, width, height), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = number, Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            for packet in _encode_silence(sound, num_frames / fps):
                output.mux(packet)
    return path


def write_packet_times(
    path: Path,
    pts: list[int | None],
    *,
    dts: list[int] | None = None,
    codec: str = "libx264",
    ticks_per_s: int = 1000,
    audio: bool = False,
) -> Path:
    """A clip whose i-th packet, with `picture(i % 256)`, carries the presentation time `pts[i]` as it is given.

    Without B-frames the order of the packets is that of the pictures. `dts` follow at 25 a second unless given;
    `None` in `pts` leaves a packet without a time, where the container allows that.
    """
    settings = {"libx264": {"preset": "ultrafast", "tune": "zerolatency"}}
    time_base = Fraction(1, ticks_per_s)
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=25, options=settings.get(codec, {}))
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size, stream.codec_context.max_b_frames = 12, 0
        stream.codec_context.time_base = stream.time_base = time_base
        sound: Any = output.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000) if audio else None
        for number, time in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(number % 256), format="rgb24")
            frame.pts, frame.time_base = number * ticks_per_s // 25, time_base
            (packet,) = stream.encode(frame)
            packet.time_base = time_base
            packet.pts, packet.dts = time, number * ticks_per_s // 25 if dts is None else dts[number]
            output.mux(packet)
        for packet in _encode_silence(sound, len(pts) / 25) if audio else []:
            output.mux(packet)
    return path


def _encode_silence(stream: Any, duration_s: float) -> list[Any]:
    packets: list[Any] = []
    size = 960
    for start in range(0, max(int(duration_s * 48000), size), size):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, size * 2), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def write_audio_only(path: Path, *, has_cover: bool = False) -> Path:
    """An mp4 file with a second of silence and no picture, but for one on its cover."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        if has_cover:
            cover: Any = output.add_stream("mjpeg", rate=25)
            cover.width, cover.height, cover.pix_fmt = 96, 64, "yuvj420p"
            cover.disposition = Disposition.attached_pic
            output.mux(cover.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
            output.mux(cover.encode(None))
        for packet in _encode_silence(stream, 1.0):
            output.mux(packet)
    return path


def write_size_change(path: Path, *, first: tuple[int, int] = (96, 64), then: tuple[int, int] = (64, 48)) -> Path:
    """A Matroska MJPEG clip of 16 frames whose pictures change from one (width, height) to another half way."""
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *first, "yuvj420p"
        second = av.CodecContext.create("mjpeg", "w")
        second.width, second.height, second.pix_fmt = *then, "yuvj420p"
        second.time_base, second.framerate = Fraction(1, 25), Fraction(25, 1)
        for number in range(16):
            encoder, size = (stream, first) if number < 8 else (second, then)
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in encoder.encode(frame):
                packet.stream = stream
                output.mux(packet)
    return path


def remux(path: Path, source: Path) -> Path:
    """Copy the packets of the picture into another container."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    return path


def write_truncated(path: Path, source: Path, *, keep: float = 0.6) -> Path:
    """The first part of a file's bytes."""
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def decode_everything(path: Path) -> list[np.ndarray]:
    """Every frame of a file, decoded from the first to the last by a plain loop, as (H, W, 3) uint8 RGB."""
    with av.open(str(path)) as reader:
        return [frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)]


def join_clips(path: Path, parts: list[tuple[Path, float, float]]) -> Path:
    """A video of seconds `start` to `stop` of other videos of one size, one after the other."""
    with av.open(str(path), "w") as output:
        stream = None
        number = 0
        for source, start, stop in parts:
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                for frame in container.decode(video):
                    if not start <= float(frame.time or 0) < stop:
                        continue
                    if stream is None:
                        stream = output.add_stream("libx264", rate=video.average_rate, options={"crf": "18"})
                        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                    frame = frame.reformat(stream.width, stream.height, "yuv420p")
                    frame.pts, frame.time_base = number, 1 / video.average_rate
                    number += 1
                    output.mux(stream.encode(frame))
        assert stream is not None
        output.mux(stream.encode(None))
    return path
