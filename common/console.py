# SPDX-License-Identifier: Apache-2.0
"""Standard output that takes every character, in whatever encoding it is."""

import codecs
import json
import re
import sys


def use_replacements() -> None:
    """Print a replacement for a character that the encoding of standard output or error lacks, and never fail."""
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        # A stream that something else was put in the place of may be of another kind.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=errors)


def print_json(text: str) -> None:
    """
    Print JSON without loss: where standard output is not UTF-8, what is not ASCII is escaped.

    Args:
        text: A JSON document.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name != "utf-8":
        # Such characters stand in strings only, where JSON may write any as an escape.
        text = re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], text)
    print(text, flush=True)
