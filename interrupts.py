# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C: ends a command with one line and exit code 130, wherever it arrives."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .exit_codes import INTERRUPTED, report


# After a finaliser swallowed an interrupt, it is raised again once the finaliser has returned.
_RETRY_S = 0.05


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """
    Keep an interrupt waiting until the block ends, on POSIX systems.

    A process that is started in the block never sees one: its parent decides what an interrupt means.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_interruptible(command: Callable[[], int]) -> int:
    """
    Run the command of this process.

    Until the process ends, a further interrupt ends it at once. Only for entry points: the handlers of the process
    are not restored.

    Args:
        command: Returns the exit code.

    Returns:
        The exit code; that of an interruption if there was one, even if a library turned it into another error.
    """
    is_interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    previous_hook, sys.unraisablehook = sys.unraisablehook, lambda event: _raise_again(event, previous_hook)
    try:
        code = command()
        return report("interrupted.", INTERRUPTED) if is_interrupted and code != INTERRUPTED else code
    except (Exception, KeyboardInterrupt) as error:
        if is_interrupted or isinstance(error, KeyboardInterrupt):
            return report("interrupted.", INTERRUPTED)
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _raise_again(event: Any, otherwise: Callable[[Any], object]) -> None:
    """Python drops what is raised in a finaliser; an interrupt must not be lost there."""
    if issubclass(event.exc_type, KeyboardInterrupt):
        threading.Timer(_RETRY_S, _interrupt_main).start()
    else:
        otherwise(event)


def _interrupt_main() -> None:
    if hasattr(signal, "pthread_kill"):
        # A real signal: it also ends a system call that the main thread waits in.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
