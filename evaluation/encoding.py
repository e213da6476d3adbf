# SPDX-License-Identifier: Apache-2.0
"""Encodes frames with a video codec and decodes them again, in memory."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ..video_decoding import VideoDecodeError


FPS = 25


@dataclass(frozen=True)
class Codec:
    """
    A codec of FFmpeg.

    Attributes:
        encoder: Name of the encoder.
        decoder: Name of the decoder.
        options: Options of the encoder besides its quality. They make the encoder write the same bytes on every
            machine: one thread, and for x264 no processor-specific code.
    """

    encoder: str
    decoder: str
    options: dict[str, str] = field(default_factory=dict)


CODECS = {
    "h264": Codec("libx264", "h264", {"x264-params": "cpu-independent=1"}),
    "hevc": Codec(
        "libx265", "hevc", {"preset": "superfast", "x265-params": "pools=none:frame-threads=1:log-level=none"}
    ),
    "vp9": Codec("libvpx-vp9", "vp9", {"deadline": "realtime", "cpu-used": "7", "lag-in-frames": "0"}),
}


def through_codec(
    frames: Iterable[tuple[int, np.ndarray]], codec: str, crf: int, video: str
) -> Iterator[tuple[int, np.ndarray]]:
    """
    Encode frames and decode them again; a new stream begins where the frame size changes.

    Args:
        frames: Index and frame, `(H, W, 3)` uint8 RGB, in order.
        codec: A key of `CODECS`.
        crf: Constant rate factor on the scale of the codec: 0 to 51 for H.264 and HEVC, 0 to 63 for VP9.
        video: Name of the video, for the error message.

    Yields:
        Index and decoded frame.

    Raises:
        VideoDecodeError: If the frames cannot be encoded.
    """
    for (height, width, _), run in itertools.groupby(frames, key=lambda item: item[1].shape):
        indices: list[int] = []
        decoder: Any = av.CodecContext.create(CODECS[codec].decoder, "r")
        decoder.thread_count = 1
        converter = VideoReformatter()
        try:
            packets = _encode(run, height, width, CODECS[codec], crf, indices)
            pictures = itertools.chain.from_iterable(map(decoder.decode, packets))
            for number, picture in enumerate(pictures):
                # Chroma has half the resolution, so an odd side was padded to an even one.
                shown = converter.reformat(picture, format="rgb24", threads=1)
                yield indices[number], shown.to_ndarray()[:height, :width]
        except av.FFmpegError as error:
            raise VideoDecodeError(video, f"the frames cannot be encoded with {codec} ({error})") from error


def _encode(
    frames: Iterable[tuple[int, np.ndarray]], height: int, width: int, codec: Codec, crf: int, indices: list[int]
) -> Iterator[Any]:
    """Yield the packets of a stream, then `None`, which flushes a decoder; append each encoded index to `indices`."""
    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.options = {"crf": str(crf), **codec.options}
    encoder.thread_count = 1
    converter = VideoReformatter()  # by default, PyAV starts a thread per core for each conversion
    for index, frame in frames:
        filled = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(filled, format="rgb24")
        picture.pts, picture.time_base = len(indices), Fraction(1, FPS)
        indices.append(index)
        yield from encoder.encode(converter.reformat(picture, format=encoder.pix_fmt, threads=1))
    yield from encoder.encode(None)
    yield None
