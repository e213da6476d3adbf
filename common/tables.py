# SPDX-License-Identifier: Apache-2.0
"""CSV tables that spreadsheets and programs read as they were written, whatever the names of files contain."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def format_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """
    Format rows as CSV with a header. Lines end with a line feed, and missing values are empty.

    Args:
        columns: Names of the columns.
        rows: The cells of each row by column; other entries are left out.

    Example:

        >>> from deepfake_video.common.tables import format_table
        >>> format_table(["path", "score"], [{"path": "=a.mp4", "score": 0.5}])
        "path,score\\n'=a.mp4,0.5\\n"
    """
    stream = _Lines()
    # Python 3.11 quotes a cell for those line ends only that its own lines have, so both characters are among these.
    writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: escape_formula(value) for name, value in row.items()})
    return stream.getvalue()


class _Lines(io.StringIO):
    """Ends each row, which the writer passes as a whole, with a line feed only."""

    def write(self, row: str) -> int:
        return super().write(row.removesuffix("\r\n") + "\n")


def escape_formula(cell: object) -> object:
    """
    Return a table cell that spreadsheets do not interpret as a formula; such text is prefixed by an apostrophe.

    Example:

        >>> from deepfake_video.common.tables import escape_formula
        >>> escape_formula("=1+1"), escape_formula(-1)
        ("'=1+1", -1)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip("'").startswith(_FORMULA_STARTS) else cell


def unescape_formula(cell: str) -> str:
    """Return the text of a cell that [`escape_formula`] wrote."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA_STARTS) else cell
