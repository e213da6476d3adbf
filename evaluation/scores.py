# SPDX-License-Identifier: Apache-2.0
"""Scores on disk: one JSON line a judged video, written so that a run can be killed at any moment and continued."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..common.files import as_written, harmless, write_atomically
from .samples import EvaluationError, Sample


LINES_PATTERN = "scores-*.jsonl"
CSV_NAME = "scores.csv"
# The frames stand in the lines only: a table of them helps nobody.
# What a score says of its sample; the rest was found by judging it.
OF_SAMPLE = ("key", "label", "dataset", "method", "compression", "split", "identities", "original")
_NOT_IN_CSV = ("frame_indices", "frame_probabilities", "frame_weights", "stamp")


@dataclass(frozen=True, kw_only=True)
class Score:
    """
    What was found out about one sample, as it is or degraded.

    Attributes:
        key: Of the sample.
        corruption: "blur-3" and the like; `None` for the sample as it is.
        label: "real" or "fake".
        dataset: Name of the data set.
        method: How it was manipulated.
        compression: "c23" and the like.
        split: Of the sample.
        identities: Persons or source videos in it.
        original: The real video it was made from.
        status: "ok", or why there is no score.
        fake_probability: In [0, 1]; `None` unless ok, never a number in place of a failure.
        message: Why there is no score.
        face_coverage: Share of the sampled frames with a detected face.
        frame_indices: Distinct frames behind the score.
        frame_probabilities: Calibrated fake probability of each of them.
        frame_weights: Share of each of them in the clip that was judged: the score of a frame classifier follows from
            these and its checkpoint's calibration by the rule in the README.
        seen: "training", "validation" or "calibration" if a model's record lists the sample there.
        sha256: Of the file, or of the images one after the other; `None` if one could not be read.
        stamp: By which files that did not change are known without reading them, see `scanning.fingerprint`.

    Raises:
        ValueError: If there is a probability without a score or outside [0, 1].
    """

    key: str
    corruption: str | None = None
    label: str
    dataset: str
    method: str | None = None
    compression: str | None = None
    split: str | None = None
    identities: tuple[str, ...] = ()
    original: str | None = None
    status: str = "ok"
    fake_probability: float | None = None
    message: str | None = None
    face_coverage: float | None = None
    frame_indices: tuple[int, ...] = ()
    frame_probabilities: tuple[float, ...] = ()
    frame_weights: tuple[float, ...] = ()
    seen: str | None = None
    sha256: str | None = None
    stamp: str | None = None

    def __post_init__(self) -> None:
        if self.label not in ("real", "fake"):
            raise ValueError(f"{self.key}: the label must be real or fake, got {self.label!r}.")
        if (self.status == "ok") != (self.fake_probability is not None):
            raise ValueError(f"{self.key}: has a fake probability if and only if it is ok, got {self.status!r}.")
        for probability in (self.fake_probability, *self.frame_probabilities):
            if probability is not None and not 0.0 <= probability <= 1.0:
                raise ValueError(f"{self.key}: a probability must lie in [0, 1], got {probability}; is it a logit?")

    @property
    def is_fake(self) -> bool:
        """The label."""
        return self.label == "fake"

    @property
    def task(self) -> tuple[str, str | None]:
        """What was to be scored."""
        return self.key, self.corruption

    @classmethod
    def of(cls, sample: Sample, corruption: str | None = None, **found: Any) -> "Score":
        """The score of a sample."""
        return cls(
            **{name: getattr(sample, name) for name in OF_SAMPLE},
            corruption=corruption,
            **found,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Score":
        """
        The reverse of `asdict`; keys that are not known are ignored.

        Raises:
            ValueError: If a value is missing or wrong.
        """
        known = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        try:
            return cls(**{name: value for name, value in kept.items() if name in known})
        except TypeError as error:
            raise ValueError(f"a score must have a key and a label ({error})") from error

    def to_line(self) -> bytes:
        """The score as a line of JSON."""
        return json.dumps(asdict(self), allow_nan=False).encode() + b"\n"


class ScoreLog:
    """
    The lines of one process: each is on the disk before the next video begins.

    A line that was cut off when an earlier run was killed is removed. Use it as a context manager, in a folder that
    this process has locked.

    Args:
        file: Appended to; made if it does not exist.

    Raises:
        OSError: If it cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._stream = file.open("r+b" if file.exists() else "x+b")
        self._stream.seek(_complete_length(file))
        self._stream.truncate()

    def __enter__(self) -> "ScoreLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def append(self, score: Score) -> None:
        """
        Write a line and wait until the disk has it.

        Raises:
            OSError: If the disk is full; what is finished stays.
        """
        self._stream.write(score.to_line())
        self._stream.flush()
        os.fsync(self._stream.fileno())


def _complete_length(file: Path) -> int:
    """Bytes up to the end of the last whole line."""
    return file.read_bytes().rfind(b"\n") + 1


def read_lines(file: Path) -> list[Score]:
    """
    The scores of a file of lines. One that is cut off at the end is not a result yet and is left out.

    Raises:
        EvaluationError: If another line is damaged.
    """
    content = file.read_bytes()
    scores = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            scores.append(Score.from_dict(json.loads(line)))
        except (ValueError, AttributeError) as error:
            raise EvaluationError(f"{file}, line {number}: is no score ({error}); delete the line.") from error
    return scores


def read_scores(path: str | Path) -> list[Score]:
    """
    Saved scores: of a folder that `evaluate` wrote, of a file of lines, or of a CSV file.

    A CSV file needs the columns `key` (or `path`), `label` and `fake_probability`; an empty probability is a video
    that could not be scored.

    Raises:
        EvaluationError: If there are none, or one is damaged.
    """
    path = Path(path)
    files = sorted(path.glob(LINES_PATTERN)) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise EvaluationError(f"{path}: holds no scores; give a folder that evaluate wrote, or its {CSV_NAME}.")
    scores = [score for file in files for score in (read_csv_scores if file.suffix == ".csv" else read_lines)(file)]
    if not scores:
        raise EvaluationError(f"{path}: holds no scores yet.")
    return unique(scores)


def unique(scores: Iterable[Score]) -> list[Score]:
    """Each task once, sorted by key and corruption: the first time it succeeded, else the first failure."""
    kept: dict[tuple[str, str | None], Score] = {}
    for score in scores:
        if kept.setdefault(score.task, score).fake_probability is None and score.fake_probability is not None:
            kept[score.task] = score
    return sorted(kept.values(), key=lambda score: (score.key, score.corruption or ""))


def write_csv_scores(scores: Sequence[Score], file: Path) -> None:
    """One row a score, without the frames; no cell is a formula to a spreadsheet."""
    names = [field.name for field in fields(Score) if field.name not in _NOT_IN_CSV]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for score in scores:
        row = {**asdict(score), "identities": " ".join(score.identities)}
        writer.writerow({name: harmless(value) for name, value in row.items()})
    write_atomically(file, stream.getvalue().encode("utf-8", "surrogateescape"))


def read_csv_scores(file: Path) -> list[Score]:
    """
    The reverse of [`write_csv_scores`].

    Raises:
        EvaluationError: If a row is wrong.
    """
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            rows = list(csv.DictReader(stream, strict=True))
    except csv.Error as error:
        raise EvaluationError(f"{file}: cannot be read as CSV in UTF-8 with commas ({error}).") from error
    scores = []
    for number, row in enumerate(rows, 2):
        values: dict[str, Any] = {name: as_written(value) if value else None for name, value in row.items() if name}
        try:
            probability = values.get("fake_probability")
            values["fake_probability"] = None if probability is None else float(probability)
            values["face_coverage"] = float(values["face_coverage"]) if values.get("face_coverage") else None
            values["key"] = values.get("key") or values.get("path")
            values["status"] = values.get("status") or ("ok" if probability is not None else "not_scored")
            values["dataset"] = values.get("dataset") or file.stem
            values["label"] = str(values.get("label")).lower()
            values["identities"] = tuple((values.get("identities") or "").split())
            if values["key"] is None:
                raise ValueError("there is no key")
            scores.append(Score.from_dict(values))
        except ValueError as error:
            raise EvaluationError(f"{file}, line {number}: is no score ({error}).") from error
    return scores
