# SPDX-License-Identifier: Apache-2.0
"""The container image, as far as it can be checked without a container runtime."""

import re
import tomllib
from pathlib import Path

import pytest

from ci_scripts import load_script


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def torch_free():
    return load_script("torch_free")


def test_requirements_are_those_of_the_package_without_torch(torch_free):
    lines = ["av>=18,<19", "torch>=2.10", "facenet-pytorch==2.5.3", "huggingface_hub>=1.0"]
    extras = ['uvicorn>=0.34; extra == "serve"', 'gradio>=6; extra == "demo"', 'timm[x]>=1; extra == "serve"']
    kept = torch_free.requirements(lines + extras, ["serve"])
    assert kept == ["av>=18,<19", "huggingface_hub>=1.0", "uvicorn>=0.34"]


def test_every_library_that_is_left_out_is_a_requirement(torch_free):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    assert names >= torch_free.TORCH


def test_the_build_context_has_every_package_and_licence():
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks"}
    assert packages | {"checkpoints", "LICENSE", "README.md", "pyproject.toml", "*.py"} <= allowed
