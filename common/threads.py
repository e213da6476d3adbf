# SPDX-License-Identifier: Apache-2.0
"""
Limit the threads of the numerical libraries of this process.

Scans are faster if several videos, frames or stages are computed at the same time by one thread each. A convolution
that is split among threads waits for the slowest one at every layer, and its threads spin while they wait, which takes
processor time from others.
"""

import os
import sys


THREADS_VARIABLE = "OMP_NUM_THREADS"
# Variables of the OpenMP of GNU and of that of Intel and LLVM, and sizes of thread pools without OpenMP.
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
_POOLS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_MOST = 1024


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


def limit_threads(count: int) -> None:
    """
    Limit the threads of libraries that are imported later or in child processes, and make them wait without spinning.

    Settings in the environment take precedence. If torch is imported already, its number of threads is set too.

    Args:
        count: Threads of one process, see [`wanted_threads`].
    """
    os.environ[THREADS_VARIABLE] = str(count)
    for variable, value in {**_PASSIVE, **dict.fromkeys(_POOLS, str(count))}.items():
        os.environ.setdefault(variable, value)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


__all__ = ["THREADS_VARIABLE", "limit_threads", "wanted_threads"]
