# SPDX-License-Identifier: Apache-2.0
"""Scripts in processes of their own, where the package is not importable."""

import json
import os
import subprocess
import sys
from pathlib import Path


# Stands before a script where the package must not be importable although it is installed.
HIDE_PACKAGE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "deepfake_video":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
"""


def run_python(script: str, *arguments: object, cache: Path) -> dict:
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=cache,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
