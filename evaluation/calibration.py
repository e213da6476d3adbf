# SPDX-License-Identifier: Apache-2.0
"""Temperature and bias fitted on held-out identities, stored in a new checkpoint folder with the name of the data."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..common.files import new_folder
from ..common.logistic import logit, sigmoid
from ..common.text import quoted
from ..configuration_deepfake import TEMPERATURE_RANGE
from ..hub.folder import save_hub_folder
from ..hub.terms import CARD_NAME, copy_terms, find_terms, read_card
from ..scanning.models import load_stored_model
from ..scanning.scoring_model import ScoringModel
from .frame_scorer import PROBABILITY_EPSILON
from .known_videos import (
    CALIBRATION_NAME,
    TRAINING_NAME,
    KnownVideos,
    VideoList,
    divide_by_people,
    list_videos,
    merge_lists,
    read_lists,
    write_lists,
)
from .metrics import measure
from .samples import Benchmark, EvaluationError, Sample, identity_groups, people_in_common
from .scores import Score
from .verdict_card import without_section
from .warnings import num_videos


# Name of the part to calibrate on if there is no official validation split.
HALF = "one half of the identities"
# Bounds: for separated classes the best temperature is 0, and for scores without information it is infinite.
MIN_FACTOR, MAX_FACTOR = 0.05, 20.0
# Videos of each class; with fewer, the temperature and the threshold are left to chance.
MIN_VIDEOS = 50


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """
    A fitted calibration.

    Attributes:
        dataset: Name of the data set.
        split: Part of the data set that it was fitted on.
        num_videos: Scored videos that it was fitted on.
        num_real: Real videos among them.
        temperature: Temperature of the new configuration; divides the logits.
        fake_bias: Bias of the new configuration; moves the best threshold to a probability of 0.5.
        ece: Expected calibration error before and after, by part of the data; `None` where no video has a score.
        folder: Folder of the new checkpoint.
        num_left_out: Videos of people whom the checkpoint was trained on, which are not among `num_videos`.
    """

    dataset: str
    split: str
    num_videos: int
    num_real: int
    temperature: float
    fake_bias: float
    ece: dict[str, tuple[float | None, float | None]]
    folder: str
    num_left_out: int = 0

    @property
    def warnings(self) -> list[str]:
        """Warnings if videos were left out, or if the calibration was fitted on few videos."""
        found = []
        if self.num_left_out:
            found.append(
                f"{num_videos(self.num_left_out)} left out of the calibration, because the model was trained on the "
                "people shown"
            )
        num_fake = self.num_videos - self.num_real
        if min(self.num_real, num_fake) < MIN_VIDEOS:
            found.append(
                f"calibrated on only {self.num_real} real and {num_fake} fake videos: with fewer than {MIN_VIDEOS} of "
                "either class, temperature and bias may generalise poorly to other videos"
            )
        return found


def hold_out(
    benchmark: Benchmark, split: str | None, calibration_split: str | None, *, seed: int
) -> tuple[list[Sample], list[Sample], str]:
    """
    Divide a data set into samples to calibrate on and samples to evaluate.

    The official validation split is used to calibrate; without one, half of the identities, chosen by the seed.

    Args:
        benchmark: The whole data set.
        split: Part to evaluate.
        calibration_split: Split to calibrate on in place of the validation split.
        seed: Seed for choosing the half of the identities.

    Returns:
        The samples to calibrate on, the samples to evaluate, and the name of the former.

    Raises:
        EvaluationError: If the two would share an identity or source video, or one of them lacks a class.
    """
    chosen = benchmark.select(split).samples
    if calibration_split is None and any(sample.split == "val" for sample in benchmark.samples):
        calibration_split = "val"
    if calibration_split is None:
        held_out, chosen = _halve(chosen, seed)
        name = HALF
    else:
        held_out, name = benchmark.select(calibration_split).samples, calibration_split
    files = {file for sample in held_out for file in sample.files}
    if shared := people_in_common(held_out, chosen) or [s.key for s in chosen if not files.isdisjoint(s.files)]:
        raise EvaluationError(
            f"{benchmark.root}: {shared[0]} is in the data to calibrate on and in the data to evaluate; choose "
            "another --split or --calibration-split, so that no video is evaluated with a calibration that was "
            "fitted to it."
        )
    for samples in (held_out, chosen):
        if len({sample.is_fake for sample in samples}) < 2:
            raise EvaluationError(
                f"{benchmark.root}: cannot be divided into two parts that share no identity and each have real and "
                "fake videos; name the part to calibrate on with --calibration-split."
            )
    return held_out, chosen, name


def _halve(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """Divide into parts of about equal numbers of reals and fakes; connected identities stay together."""
    groups = identity_groups(samples)
    order = np.random.default_rng(seed).permutation(len(groups))
    halves: tuple[list[Sample], list[Sample]] = ([], [])
    for group in sorted((groups[i] for i in order), key=len, reverse=True):
        has_fake = any(sample.is_fake for sample in group)
        counts = [sum(sample.is_fake == has_fake for sample in half) for half in halves]
        halves[int(counts[0] > counts[1])].extend(group)
    return halves


def fit_temperature(probabilities: np.ndarray, is_fake: np.ndarray, before: float = 1.0) -> float:
    """
    Fit the temperature that minimises the log loss of the probabilities (Guo et al., 2017).

    Args:
        probabilities: Fake probability of each video, (N,).
        is_fake: Label of each video, (N,) bool.
        before: Temperature that the logits were already divided by. The product stays within the range of a
            configuration, however often a checkpoint is calibrated.
    """
    margins = logit(probabilities, PROBABILITY_EPSILON)
    lowest, highest = (bound / before for bound in TEMPERATURE_RANGE)
    low, high = np.log(max(MIN_FACTOR, lowest)), np.log(min(MAX_FACTOR, highest))
    # The log loss is convex in the inverse temperature: the zero of its slope is found by bisection.
    for _ in range(60):
        middle = (low + high) / 2
        slope = np.mean(margins * (1 / (1 + np.exp(-margins / np.exp(middle))) - is_fake))
        low, high = (middle, high) if slope > 0 else (low, middle)
    return float(np.exp((low + high) / 2))


def fit_calibration(probabilities: np.ndarray, is_fake: np.ndarray, before: float = 1.0) -> tuple[float, float]:
    """
    Fit a bias that moves the best threshold to 0.5, then a temperature (Platt scaling in two steps; Platt, 1999).

    Args:
        probabilities: Fake probability of each video, (N,).
        is_fake: Label of each video, (N,) bool; both classes must be present.
        before: Temperature that the logits were already divided by, see [`fit_temperature`].

    Returns:
        The factor by which the logits of these probabilities are divided, and the bias that is then added to them.
    """
    cut = float(logit(fit_threshold(probabilities, is_fake), PROBABILITY_EPSILON))
    factor = fit_temperature(sigmoid(logit(probabilities, PROBABILITY_EPSILON) - cut), is_fake, before)
    return factor, -cut / factor


def apply_calibration(probabilities: np.ndarray, factor: float, bias: float = 0.0) -> np.ndarray:
    """Return the probabilities of the same logits divided by a factor and with a bias added."""
    return sigmoid(logit(probabilities, PROBABILITY_EPSILON) / factor + bias)


def fit_threshold(probabilities: np.ndarray, is_fake: np.ndarray) -> float:
    """
    Find the threshold with the highest balanced accuracy, midway between two scores; if there are several, the one
    nearest to 0.5.

    Args:
        probabilities: Fake probability of each video, (N,).
        is_fake: Label of each video, (N,) bool; both classes must be present.
    """
    distinct = np.unique(probabilities)
    cuts = np.concatenate([[distinct[0] / 2], (distinct[1:] + distinct[:-1]) / 2, [(1 + distinct[-1]) / 2]])
    fakes, reals = np.sort(probabilities[is_fake]), np.sort(probabilities[~is_fake])
    # Share of the fakes that are called fake, minus that of the reals.
    balanced = np.searchsorted(reals, cuts) / len(reals) - np.searchsorted(fakes, cuts) / len(fakes)
    best = cuts[balanced >= balanced.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def write_calibration(
    held_out: Sequence[Score],
    others: Mapping[str, Sequence[Score]],
    *,
    model: ScoringModel,
    dataset: str,
    split: str,
    folder: Path,
) -> Calibration:
    """
    Fit temperature and bias, measure the calibration error, and write the new checkpoint.

    Videos that the model was trained on are left out with everyone they show: the model is surer of them than of new
    people. Those by which the training chose its best step are kept.

    Args:
        held_out: Scores to fit on; the new checkpoint lists the videos that were used.
        others: Other scores to measure the calibration error on, by name.
        model: The model that made the scores.
        dataset: Name of the data set.
        split: Name of the part to fit on.
        folder: Folder of the new checkpoint; must not exist.

    Raises:
        EvaluationError: If a class has no score, the folder exists, or the model has more than two labels.
        OSError: If the folder cannot be written.
    """
    check_labels(model)
    left_out, held_out = divide_by_people(held_out, [score for score in held_out if score.seen == "training"])
    probabilities, is_fake = _arrays(held_out)
    _check_classes(dataset, is_fake.tolist(), num_left_out=len(left_out))
    config = model.description
    factor, bias = fit_calibration(probabilities, is_fake, config.temperature)
    parts = {f"{split} (fitted on it)": held_out, **others}
    ece = {}
    for name, scores in parts.items():
        of_part, labels = _arrays(scores)
        ece[name] = (_ece(of_part, labels), _ece(apply_calibration(of_part, factor, bias), labels))
    calibration = Calibration(
        dataset=dataset,
        split=split,
        num_videos=len(is_fake),
        num_real=int((~is_fake).sum()),
        temperature=config.temperature * factor,
        # These logits already contain the bias that the checkpoint had before.
        fake_bias=config.fake_bias / factor + bias,
        ece=ece,
        folder=str(folder),
        num_left_out=len(left_out),
    )
    videos = list_videos((score, score.sha256) for score in held_out)
    _write_checkpoint(model, calibration, videos, folder)
    return calibration


def check_held_out(samples: Sequence[Sample], known_videos: KnownVideos) -> None:
    """
    Check before hours of scoring that both classes are left without the people whom a model was trained on.

    Args:
        samples: Videos to calibrate on.
        known_videos: Videos and people that the model has seen. Those that only their content identifies are left out
            after it was read.

    Raises:
        EvaluationError: If a class has no video.
    """
    trained = [sample for sample in samples if known_videos.seen(sample, None) == "training"]
    left_out, kept = divide_by_people(samples, trained)
    dataset = ", ".join(sorted({sample.dataset for sample in samples}))
    _check_classes(dataset, [sample.is_fake for sample in kept], num_left_out=len(left_out))


def _check_classes(dataset: str, is_fake: Collection[bool], *, num_left_out: int) -> None:
    if len(set(is_fake)) < 2:
        trained = f" of people whom the model was not trained on ({num_left_out} left out)" if num_left_out else ""
        raise EvaluationError(
            f"{dataset}: calibration needs scores of real and of fake videos{trained}; one class has none."
        )


def _arrays(scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
    scored = [score for score in scores if score.fake_probability is not None]
    probabilities = np.array([score.fake_probability for score in scored], np.float64)
    return probabilities, np.array([score.is_fake for score in scored], bool)


def _ece(probabilities: np.ndarray, is_fake: np.ndarray) -> float | None:
    return measure(probabilities, is_fake, 0.5)["ece"]


def check_new_folder(folder: Path) -> None:
    """
    Check that the folder of a calibrated checkpoint is new.

    Raises:
        EvaluationError: If it exists.
    """
    if folder.exists():
        raise EvaluationError(f"{folder}: the folder already exists; give a new folder for the calibrated checkpoint.")


def check_labels(model: ScoringModel) -> None:
    """
    Check that the fake probability of a model alone determines what a temperature makes of it.

    Raises:
        EvaluationError: If the model has more than two labels; the temperature also divides the logits of the others.
    """
    labels = model.description.labels
    if len(labels) > 2:
        raise EvaluationError(
            f"{model.identity.id}: a model with {len(labels)} labels ({', '.join(map(quoted, labels[:5]))}) cannot be "
            "calibrated on fake probabilities, because its temperature also divides the logits of the other labels; "
            "use a model with the labels real and fake."
        )


def check_source(folder: Path | None) -> None:
    """
    Check that the files that belong to the weights of a checkpoint can be copied.

    Raises:
        TermsError: If the card, or a file with terms, cannot be read.
    """
    if folder is not None:
        find_terms(folder)
        read_card(folder)


def _write_checkpoint(model: ScoringModel, calibration: Calibration, videos: VideoList, folder: Path) -> None:
    check_new_folder(folder)
    # The loaded network has been rearranged for speed; the stored one is saved.
    stored = load_stored_model(model)
    config = stored.network.config
    config.temperature, config.fake_bias = calibration.temperature, calibration.fake_bias
    lists = read_lists(model.folder)
    lists["calibration"] = merge_lists([lists["calibration"], videos]) if "calibration" in lists else videos
    record = {name: value for name, value in asdict(calibration).items() if name != "folder"}
    text = json.dumps({"model": asdict(model.identity), **record}, indent=2)
    with new_folder(folder) as unfinished:
        save_hub_folder(stored.network, stored.processor, unfinished)
        (unfinished / CALIBRATION_NAME).write_text(text + "\n", encoding="utf-8")
        write_lists(unfinished, lists)
        if model.folder is not None:
            _copy_companions(model.folder, unfinished, calibration)


def _copy_companions(source: Path, target: Path, calibration: Calibration) -> None:
    """
    Copy the files that belong to the weights: terms, training record, and the card with a new section.

    The verdict bands were measured on scores before the recalibration, so neither they nor their section are copied.
    """
    copy_terms(source, target)
    if (source / TRAINING_NAME).is_file():
        shutil.copyfile(source / TRAINING_NAME, target / TRAINING_NAME)
    text = read_card(source)
    if text is None:
        return
    num_fake = calibration.num_videos - calibration.num_real
    copied = without_section(text)
    count = calibration.num_left_out
    left_out = f" Left out, because the model was trained on the people shown: {num_videos(count)}." if count else ""
    section = (
        f"\n## Calibration\n\nRecalibrated on {calibration.num_real} real and {num_fake} fake videos of "
        f"{calibration.dataset} ({calibration.split}): temperature {calibration.temperature:.4g}, bias of "
        f"the fake logit {calibration.fake_bias:.4g}.{left_out} Sensitivity, specificity and calibration errors above "
        "were measured before the recalibration.\n"
    )
    if copied != text:
        section += (
            "\nThe section about verdicts was left out: its bands apply only to the scores before the recalibration. "
            "This model has no verdict bands until `deepfake-video evaluate --verdict` writes new ones; all its "
            'verdicts are "undecided".\n'
        )
    (target / CARD_NAME).write_text(copied + section, encoding="utf-8")
