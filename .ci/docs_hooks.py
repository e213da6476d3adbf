# SPDX-License-Identifier: Apache-2.0
"""What reads well in the repository, adapted to the site: hooks of MkDocs, and an extension of griffe."""

import re
from typing import Any

import griffe


# Files outside docs/ are not part of the site.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[^)]*\)")
# Docstrings mark names of this package as Transformers does.
_MARKED_NAME = re.compile(r"\[(<code>[^<]*</code>)\]")
_EXAMPLE = re.compile(r"^Example:\n+", re.MULTILINE)


def on_page_markdown(markdown: str, **context: Any) -> str:
    """Turn links to files outside docs/ into plain text."""
    return _OUTSIDE.sub(r"\1", markdown)


def on_page_content(html: str, **context: Any) -> str:
    """Remove the brackets around names in docstrings."""
    return _MARKED_NAME.sub(r"\1", html)


class Examples(griffe.Extension):
    """Make the section "Example" of a docstring one that griffe knows, so that its code is highlighted."""

    def on_object(self, *, obj: griffe.Object, **context: Any) -> None:
        """Change the docstring of a function or class."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub("Examples:\n", obj.docstring.value)
