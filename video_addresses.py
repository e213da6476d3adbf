# SPDX-License-Identifier: Apache-2.0
"""What is an address: a URL or the place of a file in a store; and the names of sources in messages."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit


__all__ = ["STORE_SCHEMES", "is_address", "is_store_address", "is_url", "printable_name"]

# Schemes of the stores that are read through fsspec: Amazon S3, Google Cloud Storage, the Hub, and a store in memory.
STORE_SCHEMES = ("s3", "gs", "hf", "memory")


def is_url(source: object) -> bool:
    """Return whether a source is a string that starts with `http://` or `https://`."""
    return isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE) is not None


def is_store_address(source: object) -> bool:
    """Return whether a source is a string that starts like `s3://`, with one of `STORE_SCHEMES`."""
    return isinstance(source, str) and source.partition("://")[0].lower() in STORE_SCHEMES and "://" in source


def is_address(source: object) -> bool:
    """Return whether a source is an http(s) URL or an address in a store."""
    return is_url(source) or is_store_address(source)


def printable_name(source: object) -> str:
    """Return a printable one-line name for messages; user name, password and query of an address are omitted."""
    text = os.fsdecode(source) if isinstance(source, (str, bytes, os.PathLike)) else str(source)
    if is_store_address(text):
        scheme, _, rest = text.partition("://")
        # A key may contain "@" and "?"; a bucket may not, and a query such as a version may hold a token.
        bucket, slash, key = rest.partition("/")
        text = f"{scheme}://{bucket.rpartition('@')[2]}{slash}{key.partition('?')[0]}"
    elif is_url(text):
        try:
            parts = urlsplit(text)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
            text = f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
        except ValueError:
            text = text.partition(":")[0] + "://…"
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return text if len(text) <= 300 else f"{text[:140]}…{text[-140:]}"
