# SPDX-License-Identifier: Apache-2.0
"""The oldest Python that the project names."""

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet


ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OLDEST = PROJECT["requires-python"].removeprefix(">=")


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_documentation_names_the_oldest_python(page):
    named = re.findall(r"Requires Python ([\d.]+) or newer", (ROOT / page).read_text(encoding="utf-8"))
    assert named == [OLDEST]


# Of these, no other release is allowed that takes an older Python.
@pytest.mark.parametrize("name", ["av", "facenet-pytorch"])
def test_requirements_with_narrow_bounds_run_on_the_oldest_python(name):
    assert SpecifierSet(metadata(name).get("Requires-Python", "")).contains(f"{OLDEST}.0")
