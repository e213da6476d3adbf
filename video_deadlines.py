# SPDX-License-Identifier: Apache-2.0
"""Calls with a time limit, for functions that have no reliable one of their own."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import TypeVar


__all__ = ["call_within"]

_Answer = TypeVar("_Answer")


def call_within(seconds: float, function: Callable[..., _Answer], *arguments: object, **options: object) -> _Answer:
    """Call a function that asks a store or a name server in a thread.

    Raises:
        TimeoutError: If it has not returned after this number of seconds.
    """
    answers: list[_Answer] = []
    failures: list[BaseException] = []

    def call() -> None:
        try:
            answers.append(function(*arguments, **options))
        except BaseException as error:
            failures.append(error)

    calling = threading.Thread(target=call, daemon=True)
    calling.start()
    calling.join(max(seconds, 0))
    if failures:
        raise failures[0]
    if not answers:
        raise TimeoutError(errno.ETIMEDOUT, "there was no answer in time")
    return answers[0]
