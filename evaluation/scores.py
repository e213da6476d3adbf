# SPDX-License-Identifier: Apache-2.0
"""Scores on disk: one JSON line per video, written so that a run can be killed at any time and resumed."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from ..common.files import read_complete_lines, write_atomically
from ..common.json_files import Between, as_dataclass, parse_json
from ..common.tables import format_table, unescape_formula
from ..common.text import quoted
from ..scanning.listing import TABLE_EXTENSIONS, InputError, find_delimiter, parse_label, read_text
from ..scanning.results import Count, Probability
from .corruptions import NAMES
from .known_videos import PARTS
from .samples import EvaluationError, Sample


LINES_PATTERN = "scores-*.jsonl"
CSV_NAME = "scores.csv"
# Fields that are copied from the sample; the others come from scoring it.
OF_SAMPLE = ("key", "label", "dataset", "method", "compression", "split", "identities", "original")
# Columns of the CSV file that are numbers, besides the probability.
_NUMBERS = {"face_coverage": float, "num_faces": int, "face_px": float, "bits_per_pixel": float}
# Columns of a table, or fields of a line, that only results of predict have.
_PREDICTED = {"verdict", "threshold"}
# Only in the JSON lines.
_NOT_IN_CSV = ("frame_indices", "frame_probabilities", "frame_weights", "stamp")


@dataclass(frozen=True, kw_only=True)
class Score:
    """
    The score of one sample, uncorrupted or corrupted, or the reason why there is none.

    Attributes:
        key: Key of the sample.
        corruption: Corruption such as "blur-3"; `None` for the sample as it is.
        label: "real" or "fake".
        dataset: Name of the data set.
        method: Manipulation method.
        compression: Compression such as "c23".
        split: Split of the sample.
        identities: People (or source videos) in the video; the target person comes first.
        people_of: Data set in which the people have these names, if it is not `dataset`, as in a table of several data
            sets.
        original: Real video that a fake was made from.
        status: "ok", or the reason why there is no score.
        fake_probability: In [0, 1]; `None` unless the status is "ok".
        message: Reason why there is no score, in one sentence.
        face_coverage: Share of the sampled frames with a detected face.
        num_faces: Faces that count for the score; `None` for whole frames.
        face_px: Side of the box of the decisive face, in pixels of the video.
        bits_per_pixel: Bits of the video stream per pixel and frame.
        frame_indices: Distinct frames that were scored.
        frame_probabilities: Calibrated fake probability of each of these frames.
        frame_weights: Share of each of these frames in the clip. The score of a frame classifier follows from these
            and from the calibration of its checkpoint by the rule in the README.
        media: What was scored: "video", "image" for a photo, or "faces" for pictures of cropped faces; `None` if
            unknown.
        seen: "training", "validation" or "calibration" if the record of a model lists the sample or, in a published
            data set, a person in it.
        sha256: SHA-256 of the file, or of the images one after the other; `None` if one could not be read.
        stamp: Identifies unchanged files without reading them, see `scanning.file_stamps`.

    Raises:
        ValueError: If there is a probability although the status is not "ok", none although it is, or one outside
            [0, 1]; or if there is no such corruption, part or hash.

    Example:
        >>> Score(key="a.mp4", label="fake", dataset="d", fake_probability=0.9).task
        ('a.mp4', None)
    """

    key: str
    corruption: str | None = None
    label: str
    dataset: str
    method: str | None = None
    compression: str | None = None
    split: str | None = None
    identities: tuple[str, ...] = ()
    people_of: str | None = None
    original: str | None = None
    status: str = "ok"
    fake_probability: float | None = None
    message: str | None = None
    face_coverage: Probability | None = None
    num_faces: Count | None = None
    face_px: Annotated[float, Between(low=0)] | None = None
    bits_per_pixel: Annotated[float, Between(low=0)] | None = None
    frame_indices: tuple[Count, ...] = ()
    frame_probabilities: tuple[float, ...] = ()
    frame_weights: tuple[Probability, ...] = ()
    media: str | None = None
    seen: str | None = None
    sha256: str | None = None
    stamp: str | None = None

    def __post_init__(self) -> None:
        if self.label not in ("real", "fake"):
            raise ValueError(f"{self.key}: the label must be real or fake, got {self.label!r}.")
        if self.corruption is not None and self.corruption not in NAMES:
            raise ValueError(
                f"{self.key}: a corruption is a kind and a level, such as blur-3, and empty for the video as it is; "
                f"got {self.corruption!r}."
            )
        if (self.status == "ok") != (self.fake_probability is not None):
            raise ValueError(
                f"{self.key}: there must be a fake probability if and only if the status is ok, got {self.status!r}."
            )
        if self.seen is not None and self.seen not in PARTS:
            raise ValueError(f"{self.key}: seen must be {', '.join(PARTS)} or empty, got {quoted(self.seen)}.")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.key}: sha256 must be 64 hexadecimal digits, got {quoted(self.sha256)}.")
        for probability in (self.fake_probability, *self.frame_probabilities):
            if probability is not None and not 0.0 <= probability <= 1.0:
                raise ValueError(f"{self.key}: a probability must lie in [0, 1], got {probability}; is it a logit?")

    @property
    def is_fake(self) -> bool:
        """True if the label is "fake"."""
        return self.label == "fake"

    @property
    def task(self) -> tuple[str, str | None]:
        """Key of the sample and name of the corruption."""
        return self.key, self.corruption

    @classmethod
    def of(cls, sample: Sample, corruption: str | None = None, **found: Any) -> "Score":
        """
        Make the score of a sample.

        Args:
            sample: The sample.
            corruption: Name of the corruption.
            **found: Fields that result from scoring.
        """
        return cls(
            **{name: getattr(sample, name) for name in OF_SAMPLE},
            corruption=corruption,
            **found,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Score":
        """
        Make a score from a dictionary as `asdict` returns it; unknown keys are ignored.

        Args:
            values: The dictionary.

        Raises:
            ValueError: If a value is missing or invalid.
        """
        known = {field.name for field in fields(cls)}
        return as_dataclass({name: value for name, value in values.items() if name in known}, cls)

    def to_line(self) -> bytes:
        """Return the score as a line of JSON."""
        return json.dumps(asdict(self), allow_nan=False).encode() + b"\n"


class ScoreLog:
    """
    The file that one process appends its scores to; each line is on disk before the next video begins.

    An incomplete last line of a run that was killed is removed. Use it as a context manager, in a folder that this
    process has locked.

    Args:
        file: The file; created if it does not exist.

    Raises:
        OSError: If it cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._stream = file.open("r+b" if file.exists() else "x+b")
        self._stream.seek(len(read_complete_lines(file)))
        self._stream.truncate()

    def __enter__(self) -> "ScoreLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def append(self, score: Score) -> None:
        """
        Write a line and wait until it is on disk.

        Args:
            score: The score.

        Raises:
            OSError: If the disk is full; earlier lines stay.
        """
        self._stream.write(score.to_line())
        self._stream.flush()
        os.fsync(self._stream.fileno())


def read_lines(file: Path) -> list[Score]:
    """
    Read the scores of a file of lines. An incomplete last line is left out.

    Args:
        file: The file.

    Raises:
        EvaluationError: If another line is damaged, or `predict` wrote the file.
    """
    scores = []
    for number, line in enumerate(read_complete_lines(file).splitlines(), 1):
        try:
            values = parse_json(line)
            if isinstance(values, dict):
                _check_labels(file, values)
            scores.append(Score.from_dict(values))
        except EvaluationError:
            raise
        except (ValueError, AttributeError) as error:
            raise EvaluationError(f"{file}, line {number}: invalid score ({error}); delete the line.") from error
    return scores


def read_scores(path: str | Path) -> list[Score]:
    """
    Read saved scores from a folder that `evaluate` wrote, a file of lines, or a CSV file.

    A CSV or TSV file needs the columns `key` (or `path`), `label` and `fake_probability`; an empty probability means
    that the video could not be scored.

    Args:
        path: The folder or file.

    Raises:
        EvaluationError: If there are none, or one is damaged.
    """
    path = Path(path)
    files = sorted(path.glob(LINES_PATTERN)) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise EvaluationError(f"{path}: no scores found; give a folder that evaluate wrote, or its {CSV_NAME}.")
    scores = [score for file in files for score in _reader_of(file)(file)]
    if not scores:
        raise EvaluationError(f"{path}: there are no scores in it yet.")
    return unique(scores)


def _reader_of(file: Path) -> Callable[[Path], list[Score]]:
    return _read_csv_scores if file.suffix.lower() in TABLE_EXTENSIONS else read_lines


def unique(scores: Iterable[Score]) -> list[Score]:
    """Keep the first success of each task, or else its first failure, sorted by key and corruption."""
    kept: dict[tuple[str, str | None], Score] = {}
    for score in scores:
        if kept.setdefault(score.task, score).fake_probability is None and score.fake_probability is not None:
            kept[score.task] = score
    return sorted(kept.values(), key=lambda score: (score.key, score.corruption or ""))


def write_csv_scores(scores: Sequence[Score], file: Path) -> None:
    """
    Write a CSV file with one row per score, without the frames; the cells are spreadsheet-safe.

    Args:
        scores: The scores.
        file: The file.

    Raises:
        OutputError: If it cannot be written.
    """
    names = [field.name for field in fields(Score) if field.name not in _NOT_IN_CSV]
    rows = ({**asdict(score), "identities": _identities_cell(score.identities)} for score in scores)
    write_atomically(file, format_table(names, rows).encode("utf-8", "surrogateescape"))


def _identities_cell(identities: Sequence[str]) -> str:
    """Names separated by spaces, or a JSON list if a name contains one."""
    plain = " ".join(identities)
    is_plain = tuple(plain.split()) == tuple(identities) and not plain.startswith("[")
    return plain if is_plain else json.dumps(list(identities), ensure_ascii=False)


def _read_identities(cell: str | None) -> tuple[str, ...]:
    if not (cell or "").startswith("["):
        return tuple((cell or "").split())
    names = parse_json(cell or "")
    if not all(isinstance(name, str) for name in names):
        raise ValueError("identities must be names")
    return tuple(names)


def _read_csv_scores(file: Path) -> list[Score]:
    """
    Read a table as [`write_csv_scores`] or a spreadsheet writes it.

    It is separated by comma, semicolon or tab, in UTF-8, or in UTF-16 with a byte order mark. Labels are real and
    fake, or 0 and 1; a column `group` names the person if there are no identities.

    Args:
        file: The file.

    Raises:
        EvaluationError: If a column is missing, a row is invalid, a video is listed twice, or `predict` wrote the
            table.
    """
    try:
        text, delimiter = find_delimiter(read_text(file, errors="surrogateescape"))
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [name.strip().lower() for name in next(filter(any, rows), [])]
        _check_labels(file, header)
        _check_header(file, header)
        scores: list[Score] = []
        lines: dict[tuple[str, str | None], int] = {}
        for row in filter(any, rows):
            try:
                scores.append(_read_row(header, row, dataset=file.stem))
                first = lines.setdefault(scores[-1].task, rows.line_num)
                if first != rows.line_num:
                    raise ValueError(f"{scores[-1].key} is in line {first} already; a table has one row per video")
            except ValueError as error:
                reason = str(error).removesuffix(".")
                raise EvaluationError(f"{file}, line {rows.line_num}: invalid score ({reason}).") from error
    except csv.Error as error:
        raise EvaluationError(f"{file}: cannot be read as CSV ({error}).") from error
    except InputError as error:
        raise EvaluationError(str(error)) from error
    return scores


def _check_labels(file: Path, names: Iterable[str]) -> None:
    """Refuse results of `predict`, by the names of their columns or fields."""
    if set(names) >= _PREDICTED:
        raise EvaluationError(
            f"{file}: contains results of predict, whose labels are predictions; in a table that predict wrote with "
            "--csv, write the true labels into the column label, and remove the column verdict."
        )


def _check_header(file: Path, header: Sequence[str]) -> None:
    """Name the columns that a table lacks; an empty table has no rows that need them."""
    columns = {"key" if name == "path" else name for name in header}
    absent = [name for name in ("key", "label", "fake_probability") if name not in columns]
    if header and absent:
        shown = ", ".join(map(repr, header[:8]))
        raise EvaluationError(
            f"{file}: the header ({shown}) has no column {' and no column '.join(absent)}; saved scores have the "
            "columns key (or path), label and fake_probability."
        )


def _read_row(header: Sequence[str], row: Sequence[str], *, dataset: str) -> Score:
    """The score of a row; raises `ValueError` if it is invalid."""
    if any(row[len(header) :]):
        raise ValueError("more cells than the header has; put cells that contain the separator in double quotes")
    values: dict[str, Any] = dict.fromkeys(header)
    values |= {name: unescape_formula(cell) for name, cell in zip(header, row, strict=False) if name and cell}
    for name, kind in {"fake_probability": float, **_NUMBERS}.items():
        # Spreadsheets in many countries write 0,9 for 0.9.
        values[name] = kind(values[name].replace(",", ".")) if values.get(name) else None
    values["key"] = values.get("key") or values.get("path")
    if values["key"] is None:
        raise ValueError("the key is missing")
    values["status"] = values.get("status") or ("ok" if values["fake_probability"] is not None else "not_scored")
    values["dataset"] = values.get("dataset") or dataset
    label = values.get("label") or ""
    is_fake = parse_label(label)
    values["label"] = label if is_fake is None else "fake" if is_fake else "real"
    group = values.get("group")
    values["identities"] = _read_identities(values.get("identities")) or ((group,) if group else ())
    return Score.from_dict(values)
