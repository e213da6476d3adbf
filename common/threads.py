# SPDX-License-Identifier: Apache-2.0
"""
Limit the threads of the numerical libraries of this process.

Scans are faster if several videos, frames or stages are computed at the same time by one thread each. A convolution
that is split among threads waits for the slowest one at every layer, and its threads spin while they wait, which takes
processor time from others.
"""

import os
import sys

from .processors import usable_cores


THREADS_VARIABLE = "OMP_NUM_THREADS"
# Variables of the OpenMP of GNU and of that of Intel and LLVM, and sizes of thread pools without OpenMP.
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
_POOLS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_MOST = 1024
# Frames that are computed at the same time unless the user chose a number; each takes memory.
_MOST_FRAMES = 4
# Whether `limit_threads` set the variable although the user had not chosen a number.
_is_default = False


def wanted_threads(asked: int | None = None) -> int:
    """
    Return the number of threads that compute at the same time.

    Args:
        asked: Number requested by the user; by default `OMP_NUM_THREADS`, or 1 if it is not set.

    Raises:
        ValueError: If the number is not positive, or is implausibly large.

    Example:
        >>> wanted_threads(2)
        2
    """
    if asked is None:
        # In OpenMP, a list has one number per level of nested regions.
        text = os.environ.get(THREADS_VARIABLE, "").partition(",")[0].strip()
        return int(text) if text.isdecimal() and 1 <= int(text) <= _MOST else 1
    if not 1 <= asked <= _MOST:
        raise ValueError(f"the number of threads must lie between 1 and {_MOST}, got {asked}.")
    return asked


def frame_threads() -> int:
    """
    Return the number of frames that are computed at the same time, each by one thread.

    Unlike threads that share a convolution, these never wait for each other.

    Returns:
        The number that the user chose, see [`wanted_threads`], or else one per core, at most 4.
    """
    if wanted_threads() > 1 or (THREADS_VARIABLE in os.environ and not _is_default):
        return wanted_threads()
    return min(usable_cores(), _MOST_FRAMES)


def limit_threads(asked: int | None = None) -> None:
    """
    Limit the threads of libraries that are imported later or in child processes, and make them wait without spinning.

    Settings in the environment take precedence. If torch is imported already, its number of threads is set too.

    Args:
        asked: Number given by the user, see [`wanted_threads`].

    Raises:
        ValueError: If the number is not positive or implausibly large.
    """
    global _is_default
    count = wanted_threads(asked)
    _is_default = asked is None and (_is_default or THREADS_VARIABLE not in os.environ)
    os.environ[THREADS_VARIABLE] = str(count)
    for variable, value in {**_PASSIVE, **dict.fromkeys(_POOLS, str(count))}.items():
        os.environ.setdefault(variable, value)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)
