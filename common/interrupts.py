# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C: ends a command with one line and exit code 130, wherever it arrives."""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .exit_codes import INTERRUPTED, report


# An interrupt is tried again after this time where it could not be raised, or was lost.
_RETRY_S = 0.05
# Blocks of [`unfinished`] that this process is in.
_num_unfinished = 0


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


@contextlib.contextmanager
def unfinished() -> Iterator[None]:
    """
    A block that leaves something behind, such as a temporary file, unless an exception passes through it.

    An interrupt that arrives while a library is being loaded ends the process at once, but in such a block it waits
    until the library is there.
    """
    global _num_unfinished
    _num_unfinished += 1
    try:
        yield
    finally:
        _num_unfinished -= 1


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
        if _is_importing(frame):
            # Libraries that are being loaded, torch among them, abort the process if an exception passes through.
            if not _num_unfinished:
                report("interrupted.", INTERRUPTED)
                os._exit(INTERRUPTED)
            _try_again()
            return
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
        _try_again()
    else:
        otherwise(event)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _try_again() -> None:
    retry = threading.Timer(_RETRY_S, _interrupt_main)
    retry.daemon = True
    retry.start()


def _interrupt_main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        # The interrupt arrived after all, and the command has ended.
        return
    if hasattr(signal, "pthread_kill"):
        # A real signal: it also ends a system call that the main thread waits in.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
