# SPDX-License-Identifier: Apache-2.0
"""Memory of this process: returning what was freed, and recognising that there is not enough."""

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator

from ..video_errors import VideoError


# What torch and onnxruntime say in errors of several classes.
_NOT_ENOUGH = re.compile("out of memory|allocate memory|not enough memory|bad.?alloc|alloc_failed", re.IGNORECASE)


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """
    Raise `MemoryError` where torch or onnxruntime report with a class of their own that there is not enough memory.

    Example:
        >>> from deepfake_video.scanning.memory import memory_errors
        >>> try:
        ...     with memory_errors():
        ...         raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        ... except MemoryError as error:
        ...     print(error)
        CUDA out of memory. Tried to allocate 20.00 GiB
    """
    try:
        yield
    except (MemoryError, VideoError):
        # The message of a `VideoError` contains the name of a file, which may be anything.
        raise
    except Exception as error:
        if _NOT_ENOUGH.search(str(error)):
            raise MemoryError(str(error)) from error
        raise


def return_free_memory() -> None:
    """
    Return the memory that was freed by this process to the operating system; does nothing where that is impossible.

    The GNU allocator keeps the freed memory of large arrays for later arrays of the same thread, so that a thread that
    decodes and one that runs the network would each hold such memory. Returning it takes milliseconds.
    """
    if sys.platform != "linux":
        return
    # Other C libraries, such as musl, have no such function and keep less.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
