# SPDX-License-Identifier: Apache-2.0
"""The installed package is the one in this checkout: no module is missing, none is left over, no tests are shipped."""

import importlib.metadata
import sys
from pathlib import Path


NOT_SHIPPED = {".ci", "tests", "benchmarks", "build", "examples", "experiments"}

checkout = Path(__file__).resolve().parent.parent
expected = {
    path.relative_to(checkout).as_posix()
    for path in checkout.rglob("*.py")
    if not NOT_SHIPPED & set(path.relative_to(checkout).parts)
}
files = importlib.metadata.files("deepfake-video") or []
installed = {file.as_posix().removeprefix("deepfake_video/") for file in files if file.suffix == ".py"}
if missing := sorted(expected - installed):
    sys.exit(f"not installed: {', '.join(missing)} (is the package listed in pyproject.toml?)")
if surplus := sorted(installed - expected):
    sys.exit(f"installed, but not in the checkout: {', '.join(surplus)}")
print(f"{len(installed)} modules, as in the checkout")
