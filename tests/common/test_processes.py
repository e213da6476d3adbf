# SPDX-License-Identifier: Apache-2.0
"""Worker processes."""

import multiprocessing
import os
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from deepfake_video.common.processes import sending_process, worker_pool


class Cut:
    """One item that is sent, and one that the process dies of while it sends it."""

    def __iter__(self):
        yield b"whole"
        threading.Timer(0.5, os._exit, (9,)).start()
        # More than a pipe holds, so sending waits for the receiver, which does not read.
        yield bytes(2**24)


def test_items_arrive_in_order_and_the_end_is_seen():
    with sending_process(multiprocessing.get_context("spawn"), [1, "two", None]) as connection:
        assert [connection.recv() for _ in range(3)] == [1, "two", None]
        with pytest.raises(EOFError):
            connection.recv()


def test_a_process_that_dies_while_it_sends_is_noticed():
    with sending_process(multiprocessing.get_context("spawn"), Cut()) as connection:
        assert connection.recv() == b"whole"
        for process in multiprocessing.active_children():
            process.join()
        with pytest.raises((EOFError, OSError)):
            connection.recv()


def test_the_process_ends_with_the_block():
    with sending_process(multiprocessing.get_context("spawn"), [bytes(2**24)] * 100):
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("error", [BrokenProcessPool, KeyboardInterrupt])
def test_a_pool_that_ends_early_ends_its_own_processes_and_no_other_child(error):
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=time.sleep, args=(60,))
    other.start()

    def work():
        with worker_pool(1, context) as pool:
            assert pool.submit(abs, -1).result() == 1
            pool.submit(time.sleep, 60)
            raise error

    try:
        with pytest.raises(error):
            work()
        until = time.monotonic() + 30
        while len(multiprocessing.active_children()) > 1 and time.monotonic() < until:
            other.join(0.05)
        assert multiprocessing.active_children() == [other]
    finally:
        other.kill()
        other.join()
