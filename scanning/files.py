# SPDX-License-Identifier: Apache-2.0
"""Files that are there as a whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path


class OutputError(ValueError):
    """A file cannot be written; the sentence names it and the reason."""

    reason = "output"

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(f"{path}: cannot be written ({error.strerror or error}).")


def write_atomically(path: str | Path, content: bytes) -> None:
    """
    Write a new file beside `path` and rename it to `path`.

    Raises:
        OutputError: If that fails; what stood there before then still does.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OutputError(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
