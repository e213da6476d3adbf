# SPDX-License-Identifier: Apache-2.0
"""The data sets of an evaluation, and which of their videos are evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common.files import as_paths, write_atomically
from ..common.processes import ProcessGroup
from .calibration import HALF, hold_out
from .datasets import open_benchmark
from .known_videos import KnownVideos
from .plan import EvaluationPlan
from .progress import EvaluationListener
from .samples import Benchmark, EvaluationError, Sample, limit_classes, name_split, source_of_people


MAX_LISTED = 20
MISSING_NAME = "missing.txt"
# Scores of the videos that calibrate, within the folder of a run.
HELD_OUT = "held-out"
# Folders within that of a run, which cannot be the names of data sets.
RESERVED = (HELD_OUT, "remaining", "compared")
Data = str | Path | Sequence[str | Path] | Mapping[str, str | Path]


@dataclass(frozen=True, kw_only=True)
class Part:
    """
    One data set of an evaluation.

    Attributes:
        name: Its name among several data sets.
        whole: The data set.
        split: Name of the part that is evaluated.
        evaluated: Videos to evaluate.
        held_out: Videos to calibrate on; no person is in both parts.
        held_out_name: Name of the part to calibrate on.
        notes: Caveats about the metrics.
    """

    name: str
    whole: Benchmark
    split: str
    evaluated: list[Sample]
    held_out: list[Sample]
    held_out_name: str
    notes: list[str]

    @property
    def scorable(self) -> list[Sample]:
        """Videos to evaluate whose files exist."""
        missing = set(self.whole.missing)
        return [sample for sample in self.evaluated if sample.key not in missing]


def named_roots(data: Data) -> dict[str, Path]:
    """
    Name each data set; the name is that of a folder of the output too.

    Args:
        data: The data sets; those without a name are called as their folder or file.

    Raises:
        EvaluationError: If there is none, two have the same name, or a name cannot be that of a folder.
    """
    if isinstance(data, Mapping):
        return _checked_names(list(zip(map(str, data), map(Path, as_paths("data", data.values())), strict=True)))
    roots = [Path(root) for root in as_paths("data", data)]
    return _checked_names([(_own_name(root), root) for root in roots])


def typed_roots(words: Sequence[str]) -> dict[str, Path]:
    """
    Name each data set as [`named_roots`] does.

    Args:
        words: Each is PATH or NAME=PATH; a path that exists is a path, whatever its name.

    Raises:
        EvaluationError: As [`named_roots`] does.
    """
    pairs = []
    for word in words:
        name, separator, path = word.partition("=")
        if separator and name and not set(name) & {"/", "\\"} and not Path(word).exists():
            pairs.append((name, Path(path)))
        else:
            pairs.append((_own_name(Path(word)), Path(word)))
    return _checked_names(pairs)


def _own_name(root: Path) -> str:
    return root.resolve().stem if root.is_file() else root.resolve().name


def _checked_names(pairs: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    if not pairs:
        raise EvaluationError("there is no data set to evaluate; give at least one.")
    named: dict[str, Path] = {}
    for name, root in pairs:
        if name in named:
            raise EvaluationError(f"two data sets are named {name}; give each its own name, as in ff=PATH celeb=PATH.")
        if len(pairs) > 1 and (name in ("", ".", "..", *RESERVED) or Path(name).name != name):
            raise EvaluationError(f"{name!r} is not a valid name of a data set: it becomes the name of a folder.")
        named[name] = root
    return named


def open_part(name: str, root: Path, plan: EvaluationPlan) -> Part:
    """
    Read a data set, and choose the videos that are evaluated and those that calibrate.

    Args:
        name: Its name among several data sets.
        root: Its folder or file.
        plan: Settings that choose the videos.

    Raises:
        EvaluationError: If it cannot be read, or cannot be divided as the plan asks.
    """
    whole = open_benchmark(root, plan.layout, photos=plan.photos)
    evaluated = whole.select(plan.split).samples
    held_out: list[Sample] = []
    held_out_name = ""
    if plan.calibrated_folder is not None:
        held_out, evaluated, held_out_name = hold_out(whole, plan.split, plan.calibration_split, seed=plan.seed)
    notes = list(whole.notes)
    if plan.limit is not None:
        before = len(evaluated)
        evaluated, held_out = (limit_classes(part, plan.limit, seed=plan.seed) for part in (evaluated, held_out))
        if len(evaluated) < before:
            notes.append(f"{len(evaluated)} of {before} videos were drawn: at most {plan.limit} of each class")
    split = name_split(sample.split for sample in evaluated) + (f", without {HALF}" if held_out_name == HALF else "")
    return Part(
        name=name,
        whole=whole,
        split=split,
        evaluated=evaluated,
        held_out=held_out,
        held_out_name=held_out_name,
        notes=notes,
    )


def announce(part: Part, folder: Path | None, listener: EvaluationListener, processes: ProcessGroup) -> None:
    """
    Report what will be evaluated, and name what is missing, before anything is computed.

    Args:
        part: The data set.
        folder: Folder for the list of missing videos.
        listener: Receives the report.
        processes: Processes that share the work.

    Raises:
        OutputError: If the list cannot be written.
    """
    samples = [*part.evaluated, *part.held_out]
    reals = sum(not sample.is_fake for sample in samples)
    where = f"{part.whole.root}: {part.whole.layout}, split {part.split}"
    lines = [f"{where}: {reals} real and {len(samples) - reals} fake videos", *part.notes]
    if part.held_out:
        lines.append(
            f"{len(part.held_out)} of them are used for calibration ({part.held_out_name}); the others are evaluated"
        )
    named = {sample.key for sample in samples}
    missing = [key for key in part.whole.missing if key in named]
    if missing:
        are = "is missing and" if len(missing) == 1 else "are missing and"
        lines.append(f"{len(missing)} of them {are} counted as not scored:")
        lines += [f"  {key}" for key in missing[:MAX_LISTED]]
        if len(missing) > MAX_LISTED:
            rest = f"{len(missing) - MAX_LISTED} more"
            lines.append(f"  and {rest}" if folder is None else f"  and {rest}, see {folder / MISSING_NAME}")
        if folder is not None and processes.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / MISSING_NAME, "".join(f"{key}\n" for key in missing).encode("utf-8", "replace"))
    listener.announce(lines)


def check_classes(parts: Iterable[Part], known_videos: Sequence[KnownVideos] = ()) -> None:
    """
    Check that there are real and fake videos, which a comparison of AUCs needs.

    Args:
        parts: The data sets.
        known_videos: Videos and people that the models have seen, which do not count. Those that only their content
            identifies are left out after it was read.

    Raises:
        EvaluationError: If a class is missing.
    """
    labels = {
        sample.label
        for part in parts
        for sample in part.scorable
        if not any(known.seen(sample, None) for known in known_videos)
    }
    if len(labels) < 2:
        unseen = " that neither has seen before" if known_videos else ""
        found = f"only {labels.pop()} ones; add the other class" if labels else "none; add some"
        raise EvaluationError(
            f"two models are compared on real and fake videos{unseen}, but there are {found}, or omit --compare."
        )


def check_sources(parts: Iterable[Part]) -> None:
    """
    Check that there are videos of at least two sources, which verdict bands need.

    Raises:
        EvaluationError: If there are not.
    """
    # A name that comes from a folder or file distinguishes sources only together with its place.
    sources = {
        (
            source_of_people(sample.dataset),
            part.whole.root.resolve() if sample.dataset == part.whole.derived_name else None,
        )
        for part in parts
        for sample in part.scorable
        if not sample.images
    }
    if len(sources) < 2:
        raise EvaluationError(few_sources(name for name, _ in sources))


def few_sources(names: Iterable[str]) -> str:
    """Say why verdict bands cannot be measured on the sources with these names, of which there is at most one."""
    return (
        "verdict bands require people from at least two sources, because each source is left out in turn; got "
        f"{', '.join(names) or 'none'}. A source is a data set, or a value of the column dataset in a CSV file; "
        "photos and pictures of cropped faces do not count."
    )
