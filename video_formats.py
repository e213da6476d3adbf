# SPDX-License-Identifier: Apache-2.0
"""Supported containers and codecs, the choice of the stream to score, and explanations of unreadable files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import IO

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from .video_errors import UnsupportedVideoError, VideoDecodeError, VideoTooLargeError


__all__ = [
    "CONTAINERS",
    "ELEMENTARY",
    "MAX_TRACKS",
    "SEEKABLE_CODECS",
    "THREADED_CODECS",
    "choose_stream",
    "describe_other_streams",
    "explain_no_frames",
    "explain_open_failure",
    "forced_format",
    "frame_rate",
    "other_streams",
    "refuse_encrypted",
]

# Elementary streams have no container, so nothing but their codec tells when a frame is shown.
ELEMENTARY = frozenset({"h264", "hevc"})
CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,mxf,dv,yuv4mpegpipe,h264,hevc"
# Every packet of these is a picture of its own: what archives and laboratories keep.
LOSSLESS_CODECS = frozenset({"huffyuv", "ffvhuff", "rawvideo", "v210", "utvideo", "magicyuv", "jpeg2000"})
# In the containers that are seeked in, the time of each picture comes out of these decoders unchanged.
SEEKABLE_CODECS = LOSSLESS_CODECS | {
    "h264", "hevc", "vp8", "vp9", "libdav1d", "mpeg4", "mjpeg", "prores", "ffv1", "dnxhd"
}  # fmt: skip
# Those whose frames need each other; for the rest, threads only make damaged frames come out by chance.
THREADED_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "libdav1d", "mpeg4"})
_OTHER_CODECS = (
    "libaom-av1 av1 mpeg1video mpeg2video msmpeg4v1 msmpeg4v2 msmpeg4 h263 flv theora gif apng wmv1 wmv2 wmv3 vc1 "
    "dvvideo"
)
CODECS = SEEKABLE_CODECS | set(_OTHER_CODECS.split())
MAX_TRACKS = 1000
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
# Boxes of ISO/IEC 14496-12 that may stand at the beginning of a file.
_FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"sidx", b"free", b"skip", b"wide", b"emsg"})
_UNSPECIFIED_TRANSFER = 2
_MAX_BOXES = 10_000
_VIDEO_MAGIC = (b"\x1aE\xdf\xa3", b"FLV", b"OggS", b"GIF8", b"\x00\x00\x01\xba", b"\x30\x26\xb2\x75", b"YUV4MPEG2")
_SOUND_MAGIC = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"#!AMR")
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_MAX_WEBM_HEADER = 1 << 16
_WEBM_CLUSTER = b"\x1fC\xb6u"


def choose_stream(container: InputContainer, source: object) -> VideoStream:
    """Choose the default video stream, or the first one, among those that are readable and not a still picture.

    Raises:
        UnsupportedVideoError: If there is none.
    """
    moving = _moving_streams(container)
    if not moving:
        raise UnsupportedVideoError(source, "it contains no video stream")
    readable = [stream for stream in moving if _codec_name(stream) in CODECS]
    if not readable:
        name = _codec_name(moving[0])
        raise UnsupportedVideoError(source, f"its codec ({name}) is not supported; convert it to H.264")
    stream = next((stream for stream in readable if stream.disposition & Disposition.default), readable[0])
    if _codec_tag(stream) in ("dvh1", "dvhe", "dav1") and stream.codec_context.color_trc == _UNSPECIFIED_TRANSFER:
        # Profiles 5 and 10.0 have no base layer for other players: their matrix is in metadata that is not read here.
        raise UnsupportedVideoError(source, "Dolby Vision colours are not supported; convert it to HDR10, HLG or SDR")
    return stream


def other_streams(container: InputContainer, stream: VideoStream) -> list[VideoStream]:
    """Return the video streams besides the chosen one, without still pictures."""
    return [other for other in _moving_streams(container) if other.index != stream.index]


def describe_other_streams(container: InputContainer, stream: VideoStream) -> str | None:
    """Describe the video streams that are not scored in a sentence; `None` if there are only still pictures."""
    others = other_streams(container, stream)
    if not others:
        return None
    names = ", ".join(f"{other.index} ({_describe(other)})" for other in others[:4]) + ", ..." * (len(others) > 4)
    plural = "s" if len(others) > 1 else ""
    return f"only video stream {stream.index} ({_describe(stream)}) was scored; not scored: stream{plural} {names}"


def frame_rate(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the declared frames per second; for an elementary stream, the frame rate declared by its codec."""
    if container.format.name in ELEMENTARY:
        return float(stream.guessed_rate or 0) or None
    return float(stream.average_rate or stream.guessed_rate or 0) or None


def forced_format(file: IO[bytes]) -> str | None:
    """Return the demuxer of a file that libav does not detect by itself; the position is reset to 0."""
    file.seek(0)
    # An animation may stand behind a long profile or text, where probing sees a still picture. Still pictures with
    # this signature were refused before.
    name = "apng" if file.read(8) == b"\x89PNG\r\n\x1a\n" else None
    file.seek(0)
    return name


def refuse_encrypted(packet: Packet[VideoStream], source: object) -> None:
    """Raise `UnsupportedVideoError` if the content of a packet is encrypted (ISO/IEC 23001-7)."""
    if packet.has_sidedata("encryption_info"):
        raise UnsupportedVideoError(source, "it is encrypted (DRM); use a copy without copy protection")


def explain_open_failure(
    file: IO[bytes], source: object, error: av.FFmpegError
) -> UnsupportedVideoError | VideoDecodeError | VideoTooLargeError:
    """Explain why libav cannot open a file."""
    boxes = list(read_boxes(file))
    kinds = {kind for kind, _, _ in boxes}
    file.seek(0)
    head = file.read(16)
    if error.errno == errno.ENOMEM:
        message = f"its header declares more than {MAX_TRACKS:,} tracks, or more than fits into memory"
        if (tracks := _count_tracks(file, boxes)) > MAX_TRACKS:
            message = f"it has {tracks:,} tracks; at most {MAX_TRACKS:,} are read"
        return VideoTooLargeError(source, f"{message}; copy its video track into a separate file")
    if (b"moof" in kinds and b"moov" not in kinds) or head.startswith(_WEBM_CLUSTER):
        return _missing_init(source)
    if _is_init_segment(file, kinds):
        return _missing_media(source)
    if b"mdat" in kinds and b"moov" not in kinds:
        message = "its index (the moov box) is missing, so the recording or the copy was cut off; copy it again"
        return VideoDecodeError(source, f"the video is damaged or incomplete: {message}")
    if boxes or head[8:12] == b"AVI " or head.startswith(_VIDEO_MAGIC):
        return VideoDecodeError(source, f"the video is damaged or incomplete ({error.strerror}); copy it again")
    if head.startswith(_APPLE_DOUBLE):
        message = 'this is a companion file that macOS wrote (AppleDouble); the video has the same name without "._"'
        return UnsupportedVideoError(source, message)
    if head.startswith(_SOUND_MAGIC) or head[8:12] == b"WAVE":
        return UnsupportedVideoError(source, "this is an audio file without video")
    return UnsupportedVideoError(source, "unsupported file format; convert it to mp4")


def explain_no_frames(file: IO[bytes], source: object) -> VideoDecodeError:
    """Explain why no frame of an open file can be decoded."""
    if _is_init_segment(file, {kind for kind, _, _ in read_boxes(file)}):
        return _missing_media(source)
    return VideoDecodeError(source, "no frame can be decoded, because the file is damaged; copy or download it again")


def _is_init_segment(file: IO[bytes], kinds: set[bytes]) -> bool:
    """Return whether a file consists only of the header of a fragmented MP4 or WebM file."""
    if b"moov" in kinds:
        return not kinds & {b"moof", b"mdat"}
    file.seek(0)
    start = file.read(_MAX_WEBM_HEADER)
    return len(start) < _MAX_WEBM_HEADER and start.startswith(_VIDEO_MAGIC[0]) and _WEBM_CLUSTER not in start


def _missing_media(source: object) -> VideoDecodeError:
    message = "it contains only the initialisation segment of a stream (DASH or HLS) and no pictures"
    return VideoDecodeError(source, f"{message}; append its media segments: cat init.mp4 *.m4s > video.mp4")


def _missing_init(source: object) -> UnsupportedVideoError:
    message = "this is a media segment of a stream (DASH or HLS) without its initialisation segment"
    return UnsupportedVideoError(source, f"{message}; prepend it: cat init.mp4 segment.m4s > video.mp4")


def _moving_streams(container: InputContainer) -> list[VideoStream]:
    """Return the video streams without covers, thumbnails and, if there are longer ones, single frames."""
    streams = [stream for stream in container.streams.video if not stream.disposition & _STILLS]
    return [stream for stream in streams if stream.frames != 1] or streams


def _codec_name(stream: VideoStream) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "unknown"


def _codec_tag(stream: VideoStream) -> str:
    try:
        return stream.codec_context.codec_tag
    except UnicodeDecodeError:  # any four bytes of an untrusted file
        return ""


def _describe(stream: VideoStream) -> str:
    codec = stream.codec_context
    return "unknown codec" if codec is None else f"{codec.name}, {codec.width}x{codec.height}"


def read_boxes(file: IO[bytes], start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, first byte of the content, end) of the boxes between two places; nothing if it is no ISO base media."""
    end = file.seek(0, os.SEEK_END) if end is None else end
    is_top, position = start == 0, start
    for number in range(_MAX_BOXES):
        if position + 8 > end:
            return
        file.seek(position)
        header = file.read(16)
        size, kind, content = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if is_top and number == 0 and kind not in _FIRST_BOXES:
            return
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), position + 16
        elif size == 0:
            size = end - position
        if size < content - position:
            return
        yield kind, content, min(position + size, end)
        position += size


def _count_tracks(file: IO[bytes], boxes: list[tuple[bytes, int, int]]) -> int:
    movies = [(content, end) for kind, content, end in boxes if kind == b"moov"]
    return sum(kind == b"trak" for span in movies for kind, _, _ in read_boxes(file, *span))
