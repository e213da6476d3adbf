# SPDX-License-Identifier: Apache-2.0
"""The verdict bands of a checkpoint, their measured error rates, and the file that stores them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UsageError
from ..common.files import write_atomically
from ..common.json_files import as_dataclass, parse_json
from ..hub.model_files import VERDICT_NAME


# Largest share of real people called likely fake, and of fakes called likely real.
MAX_FALSE_ALARMS, MAX_MISSES = 0.02, 0.1
# Settings that change a score and with it the meaning of the bands.
BOUND_SETTINGS = ("num_frames", "faces", "face_aggregation", "dtype")
NOT_COVERED = "Likely real says nothing about lip-sync manipulation, fully generated scenes or audio."
_FORMAT, _MAX_BYTES = 1, 1 << 18


class VerdictFileError(UsageError):
    """`verdict.json` is damaged; the message names the file and a remedy."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """
    A proportion of people or fakes, with an exact 95 % confidence interval (Clopper and Pearson, 1934).

    Attributes:
        count: Number of people or fakes counted.
        number: Total number of people or fakes.
        low: Lower end of the interval of the share.
        high: Upper end of the interval of the share.

    Raises:
        ValueError: If the numbers contradict each other.
    """

    count: int
    number: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.number > 0:
            raise ValueError(f"count must lie between 0 and number, got {self.count!r} of {self.number!r}")
        if not 0 <= self.low <= self.count / self.number <= self.high <= 1:
            raise ValueError(
                f"the interval {self.low!r} to {self.high!r} must contain the proportion {self.count}/{self.number}"
            )

    @property
    def interval(self) -> str:
        """The interval in words."""
        return f"95 % interval {100 * self.low:.1f} to {100 * self.high:.1f} %"


@dataclass(frozen=True, kw_only=True)
class FaceCountRate:
    """
    Share of videos with several real people that would be called likely fake.

    Attributes:
        num_faces: Number of people in the video.
        rate: That share with the correction for the number of faces.
        uncorrected: That share without the correction.
    """

    num_faces: int
    rate: float
    uncorrected: float

    def __post_init__(self) -> None:
        if not (self.num_faces > 0 and 0 <= self.rate <= 1 and 0 <= self.uncorrected <= 1):
            raise ValueError("num_faces must be positive, and rate and uncorrected must lie between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class VerdictBands:
    """
    The bands of one checkpoint and what was measured with them.

    Each rate is measured with each source of videos left out in turn: its people are evaluated with bands fitted to
    the other sources.

    Attributes:
        weights_sha256: SHA-256 of the weights.
        temperature: Temperature of their calibration.
        fake_bias: Fake bias of their calibration.
        settings: The settings of `BOUND_SETTINGS` that the scores were made with.
        low: Fake probability below which a video is called likely real; `None` if no video may be called likely real.
        high: Fake probability above which a video is called likely fake; `None` if no video may be called likely fake.
        false_alarms: Real people called likely fake; `None` if `high` is `None`.
        misses: Fakes called likely real; `None` if `low` is `None`.
        undecided_real: Real people left undecided.
        undecided_fake: Fakes left undecided.
        face_exponent: With k faces, the odds of a video are divided by k to the power of this before they are compared
            with `high`.
        by_faces: False alarms by the number of faces in a video.
        people: Number of real people.
        fakes: Number of fakes, counted once for each person and method.
        sources: Names of the sources of videos.
        min_face_px: Smallest face that was measured: side of its box in pixels of the video.
        min_bits_per_pixel: Strongest compression that was measured: bits of the video stream per pixel.
        notes: Remarks on how to interpret the rates.
        function: Configuration and preprocessing that the scores were made with.

    Raises:
        ValueError: If a value is invalid.
    """

    weights_sha256: str
    temperature: float
    fake_bias: float
    settings: dict[str, Any]
    low: float | None
    high: float | None
    false_alarms: Rate | None
    misses: Rate | None
    undecided_real: Rate | None
    undecided_fake: Rate | None
    face_exponent: float = 1.0
    by_faces: tuple[FaceCountRate, ...] = ()
    people: int
    fakes: int
    sources: tuple[str, ...]
    min_face_px: float | None = None
    min_bits_per_pixel: float | None = None
    notes: tuple[str, ...] = ()
    function: dict[str, Any]

    def __post_init__(self) -> None:
        if len(self.weights_sha256) != 64 or not set(self.weights_sha256) <= set("0123456789abcdef"):
            raise ValueError("weights_sha256 must be 64 hexadecimal digits")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature!r}")
        if not 1 <= self.face_exponent <= 10:
            raise ValueError(f"face_exponent must lie between 1 and 10, got {self.face_exponent!r}")
        if set(self.settings) != set(BOUND_SETTINGS):
            raise ValueError(f"settings must hold {', '.join(BOUND_SETTINGS)}")
        is_complete = set(self.function) == {"configuration", "preprocessing"}
        if not is_complete or not all(isinstance(part, Mapping) for part in self.function.values()):
            raise ValueError("function must hold configuration and preprocessing")
        for name, rate in (("low", "misses"), ("high", "false_alarms")):
            bound = getattr(self, name)
            if bound is not None and not 0 < bound < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {bound!r}")
            if (bound is None) != (getattr(self, rate) is None):
                raise ValueError(f"{name} requires {rate}, because a band without a measured error rate is not used")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low}) must not exceed high ({self.high})")
        for name in ("min_face_px", "min_bits_per_pixel"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must not be negative")
        if self.people < 0 or self.fakes < 0:
            raise ValueError("people and fakes must not be negative")
        numbers = {rate.number for rate in (self.misses, self.undecided_fake) if rate is not None}
        if len(numbers) > 1 or (self.found_fakes or 0) < 0:
            raise ValueError("misses and undecided_fake must count different ones of the same fakes")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> "VerdictBands":
        """
        Create the bands from the result of [`to_dict`].

        Raises:
            ValueError: If a value is missing, unknown or invalid.
        """
        return as_dataclass(content, cls)

    @property
    def found_fakes(self) -> int | None:
        """Number of fakes called likely fake; `None` if it was not measured."""
        if self.high is None or self.misses is None or self.undecided_fake is None:
            return None
        return self.misses.number - self.misses.count - self.undecided_fake.count

    @property
    def sentence(self) -> str:
        """The measured rates in words, and what likely real does not cover."""
        parts = []
        if self.false_alarms is not None:
            rate = self.false_alarms
            parts.append(f"Of {_people(rate.number)} not seen in training, {rate.count} {_were(rate.count)} called "
                         f"likely fake ({rate.interval})")  # fmt: skip
        else:
            parts.append(
                f"This checkpoint never reports likely fake, because {self.people} real people are too few "
                "to bound the false-alarm rate"
            )
        if self.misses is not None:
            rate = self.misses
            fakes = f"{rate.number} fake" + ("s" if rate.number != 1 else "")
            found = self.found_fakes
            also = "" if found is None else f" and {found} likely fake"
            parts.append(f"of {fakes}, {rate.count} {_were(rate.count)} called likely real ({rate.interval}){also}")
        else:
            parts.append(
                f"this checkpoint never reports likely real, because {self.fakes} fakes are too few to "
                "bound the miss rate"
            )
        text = "; ".join(parts) + "."
        shares = [f"{100 * rate.count / rate.number:.0f} % of the {name}"
                  for name, rate in (("real people", self.undecided_real), ("fakes", self.undecided_fake))
                  if rate is not None]  # fmt: skip
        text += f" Undecided: {' and '.join(shares)}." if shares else ""
        return f"{text} {NOT_COVERED}" if self.low is not None else text


def read_bands(folder: Path) -> VerdictBands | None:
    """
    Read the bands of a checkpoint; `None` if it has none.

    Args:
        folder: Folder of the checkpoint.

    Raises:
        VerdictFileError: If the file is damaged.
    """
    file = folder / VERDICT_NAME
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES >> 10} KiB")
        content = parse_json(text)
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise ValueError(f"it is not of format {_FORMAT}")
        return VerdictBands.from_dict(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise VerdictFileError(
            f"{file}: is damaged ({error}); remove it, or measure again with evaluate --verdict."
        ) from error


def write_bands(bands: VerdictBands, folder: Path) -> Path:
    """
    Write the bands into the folder of the weights.

    Args:
        bands: The bands.
        folder: Folder of the checkpoint.

    Returns:
        The file.

    Raises:
        OutputError: If it cannot be written.
    """
    text = json.dumps({"format": _FORMAT, **bands.to_dict()}, indent=2, allow_nan=False)
    write_atomically(folder / VERDICT_NAME, text.encode() + b"\n")
    return folder / VERDICT_NAME


def _people(number: int) -> str:
    return "1 real person" if number == 1 else f"{number} real people"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
