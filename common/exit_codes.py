# SPDX-License-Identifier: Apache-2.0
"""
Exit codes of every command, and the one place where errors are turned into them.

| exit code | meaning                                                        | raised as                            |
|-----------|----------------------------------------------------------------|--------------------------------------|
| 0         | The work is done.                                              |                                      |
| 1         | The work failed, or a part of it: a full disk, an invalid video | [`WorkError`], any `OSError`         |
| 2         | The request is invalid: arguments, model folder, recipe        | [`UsageError`], `argparse`           |
| 130       | Interrupted.                                                   | `KeyboardInterrupt`, with a message  |

Any other exception is a bug in this package and ends with its traceback.
"""

import os
import sys
from collections.abc import Callable

from .errors import UsageError, WorkError
from .text import printable


OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

# Packages that the container image does without, because it scores videos with onnxruntime.
LEFT_OUT = ("accelerate", "facenet_pytorch", "timm", "torch", "torchmetrics", "torchvision", "transformers")

# Ends the help text of every command.
EXIT_CODES_HELP = "exit codes: 0 success; 1 failure, complete or partial; 2 invalid request; 130 interrupted"


def run_command(command: Callable[[], int]) -> int:
    """
    Run a command and turn the error that ends it into one line on standard error and an exit code.

    Args:
        command: Function that does the work and returns the exit code if no error is raised.

    Returns:
        The exit code.

    Example:

        >>> def command() -> int:
        ...     raise UsageError("--workers must be at least 1.")
        >>> run_command(command)
        2
    """
    try:
        code = command()
        # Python flushes only when it exits, and a full disk would then remain unnoticed.
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of standard output has closed it, as with `| head`.
        _discard_output()
        return FAILED
    except KeyboardInterrupt as error:
        hint = str(error)
        return report(f"interrupted; {hint}" if hint else "interrupted.", INTERRUPTED)
    except UsageError as error:
        return report(error, USAGE)
    except WorkError as error:
        return report(error, FAILED)
    except ModuleNotFoundError as error:
        if error.name not in LEFT_OUT:
            raise
        return report(f"this needs {error.name}, which is not installed: pip install deepfake-video", USAGE)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        code = report(f"{error.filename}: {reason}." if error.filename else f"{reason}.", FAILED)
        _discard_unwritable_output()
        return code


def report(problem: object, code: int) -> int:
    """
    Print why a command ends, on one line without control characters, and return its exit code.

    Args:
        problem: An error or a sentence.
        code: The exit code.
    """
    print(f"deepfake-video: {printable(str(problem))}", file=sys.stderr)
    return code


def _discard_unwritable_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()


def _discard_output() -> None:
    """Python would complain again when it closes standard output, and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
