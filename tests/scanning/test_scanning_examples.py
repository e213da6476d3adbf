# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings of the room and of `grad_cam` run as they are written."""

import doctest
import importlib

import pytest

import deepfake_video
from deepfake_video.scanning.sample import write_sample_video
from drawn_faces import save_tiny_model


MODULES = ("scanning.clips", "scanning.detector", "scanning.plan", "scanning.results", "scanning.scanner")
MODULES += ("scanning.settings", "scanning.stretches", "modeling_deepfake")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    write_sample_video(folder / "clip.mp4", num_frames=50)
    save_tiny_model(folder / "my-model")
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    module = importlib.import_module(f"deepfake_video.{name}")
    names = {"face_clips": deepfake_video.face_clips}
    failed, attempted = doctest.testmod(module, extraglobs=names)
    assert attempted
    assert not failed
