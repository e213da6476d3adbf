# SPDX-License-Identifier: Apache-2.0
"""Print any character to standard output, regardless of its encoding."""

import codecs
import json
import os
import re
import sys


def open_closed_streams() -> None:
    """
    Connect the standard streams that the caller closed, as with `>&-`, to the null device.

    Otherwise the next files to be opened would get their numbers, and libraries would print into these files.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # In this order, each gets the lowest free number, which is its own.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def replace_unencodable() -> None:
    """Replace characters that standard output or standard error cannot encode, instead of raising an error."""
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        # A stream that was replaced may have another type.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=errors)


def print_json(text: str) -> None:
    """
    Print JSON without loss; non-ASCII characters are escaped if standard output is not UTF-8.

    Args:
        text: A JSON document.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name != "utf-8":
        # Such characters occur only in strings, where JSON allows escapes.
        text = re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], text)
    print(text, flush=True)
