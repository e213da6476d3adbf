# SPDX-License-Identifier: Apache-2.0
"""Text from untrusted sources (file names, keys, configurations, servers) as one safe, readable line; numbers."""

from typing import Literal


# Characters of a name in quotation marks, and of the message of an error; what is longer ends in an ellipsis.
_MAX_NAME, _MAX_MESSAGE = 120, 300


def printable(value: object, limit: int | None = None) -> str:
    """
    Return a string as one line without control characters, which could manipulate a terminal or a page.

    Args:
        value: A string, or an object whose `str` is shown.
        limit: Maximum number of characters; a longer string is truncated and ends in an ellipsis.

    Example:

        >>> from deepfake_video.common.text import printable
        >>> printable("clip\\n.mp4", limit=4)
        'clip…'
    """
    text = str(value)
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}…"
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def quoted(value: object) -> str:
    """
    Return a name from a file in quotation marks, shortened, with control characters escaped.

    Args:
        value: A name, or an object whose `str` is shown; a text of more than 120 characters ends in an ellipsis.

    Example:

        >>> from deepfake_video.common.text import quoted
        >>> print(quoted("head\\n.weight"))
        'head\\n.weight'
    """
    text = str(value)
    return repr(text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}…")


def one_line(error: object) -> str:
    """
    Return the message of an error with its lines joined by spaces.

    Args:
        error: An exception, or a string; more than 300 characters are truncated and end in an ellipsis.
    """
    text = " ".join(str(error).split())
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"


def tell_apart(*numbers: float | None, digits: int = 3, style: Literal["f", "g"] = "g") -> list[str]:
    """
    Return numbers with so many digits, or with as many more as tell different ones apart; "" for `None`.

    Args:
        numbers: The numbers.
        digits: Fewest digits: behind the point in the style "f", significant ones in the style "g".
        style: Style of Python's format language.

    Example:

        >>> from deepfake_video.common.text import tell_apart
        >>> tell_apart(0.12341, 0.12344, None)
        ['0.12341', '0.12344', '']
    """
    for places in range(digits, 18):
        texts = ["" if number is None else f"{number:.{places}{style}}" for number in numbers]
        if len(set(texts)) == len(set(numbers)):
            break
    return texts
