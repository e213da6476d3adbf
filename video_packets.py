# SPDX-License-Identifier: Apache-2.0
"""Index the packets of a stream without decoding them, and plan which have to be decoded for a set of frames."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from .video_containers import Stopwatch
from .video_errors import VideoTooLargeError
from .video_formats import SEEKABLE_CODECS, refuse_encrypted


__all__ = ["PacketIndex", "PlanError", "Run", "read_packet_index", "read_packets", "read_run"]

# Formats in which every packet is one picture whose time the decoder does not change.
SEEKABLE_CONTAINERS = frozenset({"mov", "matroska"})
MAX_PACKETS = 5_000_000
# An MPEG-4 packet this small is a placeholder of a packed stream or repeats a picture: the decoder returns no picture
# for it.
_PLACEHOLDER_BYTES = 16


class PlanError(Exception):
    """The decoded frames differ from those that the packets announced, so the whole file must be decoded."""


@dataclass(frozen=True)
class Run:
    """The packets `start` to `stop` (inclusive, in decoding order) that give the ascending frames `targets`."""

    start: int
    stop: int
    targets: list[int]


@dataclass
class PacketIndex:
    """The packets of one stream in decoding order, and the frames in order of presentation.

    Attributes:
        pts: (packets,) int64 presentation times in units of the stream.
        seek_times: (packets,) int64 times under which the index of the container lists them.
        durations: (packets,) int64 in units of the stream, 0 where unknown.
        keys: (keyframes,) int64 positions of the keyframes.
        order: (frames,) int64, the packet of each frame.
        has_times: Whether every packet has a presentation time and no two are equal.
        is_seekable: Whether decoding may start at keyframes.
        has_droppable: Whether the decoder can identify pictures that no other picture depends on.
        is_cut_off: Whether the file ends before its packets do.
        num_bytes: Size of all packets.
    """

    pts: np.ndarray
    seek_times: np.ndarray
    durations: np.ndarray
    keys: np.ndarray
    order: np.ndarray
    has_times: bool
    is_seekable: bool
    has_droppable: bool
    is_cut_off: bool
    num_bytes: int

    def plan(self, targets: list[int]) -> list[Run]:
        """Plan runs of packets for ascending frame indices; a seek is used only to skip a group of pictures."""
        runs: list[Run] = []
        for target in targets:
            position = int(self.order[target])
            group = int(np.searchsorted(self.keys, position, side="right")) - 1
            # Pictures shown before the keyframe they follow in the file may need the group before it.
            while self.pts[self.keys[group]] > self.pts[position]:
                group -= 1
            if runs and group <= np.searchsorted(self.keys, runs[-1].stop, side="right"):
                last = runs.pop()
                runs.append(Run(last.start, max(last.stop, position), [*last.targets, target]))
            else:
                runs.append(Run(int(self.keys[group]), position, [target]))
        return runs


def read_packets(container: InputContainer, stream: VideoStream, *, watch: Stopwatch) -> Iterator[Packet[VideoStream]]:
    """Yield the packets of the stream that contain data, from the current position; damage raises `av.FFmpegError`."""
    packets = container.demux(stream)
    while True:
        watch.check()
        try:
            packet = next(packets)
        except (StopIteration, IndexError):  # PyAV's end, and how it ends where streams appeared on the way
            watch.check()
            return
        if packet.size:
            yield packet


def read_run(
    container: InputContainer, stream: VideoStream, index: PacketIndex, run: Run, *, watch: Stopwatch
) -> Iterator[Packet[VideoStream] | None]:
    """Yield the packets of a run, then `None` to flush the decoder. The seek before may have ended before the run.

    Raises:
        PlanError: If the packets are not those of the index.
    """
    position = run.start - 1
    for packet in read_packets(container, stream, watch=watch):
        if position < run.start and packet.pts != index.pts[run.start]:
            continue
        position += 1
        if packet.pts != index.pts[position]:
            raise PlanError
        yield packet
        if position == run.stop:
            break
    yield None


def read_packet_index(
    container: InputContainer, stream: VideoStream, source: object, *, watch: Stopwatch
) -> PacketIndex:
    """Read all packets of the stream once, without decoding.

    Raises:
        VideoTooLargeError: If there are more than 5 million.
        UnsupportedVideoError: If they are encrypted.
        VideoTimeoutError: If reading takes longer than allowed.
    """
    pts, dts, durations, keys, shown = (array("q") for _ in range(5))
    is_hidden = _HIDDEN_TESTS.get(stream.codec_context.name, _is_never)
    is_complete, is_cut_off = True, False
    smallest, num_bytes = 1 << 62, 0
    try:
        for packet in read_packets(container, stream, watch=watch):
            if len(pts) == MAX_PACKETS:
                raise VideoTooLargeError(source, f"it has more than {MAX_PACKETS:,} packets; cut it into parts")
            if not pts:
                refuse_encrypted(packet, source)
            is_complete &= packet.pts is not None
            smallest = min(smallest, packet.size)
            num_bytes += packet.size
            if packet.is_keyframe:
                keys.append(len(pts))
            # A packet that the end of the file cuts short would show as half a picture.
            is_cut_off = packet.is_corrupt
            if not packet.is_discard and not is_hidden(packet):
                shown.append(len(pts))
            pts.append(packet.pts or 0)
            dts.append(packet.pts or 0 if packet.dts is None else packet.dts)
            durations.append(packet.duration or 0)
    except av.FFmpegError:
        is_cut_off = True
    if is_cut_off and shown and shown[-1] == len(pts) - 1:
        shown.pop()
    kind = container.format.name.split(",")[0]
    # The index of an AVI file lists dropped frames too, without a size.
    if kind in ("mov", "avi") and len(stream.index_entries) > len(pts):
        is_cut_off |= sum(entry.size > 0 for entry in stream.index_entries) > len(pts)
    return _build_index(kind, stream, *(np.array(a, np.int64) for a in (pts, dts, durations, keys, shown)),
                        is_complete=is_complete, smallest=smallest, is_cut_off=is_cut_off,
                        num_bytes=num_bytes)  # fmt: skip


def _build_index(
    kind: str,
    stream: VideoStream,
    pts: np.ndarray,
    dts: np.ndarray,
    durations: np.ndarray,
    keys: np.ndarray,
    shown: np.ndarray,
    *,
    is_complete: bool,
    smallest: int,
    is_cut_off: bool,
    num_bytes: int,
) -> PacketIndex:
    codec = stream.codec_context
    order = shown[np.argsort(pts[shown], kind="stable")]
    has_times = is_complete and len(order) > 0 and len(np.unique(pts)) == len(pts)
    starts_clean = len(keys) > 0 and keys[0] == 0 and pts[0] == pts.min()
    is_progressive = codec.field_order in (0, 1)
    has_placeholders = codec.name == "mpeg4" and smallest < _PLACEHOLDER_BYTES
    is_seekable = kind in SEEKABLE_CONTAINERS and codec.name in SEEKABLE_CODECS
    return PacketIndex(
        pts=pts,
        seek_times=pts if kind == "matroska" else dts,
        durations=durations,
        keys=keys,
        order=order,
        has_times=has_times,
        is_seekable=is_seekable and has_times and starts_clean and is_progressive and not has_placeholders,
        has_droppable=_has_droppable_pictures(stream),
        is_cut_off=bool(is_cut_off),
        num_bytes=num_bytes,
    )


def _has_droppable_pictures(stream: VideoStream) -> bool:
    """Return whether pictures that the decoder calls "non-reference" are never needed by other pictures."""
    codec = stream.codec_context
    if codec.name == "hevc":
        # With several temporal layers, such a picture may be needed by a higher one. Byte 21 of the configuration
        # record (ISO/IEC 14496-15, 8.3.3.1) has their number in bits 3 to 5.
        record = codec.extradata or b""
        return len(record) > 21 and record[0] == 1 and record[21] >> 3 & 7 == 1
    return codec.name in ("h264", "mpeg4", "vp8")


def _is_never(packet: Packet[Any]) -> bool:
    return False


def _is_hidden_vp8(packet: Packet[Any]) -> bool:
    return not memoryview(packet)[0] & 0x10


def _is_hidden_vp9(packet: Packet[Any]) -> bool:
    """Return whether it is a single hidden frame (VP9 specification, 6.2); a superframe ends with a shown one."""
    content = memoryview(packet)
    if content[-1] & 0xE0 == 0xC0:
        return False
    bits = f"{content[0]:08b}"
    after_profile = 5 if bits[2:4] == "11" else 4
    shows_existing, is_shown = bits[after_profile] == "1", bits[after_profile + 2] == "1"
    return not shows_existing and not is_shown


_HIDDEN_TESTS: dict[str, Callable[[Packet[Any]], bool]] = {"vp8": _is_hidden_vp8, "vp9": _is_hidden_vp9}
