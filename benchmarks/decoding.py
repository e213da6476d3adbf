# SPDX-License-Identifier: Apache-2.0
"""What a worker process does that only decodes; it imports as little as one that reads for a scan."""

from deepfake_video.video_decoding import VideoLimits, VideoReader
from deepfake_video.video_sources import select_frames


NUM_FRAMES = 20


def decode_in_worker(path: str, *, limits: VideoLimits | None) -> int:
    """Decode 20 evenly spaced frames of a video, and return how many there are."""
    with VideoReader(path, limits=limits) as reader:
        return sum(1 for _ in reader.frames(select_frames(reader.num_frames, NUM_FRAMES), keep=False))
