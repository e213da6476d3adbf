# SPDX-License-Identifier: Apache-2.0
"""Every video has a result, whatever its worker process does, and none has two."""

import itertools
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
