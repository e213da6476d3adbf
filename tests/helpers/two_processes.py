# SPDX-License-Identifier: Apache-2.0
"""The command, or another program, as `torchrun` starts it in two processes on the CPU."""

import os
import subprocess
import sys
from pathlib import Path


# Where the processes find the package.
_PACKAGE_PARENT = Path(sys.modules["deepfake_video"].__file__).parent.parent


def run_in_two_processes(*words: str, program: Path | None = None) -> str:
    """What `deepfake-video`, or another program, with these words prints, once both processes have ended well."""
    settings = {"PYTHONPATH": str(_PACKAGE_PARENT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    finished = subprocess.run(
        [*launch, *(["-m", "deepfake_video.cli"] if program is None else [str(program)]), *words],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout
