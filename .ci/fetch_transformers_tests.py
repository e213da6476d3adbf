# SPDX-License-Identifier: Apache-2.0
"""Unpack the tests of a Transformers source distribution: `fetch_transformers_tests.py VERSION FOLDER`."""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


version, folder = sys.argv[1], Path(sys.argv[2])
with tempfile.TemporaryDirectory() as download:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", download, f"transformers=={version}"], check=True)
    (archive,) = Path(download).glob("transformers-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(download, filter="data")
    folder.mkdir(parents=True, exist_ok=True)
    next(Path(download).glob("transformers-*/tests")).rename(folder / "tests")
