# SPDX-License-Identifier: Apache-2.0
"""Exit codes of every command, and the one line on standard error that goes with a failure."""

import sys


OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def report(problem: object, code: int) -> int:
    """
    Print why a command ends, on one line without control characters, and return its exit code.

    Args:
        problem: An error or a sentence.
        code: The exit code.
    """
    from .text import printable

    print(f"deepfake-video: {printable(str(problem))}", file=sys.stderr)
    return code
