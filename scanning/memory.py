# SPDX-License-Identifier: Apache-2.0
"""Return freed memory to the operating system."""

import ctypes
import sys


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
