# SPDX-License-Identifier: Apache-2.0
"""The scripts in `.ci`, which are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType


FOLDER = Path(__file__).resolve().parents[2] / ".ci"


def load_script(name: str) -> ModuleType:
    """Import `.ci/NAME.py`."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
