# SPDX-License-Identifier: Apache-2.0
"""Memory that the allocator keeps for later goes back to the operating system."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from clips import write_clip
from deepfake_video import scan
from deepfake_video.scanning.memory import return_free_memory


PIECES, BYTES = 800, 64 << 10


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="only the allocator of GNU keeps memory in this way")
def test_what_a_thread_allocated_and_freed_is_returned():
    before = resident()

    def fill() -> None:
        pieces = [np.ones(BYTES, np.uint8) for _ in range(PIECES)]
        # The last piece stays, so that the allocator cannot give back what lies below it on its own.
        kept.append(pieces.pop())

    kept: list[np.ndarray] = []
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
    return_free_memory()
    assert resident() - before < PIECES * BYTES / 4


def test_a_file_named_after_an_error_of_memory_keeps_its_own_status(tmp_path):
    path = write_clip(tmp_path / "Out of memory.mp4", num_frames=2)
    assert scan(path).status == "no_face"
