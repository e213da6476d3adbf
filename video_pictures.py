# SPDX-License-Identifier: Apache-2.0
"""Convert decoded frames to pictures as a player shows them: square pixels, SDR colours, upright.

Non-square pixels are made square by enlarging their shorter side, so that no line or column is lost. The pixel aspect
ratio of the container takes precedence over that of the codec, which may change from frame to frame. Transparent parts
of animated pictures are white.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.reformatter import ColorPrimaries, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from .video_color import UnsupportedColorError, check_matrix, color_note, put_on_white, to_rgb
from .video_errors import UnsupportedVideoError, VideoDecodeError
from .video_hardware import as_planar


__all__ = ["PictureConverter"]

# Sample aspect ratios beyond this, or its inverse, come from a damaged header. The largest in use is 2:1 or so.
MAX_PIXEL_ASPECT = 4
# Smaller deviations come from rounding the size of the picture to whole or even numbers, and nobody sees them.
PIXEL_ASPECT_TOLERANCE = 0.01
# Codecs of animated pictures, whose viewers show transparent parts on the page behind; players ignore the opacity of
# videos.
PICTURE_CODECS = ("apng", "gif")


class PictureConverter:
    """Converts the decoded frames of one video to (H, W, 3) uint8 RGB pictures as displayed.

    Args:
        source: The video, for messages.
        max_pixels: Largest width times height of a picture whose pixels are made square.
        warnings: Receives one sentence for each kind of conversion that was applied.
    """

    def __init__(self, source: object, *, max_pixels: int, warnings: list[str]) -> None:
        self._source, self._max_pixels, self._warnings = source, max_pixels, warnings
        # Each keeps the tables of one conversion.
        self._reformatter, self._planar_reformatter = VideoReformatter(), VideoReformatter()
        self._opacity_reformatter = VideoReformatter()
        self._turns: dict[int, tuple[bool, int, int]] = {}
        self._stretchers: dict[tuple[object, ...], Graph] = {}
        self._stream: VideoStream | None = None
        self._container_aspect: Fraction | None = None
        self._is_square, self._has_opacity = True, False

    def begin(self, stream: VideoStream) -> None:
        """Set the stream whose frames are converted next, before any of them is decoded."""
        self._stream = stream
        declared = stream.sample_aspect_ratio
        # Where the container declares no pixel shape, PyAV gives that of the codec, which may change later on.
        self._container_aspect = declared if declared != stream.codec_context.sample_aspect_ratio else None
        self._is_square, self._has_opacity = True, stream.codec_context.name in PICTURE_CODECS

    def end(self) -> None:
        """Release the stream; the threads of its decoder end with the last reference to it."""
        self._stream = None

    def convert(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert a frame that was just decoded from the stream.

        Raises:
            UnsupportedVideoError: If its colours cannot be converted.
            VideoDecodeError: If its pixel format cannot be converted.
        """
        try:
            check_matrix(frame)
            frame = as_planar(frame, self._planar_reformatter)
            displayed = self._make_square(frame)
            if note := color_note(frame):
                self._warn(note)
            picture = to_rgb(displayed, self._reformatter)
            if self._has_opacity:
                picture = put_on_white(picture, displayed, self._opacity_reformatter)
        except UnsupportedColorError as error:
            raise UnsupportedVideoError(self._source, f"{error}; convert it to H.264 with BT.709 colours") from None
        except (av.FFmpegError, ValueError) as error:
            message = f"its pixel format ({frame.format.name}) cannot be converted ({error})"
            raise VideoDecodeError(self._source, message) from None
        return self._turn_upright(frame, picture)

    def _make_square(self, frame: av.VideoFrame) -> av.VideoFrame:
        if self._stream is not None:
            aspect = self._container_aspect or self._stream.codec_context.sample_aspect_ratio or Fraction(1)
            if not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
                shape = f"{aspect.numerator}:{aspect.denominator}"
                self._warn(f"the declared pixel aspect ratio {shape} is implausible: pixels were treated as square")
            # The codec context is ahead of its frames by the depth of reordering, so once there were other pixels,
            # the frames themselves are asked.
            elif abs(aspect - 1) > PIXEL_ASPECT_TOLERANCE:
                self._is_square = False
        return frame if self._is_square else self._stretch(frame)

    def _stretch(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Scale a frame by its own pixel aspect ratio, which only libavfilter can read."""
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if key not in self._stretchers:
            self._stretchers.clear()  # a size that changed seldom changes back
            self._stretchers[key] = _build_stretcher(key, self._container_aspect, self._max_pixels)
        # The filter refuses some transfers and primaries, though it converts neither.
        transfer, primaries = frame.color_trc, frame.color_primaries
        frame.color_trc, frame.color_primaries = ColorTrc.UNSPECIFIED, ColorPrimaries.UNSPECIFIED
        # The filters do not keep their graph alive (PyAV 18), so they are only reached through it.
        self._stretchers[key].vpush(frame)
        stretched = self._stretchers[key].vpull()
        stretched.color_trc, stretched.color_primaries = transfer, primaries
        return stretched

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warnings:
            self._warnings.append(sentence)

    def _turn_upright(self, frame: av.VideoFrame, picture: np.ndarray) -> np.ndarray:
        # A frame whose side data was read holds itself in a reference cycle (PyAV 18) and stays in memory until the
        # garbage collector comes by, so the matrix is read once for all frames that are turned alike.
        if frame.rotation not in self._turns:
            self._turns[frame.rotation] = _read_turn(frame)
        is_quarter_turn, rows, columns = self._turns[frame.rotation]
        if is_quarter_turn:
            picture = picture.swapaxes(0, 1)
        return np.ascontiguousarray(picture[::rows, ::columns])


def _build_stretcher(key: tuple[object, ...], aspect: Fraction | None, max_pixels: int) -> Graph:
    """Build a filter graph that scales each frame of this format to square pixels.

    `aspect` is the pixel shape of all frames; without it, each frame's own counts.
    """
    width, height, pixel_format, matrix, color_range = key
    graph = Graph()
    graph.threads = 1
    first = graph.add(
        "buffer",
        f"video_size={width}x{height}:pix_fmt={pixel_format}:time_base=1/1000:pixel_aspect=1/1:"
        f"colorspace={matrix}:range={color_range}",
    )
    # The filter that sets a shape sets that of all frames, so it is left out where each frame's own counts.
    given = [] if aspect is None else [graph.add("setsar", f"{aspect.numerator}/{aspect.denominator}")]
    # Unknown, absurd and nearly square shapes count as square.
    low, high = 1 - PIXEL_ASPECT_TOLERANCE, 1 + PIXEL_ASPECT_TOLERANCE
    is_taken = f"between(sar,{1 / MAX_PIXEL_ASPECT},{MAX_PIXEL_ASPECT})*not(between(sar,{low},{high}))"
    wider, taller = f"if({is_taken},max(sar,1),1)", f"if({is_taken},max(1/sar,1),1)"
    shrink = f"min(1,sqrt({max_pixels}/(iw*ih*({wider})*({taller}))))"
    scale = graph.add(
        "scale", f"w='round(iw*({wider})*({shrink}))':h='round(ih*({taller})*({shrink}))':eval=frame:flags=bicubic"
    )
    last = graph.add("buffersink")
    graph.link_nodes(first, *given, scale, last).configure()
    return graph


def _read_turn(frame: av.VideoFrame) -> tuple[bool, int, int]:
    """Read the rotation in the display matrix: whether rows and columns are swapped, then the step along each."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return False, 1, 1
    # Displayed x = a * x + c * y and y = b * x + d * y; a negative factor means from the far end.
    a, b, _, c, d = np.frombuffer(memoryview(data), dtype=np.int32)[:5].tolist()
    is_quarter_turn = abs(b) + abs(c) > abs(a) + abs(d)
    if is_quarter_turn:
        a, d = c, b
    return is_quarter_turn, -1 if d < 0 else 1, -1 if a < 0 else 1
