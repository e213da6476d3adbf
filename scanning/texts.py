# SPDX-License-Identifier: Apache-2.0
"""
The texts of the report, its index and the demo, which are kept in one JSON file per language.

Sentences that a result stores (reason and error rates of the verdict, message, warnings, summary of the Content
Credentials) belong to the result and are shown as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from .results import VideoResult


ENGLISH_FILE = Path(__file__).with_name("texts.en.json")


@dataclass(frozen=True)
class Texts:
    """
    The texts of one language by their keys.

    A text may contain names in braces, for which values are inserted. A text that depends on a number has two forms:
    `{"one": "{count} video", "other": "{count} videos"}`.

    Attributes:
        entries: The texts. The entry "language" is a language tag such as "en".

    Example:

        >>> from deepfake_video.scanning.texts import Texts
        >>> str(Texts.read()("page.videos", count=2))
        '2 videos'
    """

    entries: Mapping[str, str | Mapping[str, str]]

    @classmethod
    def read(cls, file: Path = ENGLISH_FILE) -> "Texts":
        """
        Read the texts of a language.

        Args:
            file: A JSON file with the same keys as that of the English texts, which is the default.
        """
        return cls(json.loads(file.read_text(encoding="utf-8")))

    def __call__(self, key: str, **values: object) -> Markup:
        """
        A text with its values, safe to insert into HTML.

        Args:
            key: Key of the text.
            values: Values by their names. Those that are not `Markup` are escaped.

        Raises:
            KeyError: If there is no such text, or if a value is missing.
        """
        return escape(self._form(key, values)).format(**values)

    def plain(self, key: str, **values: object) -> str:
        """[`__call__`] without escaping, for places that show text as it is."""
        return self._form(key, values).format(**values)

    def _form(self, key: str, values: Mapping[str, object]) -> str:
        entry = self.entries[key]
        return entry if isinstance(entry, str) else entry["one" if values["count"] == 1 else "other"]


def verdict_key(result: VideoResult) -> str:
    """
    The last part of the keys of the texts on a verdict.

    Args:
        result: The result of a video. One with a score and without a verdict is undecided.
    """
    return "failed" if result.status != "ok" else (result.verdict or "undecided").replace(" ", "_")


def meaning_key(result: VideoResult) -> str:
    """
    The key of the text that says what a verdict means.

    Args:
        result: The result of a video or photo.
    """
    return f"{'photo' if result.media == 'image' else 'band'}.{verdict_key(result)}"
