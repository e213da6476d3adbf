# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation: which scores of an earlier run are still valid."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..common.files import write_atomically
from ..common.processes import ProcessGroup
from ..scanning.file_stamps import check_files
from ..scanning.fingerprint import claim_folder, describe_setup, store_description
from ..scanning.store import PASSING_FAILURES
from .frame_scorer import FrameScorer
from .samples import Benchmark, Sample
from .scores import LINES_PATTERN, OF_SAMPLE, Score, read_lines, unique


Task = tuple[str, str | None]
# Parts of a description that decide the scores; the others are for the tables.
_DECISIVE = ("dataset", "layout", "ensemble", "seed", "function")


def describe(scorer: FrameScorer, benchmark: Benchmark, *, seed: int) -> dict[str, Any]:
    """
    Describe a run: the settings that determine its scores, for [`load_valid_scores`], and the information shown in the
    tables.

    Args:
        scorer: The loaded models.
        benchmark: The data set.
        seed: Seed of the corruptions.
    """
    described = [model.description for model in scorer.models]
    return {
        "dataset": str(benchmark.root.resolve()),
        "layout": benchmark.layout,
        "derived_name": benchmark.derived_name,
        "models": scorer.identity.id,
        "weights_sha256": scorer.identity.weights_sha256,
        "is_trained": all(model.is_trained for model in described),
        "temperatures": [float(model.temperature) for model in described],
        "fake_biases": [float(model.fake_bias) for model in described],
        "threshold": scorer.threshold,
        "frame_sampling": [processor.frame_sampling for processor in scorer.processors],
        "num_frames": [scorer.settings.num_frames or processor.num_frames for processor in scorer.processors],
        "faces": scorer.settings.faces,
        "face_aggregation": scorer.settings.face_aggregation,
        "ensemble": scorer.ensemble,
        "dtype": scorer.settings.dtype,
        "engine": scorer.settings.engine,
        "seed": seed,
        "function": describe_setup(scorer.models, scorer.settings),
    }


def load_valid_scores(
    folder: Path,
    samples: Iterable[Sample],
    wanted: set[Task],
    description: Mapping[str, Any],
    *,
    scorer: FrameScorer,
    processes: ProcessGroup,
) -> list[Score]:
    """
    Return the scores of an earlier run that are still valid, the same on every process.

    They are valid if they were made by the same models and settings from the same bytes. Label, split and the like are
    taken from the data set as it is now.

    Args:
        folder: Folder of the run; locked by the caller.
        samples: All videos of the data set: scores of splits that are not evaluated now stay in the folder.
        wanted: Tasks to score.
        description: Result of [`describe`].
        scorer: The loaded models, which know the videos they were trained on.
        processes: Processes that share the work.

    Raises:
        RunMismatchError: If the folder holds scores of other models, settings or data.
        EvaluationError: If a line is damaged.
        OutputError: If the folder cannot be written.
    """
    # Every process reads its own disk: on several machines these may differ.
    own = [score for file in sorted(folder.glob(LINES_PATTERN)) for score in read_lines(file)]
    claim_folder(folder, description, compared=_DECISIVE, has_results=bool(own), wait=processes.wait)
    known = {sample.key: sample for sample in samples}
    earlier = [
        _update_metadata(score, known[score.key], scorer)
        for score in unique(processes.gather(own))
        if score.key in known
    ]
    holding = unique(processes.gather(_holding(processes.share(earlier), known)))
    processes.wait()
    if processes.is_first:
        _replace_lines(folder, holding)
        # What is not compared, such as the threshold, is that of the tables, which are made anew.
        store_description(folder, description)
    processes.wait()
    return [score for score in holding if score.task in wanted]


def _update_metadata(score: Score, sample: Sample, scorer: FrameScorer) -> Score:
    """The score with the present labels of the data set and training records of the models."""
    found = {field.name: getattr(score, field.name) for field in fields(Score) if field.name not in OF_SAMPLE}
    return Score.of(sample, **{**found, "seen": scorer.known_videos.seen(sample, score.sha256)})


def _holding(scores: Sequence[Score], known: Mapping[str, Sample]) -> list[Score]:
    """Scores whose files are unchanged, with the current stamps of the files."""
    holding = []
    checked: dict[tuple[str, str | None], tuple[bool, str | None]] = {}
    for score in scores:
        if score.status in PASSING_FAILURES:
            continue
        # Corruptions are made from the same bytes.
        file = (score.key, score.sha256)
        if file not in checked:
            checked[file] = check_files(known[score.key].files, score.sha256, score.stamp)
        is_same, stamp = checked[file]
        if is_same:
            holding.append(replace(score, stamp=stamp))
    return holding


def _replace_lines(folder: Path, scores: Iterable[Score]) -> None:
    first = folder / LINES_PATTERN.replace("*", "00000")
    write_atomically(first, b"".join(score.to_line() for score in unique(scores)))
    # Their lines are in the first file now. If the run is killed here they are in both, and the next run merges them.
    for file in set(folder.glob(LINES_PATTERN)) - {first}:
        file.unlink()
