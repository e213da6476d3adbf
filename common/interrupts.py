# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C ends a command with one line and exit code 130, at any time; SIGTERM ends a server that cleans up."""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .exit_codes import INTERRUPTED, OK, report


# Seconds after which an interrupt that could not be raised, or was lost, is raised again.
_RETRY_S = 0.05
# Number of active [`unfinished`] blocks of this process.
_num_unfinished = 0
# Whether this process runs one command, and nothing else.
_is_command = False


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """
    Defer interrupts until the block ends, on POSIX systems.

    A process that is started within the block never receives interrupts; its parent handles them.
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
    Mark a block that needs an exception to clean up, for instance to remove a temporary file.

    An interrupt during the import of a library ends the process at once, but within such a block it is deferred until
    the library is loaded.
    """
    global _num_unfinished
    _num_unfinished += 1
    try:
        yield
    finally:
        _num_unfinished -= 1


def exit_on_sigterm() -> None:
    """
    Make SIGTERM, by which supervisors and container runtimes stop a server, raise `SystemExit` with code 0.

    By default it would end the process at once, and leave its temporary files.
    """
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(OK)


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """
    End the process with the block if an interrupt or SIGTERM ends the block, even if other threads still compute.

    Python would wait for them, perhaps for minutes, and nothing can stop them. A process that does something else than
    its command, such as a notebook, goes on.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as end:
        if _is_command and threading.active_count() > 1:
            os._exit(report("interrupted.", INTERRUPTED) if isinstance(end, KeyboardInterrupt) else OK)
        raise


def run_interruptible(command: Callable[[], int]) -> int:
    """
    Run the command of this process.

    After the first interrupt, a second one ends the process immediately. Only for entry points: the handlers of the
    process are not restored.

    Args:
        command: Returns the exit code.

    Returns:
        The exit code; that of an interrupt if there was one, even if a library converted it to another error.
    """
    global _is_command
    _is_command = True
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
    """Python ignores exceptions in finalisers; an interrupt must not be lost there."""
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
