# SPDX-License-Identifier: Apache-2.0
"""Former name of [`clip_reading`], kept for `evaluation/` until it imports the new one."""

from .clip_reading import ReadVideo as ReadVideo
from .clip_reading import SeenFace as SeenFace
from .clip_reading import as_video_error as as_video_error
from .clip_reading import read_open_video as read_open_video
from .clip_reading import read_video as read_video
from .clip_reading import times_of as times_of
