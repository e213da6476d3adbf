# SPDX-License-Identifier: Apache-2.0
"""The number of processor cores that this process may use."""

import math
import os
from pathlib import Path


_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """
    Return the number of cores that this process may use.

    Unlike `os.cpu_count`, it respects the CPU affinity (`taskset`, Slurm) and the CPU quota of a container
    (`docker run --cpus 2`), which is rounded up.
    """
    # Linux only.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [quota for quota in (_read_quota_v2(), _read_quota_v1()) if quota is not None]
    return max(1, min([cores, *map(math.ceil, quotas)]))


def cores_per_process() -> int:
    """Return the usable cores divided by the number of processes that `torchrun` started on this machine."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def helper_processes(most: int) -> int:
    """
    Return the number of processes that prepare data for this one: one for each of its cores but one, at least one.

    Args:
        most: Largest number.
    """
    return max(1, min(most, cores_per_process() - 1))


def _read_quota_v2() -> float | None:
    """The quota in cores of control groups version 2; `None` if there is none. A container sees its own group."""
    try:
        quota, period = (_CGROUPS / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None


def _read_quota_v1() -> float | None:
    """The quota in cores of control groups version 1; `None` if there is none, which is written as -1."""
    try:
        quota, period = (int((_CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
