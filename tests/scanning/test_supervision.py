# SPDX-License-Identifier: Apache-2.0
"""Every video has a result, whatever its worker process does, and none has two."""

import itertools
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext

import pytest

from deepfake_video.scanning.supervision import Supervisor, WorkerError


class Pool:
    """A pool whose tasks end at once; those of `deadly` videos kill it."""

    def __init__(self, deadly: frozenset[str], *, starts: bool = True) -> None:
        self.deadly, self.starts = deadly, starts

    def submit(self, task, argument):
        future: Future = Future()
        if not self.starts or argument in self.deadly:
            future.set_exception(BrokenProcessPool("a process died"))
        else:
            future.set_result(task(argument))
        return future


def supervise(paths, deadly, *, num_workers=2, ahead=2):
    supervisor = Supervisor(
        task=str.upper,
        start=lambda number: nullcontext(Pool(frozenset(deadly))),
        failed=lambda path, error: f"{path} failed",
        ahead=ahead,
    )
    return [result for results in supervisor.run(paths, num_workers) for result in results]


@pytest.mark.parametrize("deadly", [*itertools.combinations("abcd", 1), *itertools.combinations("abcd", 2), ()])
def test_what_was_done_when_a_worker_died_is_not_lost(deadly):
    expected = [f"{path} failed" if path in deadly else path.upper() for path in "abcd"]
    assert sorted(supervise("abcd", deadly)) == sorted(expected)


def test_results_that_are_done_together_come_together():
    supervisor = Supervisor(
        task=str.upper, start=lambda number: nullcontext(Pool(frozenset())), failed=lambda *_: "", ahead=2
    )
    assert [sorted(results) for results in supervisor.run("abcdef", 2)] == [["A", "B", "C", "D"], ["E", "F"]]


def test_no_process_at_all_is_an_error_and_not_a_result():
    supervisor = Supervisor(
        task=str.upper,
        start=lambda number: nullcontext(Pool(frozenset("a"), starts=False)),
        failed=lambda path, error: "failed",
    )
    with pytest.raises(WorkerError, match="--workers"):
        list(supervisor.run(["a"], 1))


# The documentation of multiprocessing, "Safe importing of main module": a spawned process imports the script.
SCRIPT = """
import os
from deepfake_video.common.processes import spawned_pool
from deepfake_video.scanning.supervision import Supervisor

{guard}
    supervisor = Supervisor(task=str.upper, start=lambda number: spawned_pool(number, os.getpid), failed=print)
    print(sorted(result for results in supervisor.run(["a", "b"], 2) for result in results))
"""


def test_a_script_without_the_guard_is_told_about_it(tmp_path):
    script = tmp_path / "script.py"
    done = {}
    for guard in ('if __name__ == "__main__":', "if True:"):
        script.write_text(SCRIPT.format(guard=guard))
        done[guard] = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=120, check=False
        )
    guarded, unguarded = done.values()
    assert (guarded.returncode, guarded.stdout) == (0, "['A', 'B']\n")
    assert unguarded.returncode == 1
    # Not the last line: depending on when the workers end, Python adds a warning about semaphores.
    (raised,) = [line for line in unguarded.stderr.splitlines() if "WorkerError: " in line]
    assert 'if __name__ == "__main__":' in raised
