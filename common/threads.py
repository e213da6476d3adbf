# SPDX-License-Identifier: Apache-2.0
"""
How many threads the numerical libraries of this process use, and how those wait.

Scans gain from several videos, frames or stages at a time, each computed by one thread: a convolution that is split
among threads waits for the slowest of them at every layer, and its threads wait by counting, which takes the processor
from others.
"""

import os
import sys


THREADS_VARIABLE = "OMP_NUM_THREADS"
# Of the OpenMP of GNU, of that of Intel and LLVM, and the sizes of pools that do not ask OpenMP.
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
_POOLS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_MOST = 1024


def wanted_threads(asked: int | None = None) -> int:
    """
    Threads that compute at the same time.

    Args:
        asked: What the user typed; otherwise `OMP_NUM_THREADS` decides, and without it there is one.

    Raises:
        ValueError: If the number is not positive, or too large to be meant.

    Example:
        >>> wanted_threads(2)
        2
    """
    if asked is None:
        # A list is OpenMP's way to name a number for each level of nested regions.
        text = os.environ.get(THREADS_VARIABLE, "").partition(",")[0].strip()
        return int(text) if text.isdecimal() and 1 <= int(text) <= _MOST else 1
    if not 1 <= asked <= _MOST:
        raise ValueError(f"the number of threads must lie between 1 and {_MOST}, got {asked}.")
    return asked


def limit_threads(count: int) -> None:
    """
    Let the libraries that are imported from now on, and those of child processes, use so many threads that never spin.

    How threads wait stays as the environment says, and so do the sizes of pools that it names. A torch that is
    imported already is told, too.

    Args:
        count: Threads of one process, see [`wanted_threads`].
    """
    os.environ[THREADS_VARIABLE] = str(count)
    for variable, value in {**_PASSIVE, **dict.fromkeys(_POOLS, str(count))}.items():
        os.environ.setdefault(variable, value)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


__all__ = ["THREADS_VARIABLE", "limit_threads", "wanted_threads"]
