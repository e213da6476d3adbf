# SPDX-License-Identifier: Apache-2.0
"""A process uses one thread unless its user says otherwise, and never spins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_video.common import threads
from deepfake_video.common.threads import frame_threads, limit_threads, wanted_threads


LIMIT = """
import json, os, sys
from deepfake_video.common.threads import limit_threads, wanted_threads

limit_threads(wanted_threads())
import torch

print(json.dumps({"torch": torch.get_num_threads(), **os.environ}))
"""


def limited(**environment: str) -> dict[str, str]:
    """Number of threads of torch and environment of a process that limits itself."""
    kept = {name: value for name, value in os.environ.items() if "_NUM_THREADS" not in name}
    done = subprocess.run(
        [sys.executable, "-c", LIMIT],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(sys.prefix),
    )
    return dict(json.loads(done.stdout))


def test_there_is_one_thread_that_waits_without_spinning():
    found = limited()
    assert found["torch"] == 1
    assert found["OPENBLAS_NUM_THREADS"] == "1"
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["KMP_BLOCKTIME"] == "0"


def test_what_the_environment_says_stays():
    found = limited(OMP_NUM_THREADS="2", KMP_BLOCKTIME="200")
    assert (found["torch"], found["KMP_BLOCKTIME"]) == (2, "200")


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("4,2", 4), ("", 1), ("0", 1), ("many", 1), ("9" * 30, 1)])
def test_a_number_in_the_environment_counts_if_it_is_one(text, count, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert wanted_threads() == count


def test_what_was_asked_for_counts_more_than_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert wanted_threads(2) == 2


@pytest.mark.parametrize("asked", [0, -1, 5000])
def test_a_number_that_cannot_be_meant_is_refused(asked):
    with pytest.raises(ValueError, match="number of threads must lie between 1 and 1024"):
        wanted_threads(asked)


@pytest.fixture
def no_choice(monkeypatch):
    """A process whose user chose no number of threads; what the test changes is undone."""
    monkeypatch.setattr(threads, "_is_default", False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    monkeypatch.setattr(os, "environ", {})


@pytest.mark.usefixtures("no_choice")
def test_frames_are_computed_by_one_thread_per_core_beside_libraries_of_one_thread():
    assert frame_threads() == 3
    limit_threads()
    assert (wanted_threads(), frame_threads()) == (1, 3)


@pytest.mark.usefixtures("no_choice")
def test_a_choice_of_one_thread_holds_for_frames_too():
    limit_threads(1)
    assert frame_threads() == 1


def test_one_thread_in_the_environment_holds_for_frames_too(no_choice, monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    limit_threads()
    assert frame_threads() == 1
