# SPDX-License-Identifier: Apache-2.0
"""Read lists and tables of videos as text editors, spreadsheets and pandas write them."""

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import UsageError
from ..common.tables import unescape_formula


TABLE_EXTENSIONS = frozenset({".csv", ".tsv"})
MAX_BYTES = 256 << 20
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
# The roles of columns, with the names under which each is recognised.
ROLES = {
    "path": ("path", "file", "filepath", "filename", "video", "videopath", "videofile", "videoname"),
    "label": ("label", "target", "class", "isfake", "fake"),
    "group": ("group", "identity", "identityid", "subject", "subjectid", "person", "personid"),
    "dataset": ("dataset",),
    "method": ("method",),
    "compression": ("compression",),
    "split": ("split", "subset", "partition"),
}
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
# Only tables written by this package have this column.
_PREDICTED = "fakeprobability"
_WITHOUT_HEADER = ("path", "label", "group")
_LABELS = {"real": False, "fake": True, "0": False, "1": True, "0.0": False, "1.0": True}
# True and false are labels only in a column of one of these names.
_TRUTHS = {"false": False, "true": True}
_TRUTH_COLUMNS = ("isfake", "fake")
# Longer marks first: the mark of UTF-32 begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# A byte of a file name that is not UTF-8: as Python stores it, and as `predict` writes it into tables.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_WRITTEN_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_CLUTTER_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_CLUTTER_FOLDER = "__MACOSX"


class InputError(UsageError):
    """A source or a list of videos is invalid; the message names the file, the line and the reason."""


@dataclass(frozen=True)
class Row:
    """
    One row of a table.

    Attributes:
        line: Number of the line on which the row starts, from 1.
        cells: Content by role, stripped; "" for an empty or missing cell.
    """

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """
    A table of videos.

    Attributes:
        file: Path of the table.
        columns: Name of each column in the header, by role; the role itself without a header.
        rows: The rows that are not empty.
        is_predicted: Whether `predict` wrote the table.
    """

    file: Path
    columns: dict[str, str]
    rows: list[Row]
    is_predicted: bool = False

    def is_fake(self, row: Row) -> bool:
        """
        The label of a row.

        Args:
            row: A row of this table.

        Raises:
            InputError: If the label is neither real nor fake.
        """
        text, column = row.cells["label"].lower(), self.columns["label"]
        label = parse_label(text)
        if label is None and _plain(column) in _TRUTH_COLUMNS:
            label = _TRUTHS.get(text)
        if label is not None:
            return label
        hint = "; true and false are valid only in a column named is_fake" if text in _TRUTHS else ""
        raise InputError(
            f"{self.file}, line {row.line}: the label must be real or fake, or 0 or 1 (1 is fake), got "
            f"{row.cells['label']!r} in the column {column!r}{hint}."
        )


def parse_label(text: str) -> bool | None:
    """Whether a label, such as "fake", "1" or "0.0", means fake; `None` if it is not a label."""
    # Spreadsheets in many countries write 1,0 for 1.0.
    return _LABELS.get(text.strip().lower().replace(",", "."))


def is_clutter(path: str | Path) -> bool:
    """Whether a path is a file of the operating system, such as `._clip.mp4`, `.DS_Store` or `Thumbs.db`."""
    parts = Path(path).parts
    name = parts[-1].lower() if parts else ""
    return name.startswith("._") or name in _CLUTTER_NAMES or _CLUTTER_FOLDER in parts


def find_on_disk(path: str | Path) -> str:
    """
    Find the path under which a file exists, whether its name is stored composed (NFC) or decomposed (NFD).

    macOS stores "é" as two characters, most other programs as one; both look the same. If no file with a backslash in
    its name exists, backslashes are taken as separators, and `\\udcff` as the byte 0xff, as `predict` writes it.

    Args:
        path: A path as it was given or listed.

    Returns:
        The path of the existing file, or the path itself if there is none.

    Raises:
        InputError: If two different files have this name.
    """
    path = os.fspath(path)
    if os.path.lexists(path):
        return path
    if os.sep == "/" and "\\" in path and os.path.lexists(slashed := path.replace("\\", "/")):
        # Written on Windows.
        return slashed
    if os.path.lexists(unescaped := _with_bytes(path)):
        return unescaped
    if path.isascii():
        return path
    parts = Path(path).parts
    found = Path(parts[0]) if Path(path).is_absolute() else Path()
    for part in parts[1:] if Path(path).is_absolute() else parts:
        if os.path.lexists(found / part):
            found /= part
            continue
        try:
            entries = [name for name in os.listdir(found) if _composed(name) == _composed(part)]
        except OSError:
            return path
        if len(entries) > 1:
            raise InputError(
                f"{path}: two files have this name, one in Unicode form NFC and one in NFD; rename one of them."
            )
        if not entries:
            return path
        found /= entries[0]
    return str(found)


def read_paths(file: str | Path) -> list[str]:
    """
    Read the paths of a list: a text file with one path per line, or a table with a column of paths.

    A table is a file that ends in .csv or .tsv, or whose first line is a header. Relative paths in a table are
    relative to its folder, those in a text file to the working directory. A table that `predict` wrote lists them as
    they were given to it: what is not found from the folder of the table is looked for in the working directory.

    Args:
        file: The list.

    Raises:
        InputError: If the list cannot be read.
    """
    file = Path(file)
    text = read_text(file, errors="surrogateescape")
    if file.suffix.lower() in TABLE_EXTENSIONS or _has_header(text):
        table = parse_table(file, text, required=("path",))
        paths = [(row.line, _locate(row.cells["path"], table)) for row in table.rows]
    else:
        lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
        paths = [(number, _as_typed(line)) for number, line in lines if line.strip()]
    for number, path in paths:
        # The name of a file may be any bytes, but a list in another encoding consists of names that do not exist.
        if _ESCAPED_BYTE.search(path) and not os.path.lexists(path):
            raise InputError(f"{file}: line {number} is not UTF-8 text; save the file as UTF-8.")
    return [path for _, path in paths]


def _locate(path: str, table: Table) -> str:
    """The path of a row of a table of paths."""
    if "://" in path:
        return path
    spellings = {path, _with_bytes(path)}
    for folder in (table.file.parent, Path()):
        if table.is_predicted and len(spellings) > 1 and all(os.path.lexists(folder / name) for name in spellings):
            raise InputError(f"{table.file}: two files may have the name {path}, which contains a byte; rename one.")
    beside = os.path.join(table.file.parent, path)
    is_elsewhere = table.is_predicted and not _exists(beside) and _exists(path)
    return path if is_elsewhere else beside


def _with_bytes(path: str) -> str:
    """The path that `predict` wrote into a table, with the bytes that are not UTF-8."""
    return _WRITTEN_BYTE.sub(lambda match: chr(int(match[1], 16)), path)


def _exists(path: str) -> bool:
    return os.path.lexists(find_on_disk(path))


def read_table(file: str | Path, *, required: Collection[str]) -> Table:
    """
    Read a table of videos, separated by comma, semicolon or tab.

    The first row is a header if it names the required columns; `ROLES` lists the names. Without a header, the columns
    are path, label and optionally group.

    Args:
        file: A text file in UTF-8, or in UTF-16 with a byte order mark.
        required: Roles for which every row must have a value.

    Raises:
        InputError: If the table cannot be read or is ambiguous.
    """
    file = Path(file)
    return parse_table(file, read_text(file), required=required)


def read_text(file: Path, *, errors: str = "strict") -> str:
    """
    Read a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        file: The file.
        errors: "surrogateescape" accepts file names that are not in UTF-8, as Python writes them.

    Raises:
        InputError: If the file cannot be read or has another encoding.
    """
    try:
        # The size of a pipe or a device is known only when it was read.
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}).") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{file}: larger than {MAX_BYTES >> 20} MiB, the limit for a list of videos.")
    if content.startswith(b"PK\x03\x04"):
        raise InputError(f"{file}: this is a workbook or an archive, not a text file; save it as CSV (UTF-8).")
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        where = f"line {line} is" if encoding.startswith("utf-8") else "it is"
        raise InputError(f"{file}: {where} not {encoding[:6].upper()} text; save the file as UTF-8.") from error
    if "\0" in text:
        raise InputError(f"{file}: this is UTF-16 without a byte order mark, or not a text file; save it as UTF-8.")
    return text


def encoding_of(content: bytes) -> str:
    """The encoding that the byte order mark of a text declares; UTF-8 without one."""
    return next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")


def find_delimiter(text: str) -> tuple[str, str]:
    """
    Find the separator of a table with a header.

    Args:
        text: The table.

    Returns:
        The table without a line that declares the separator, and the separator: the declared one, or the one that
        divides the header into most cells.
    """
    text, declared = _declared_delimiter(text)
    return text, declared or max(DELIMITERS, key=lambda delimiter: len(_first_row(text, delimiter)))


def parse_table(file: Path, text: str, *, required: Collection[str]) -> Table:
    """[`read_table`] of the text of a file."""
    text, delimiter = _declared_delimiter(text)
    delimiters = [delimiter] if delimiter else list(DELIMITERS)
    firsts = {delimiter: _first_row(text, delimiter) for delimiter in delimiters}
    if not text.strip("".join([*DELIMITERS, " \r\n"])):
        raise InputError(f"{file}: the table contains no videos.")
    if not any(firsts.values()):
        raise InputError(f"{file}: the first row cannot be read, because a double quote in it is not closed.")
    for delimiter, names in firsts.items():
        if set(required) <= set(map(_role, names)):
            is_predicted = _PREDICTED in map(_plain, names)
            if "label" in required and is_predicted:
                raise InputError(
                    f"{file}: contains results of predict (column 'fake_probability'), whose labels are predictions; "
                    "give a table with the true labels."
                )
            columns = _columns(file, names)
            rows = _rows(file, text, delimiter, [*map(_role, names)], required)[1:]
            return Table(file, columns, rows, is_predicted)
    for delimiter, cells in firsts.items():
        if _is_labelled(cells) or (list(required) == ["path"] and _is_single(text)):
            columns = {role: role for role in _WITHOUT_HEADER[: max(2, len(cells))]}
            return Table(file, columns, _rows(file, text, delimiter, list(_WITHOUT_HEADER), required))
    raise InputError(f"{file}: {_what_is_missing(firsts, required)}.")


def _what_is_missing(firsts: dict[str, list[str]], required: Collection[str]) -> str:
    """The reason why the first row is neither a header nor a video with its label."""
    cells = max(firsts.values(), key=lambda names: (sum(_role(name) != "" for name in names), len(names)))
    absent = [role for role in required if role not in map(_role, cells)]
    shown = ", ".join(repr(cell) for cell in cells[:8])
    if len(absent) == len(required):
        needed = " and ".join(required)
        return f"line 1 ({shown}) is neither a header that names {needed} nor a path followed by real or fake"
    names = ", ".join(dict.fromkeys(("is_fake" if name == "isfake" else name) for name in ROLES[absent[0]]))
    return f"the header ({shown}) has no column for the {absent[0]}; name it one of {names}"


def _columns(file: Path, names: list[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for name in names:
        role = _role(name)
        if role in columns:
            raise InputError(
                f"{file}: the columns {columns[role]!r} and {name!r} both mean the {role}; remove or rename one."
            )
        if role:
            columns[role] = name
    return columns


def _rows(file: Path, text: str, delimiter: str, roles: list[str], required: Collection[str]) -> list[Row]:
    """All rows that are not empty, including the header."""
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            written = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            raise InputError(f"{file}, line {line}: the row that starts here is invalid ({error}).") from error
        cells = [cell.strip() for cell in written]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        if len(cells) > len(roles):
            raise InputError(
                f"{file}, line {line}: has {len(cells)} cells for {len(roles)} columns; put cells that contain a "
                f"{DELIMITERS.get(delimiter, delimiter)} in double quotes."
            )
        content = dict.fromkeys(roles, "") | dict(zip(roles, cells, strict=False))
        if absent := [role for role in required if not content.get(role)]:
            raise InputError(f"{file}, line {line}: the {absent[0]} is missing.")
        content.pop("", None)
        content["path"] = _as_listed(file, written[roles.index("path")])
        rows.append(Row(line, content))


def _as_listed(file: Path, cell: str) -> str:
    """The path of a cell, without spaces around it and the apostrophe before a formula if no file has them."""
    spellings = (cell, cell.strip(), unescape_formula(cell))
    found = (path for folder in (file.parent, Path()) for path in spellings if os.path.lexists(folder / path))
    return next(found, unescape_formula(cell.strip()))


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return next(([cell.strip() for cell in row] for row in rows if any(map(str.strip, row))), [])
    except csv.Error:
        return []


def _declared_delimiter(text: str) -> tuple[str, str]:
    """The text without a first line `sep=;`, which tells Excel the separator, and that separator or ""."""
    match = re.match(r'"?sep=([,;\t])"?\r?\n', text, re.IGNORECASE)
    # The line is emptied, not removed, so that the numbers of the other lines stay the same.
    return ("\n" + text[match.end() :], match[1]) if match else (text, "")


def _has_header(text: str) -> bool:
    """Whether the first line names a column of paths beside another known column."""
    text, _ = _declared_delimiter(text)
    rows = (set(map(_role, _first_row(text, delimiter))) - {""} for delimiter in DELIMITERS)
    return any("path" in roles and len(roles) > 1 for roles in rows)


def _is_labelled(cells: list[str]) -> bool:
    return 2 <= len(cells) <= len(_WITHOUT_HEADER) and parse_label(cells[1]) is not None


def _is_single(text: str) -> bool:
    """Whether no line contains a separator, so that each line is a path."""
    return not any(delimiter in text for delimiter in DELIMITERS)


def _role(name: str) -> str:
    return _ROLE_OF.get(_plain(name), "")


def _plain(name: str) -> str:
    """The name without separators, in lower case: `Video Path`, `video_path` and `video-path` are the same."""
    return re.sub(r"[\s_-]+", "", name.lower())


def _as_typed(line: str) -> str:
    """A path without spaces around it and the quotes that Windows adds to a copied path, if no file has them."""
    bare = line.strip()
    is_quoted = len(bare) > 2 and bare[0] == bare[-1] == '"'
    return next(filter(os.path.lexists, (line, bare)), bare[1:-1] if is_quoted else bare)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
