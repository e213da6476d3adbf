# SPDX-License-Identifier: Apache-2.0
"""Index the packets of a video without fetching its pictures, where its container allows that."""

from __future__ import annotations

from dataclasses import replace
from typing import IO, cast

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from .video_containers import Stopwatch, open_container
from .video_errors import VideoLimits
from .video_formats import read_boxes
from .video_packets import PacketIndex, read_packet_index
from .video_stores import StoreFile


__all__ = ["index_packets"]

# Packets of these codecs are indexed without looking at their content.
_OPAQUE_CODECS = frozenset({"h264", "hevc"})


def index_packets(
    file: IO[bytes],
    container: InputContainer,
    stream: VideoStream,
    source: object,
    *,
    limits: VideoLimits,
    watch: Stopwatch,
) -> PacketIndex:
    """Index the packets of an open file as [`read_packet_index`] does.

    The index of an MP4 file is in its header. While such a file in a store is indexed, its pictures read as zeros, so
    that only the header is fetched. Other files are read whole.

    Args:
        file: The file, whose position stays the same.
        container: The container that was opened from it.
        stream: The video stream.
        source: Path or address, for messages.
        limits: Limits of reading.
        watch: Measures the time.

    Raises:
        VideoError: See [`read_packet_index`].
    """
    if not isinstance(file, StoreFile) or not _has_index(container, stream):
        return read_packet_index(container, stream, source, watch=watch)
    position = file.tell()
    try:
        index = _index_header(file, source, limits, watch)
    finally:
        file.seek(position)
    return read_packet_index(container, stream, source, watch=watch) if index is None else index


def _index_header(file: StoreFile, source: object, limits: VideoLimits, watch: Stopwatch) -> PacketIndex | None:
    """The index of an MP4 file from its header; `None` if the header does not list every packet."""
    opened = cast(IO[bytes], file)
    boxes = list(read_boxes(opened))
    if any(kind == b"moof" for kind, _, _ in boxes):
        return None
    file.seek(0)
    # A container of its own, because its buffers will be full of zeros.
    container, stream = open_container(opened, source, limits=limits, watch=watch, is_threaded=False)
    try:
        with file.without_fetching([(start, end) for kind, start, end in boxes if kind == b"mdat"]):
            index = read_packet_index(container, stream, source, watch=watch)
        # The parser does not find the keyframes among zeros.
        keys = np.array([entry.is_keyframe for entry in stream.index_entries], bool)
        if len(keys) != len(index.pts) or not keys.any():
            return None
        return replace(index, keys=np.flatnonzero(keys))
    finally:
        container.close()


def _has_index(container: InputContainer, stream: VideoStream) -> bool:
    return container.format.name.startswith("mov") and stream.codec_context.name in _OPAQUE_CODECS
