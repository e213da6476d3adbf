# SPDX-License-Identifier: Apache-2.0
"""Names that strangers chose, made fit for people to read."""


def printable(text: str) -> str:
    """One line without control characters, which a file's name may smuggle into a terminal or a page."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
