# SPDX-License-Identifier: Apache-2.0
"""The field's metrics on fake probabilities, by torchmetrics, with bootstrap intervals over videos.

torchmetrics applies a sigmoid to whatever leaves [0, 1], counts a score equal to the threshold as real, and calls the
AUC of a single class 0: here the first is refused, the second decided as `predict` decides it, the third undefined.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.functional import mean_squared_error
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    binary_f1_score,
    binary_recall,
    binary_roc,
    binary_specificity,
)


# In the order of the tables.
VIDEO_METRICS = (
    "auc",
    "ap",
    "eer",
    "balanced_accuracy",
    "f1",
    "tpr_at_1_fpr",
    "brier",
    "ece",
    "sensitivity",
    "specificity",
)
FRAME_METRICS = ("auc", "ap", "eer")
ECE_BINS = 15
MAX_FPR = 0.01


@dataclass(frozen=True)
class Estimate:
    """
    A metric of a group.

    Attributes:
        value: `None` where it is undefined, as an AUC without real videos is.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def measure(probabilities: np.ndarray, is_fake: np.ndarray, threshold: float) -> dict[str, float | None]:
    """
    Every metric of one group.

    Args:
        probabilities: Fake probability of each video, (N,) in [0, 1].
        is_fake: Its label, (N,) bool.
        threshold: Fake probability from which on a video is called fake.

    Returns:
        The names in `VIDEO_METRICS`; `None` where a metric needs a class that is not there.

    Raises:
        ValueError: If a probability lies outside [0, 1].
    """
    probabilities = np.asarray(probabilities, np.float64)
    is_fake = np.asarray(is_fake, bool)
    if probabilities.shape != is_fake.shape or probabilities.ndim != 1:
        raise ValueError(f"as many labels as probabilities are needed, got {is_fake.shape}, {probabilities.shape}.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("metrics are computed on probabilities, got a number outside [0, 1]: is it a logit?")
    values: dict[str, float | None] = dict.fromkeys(VIDEO_METRICS)
    if not len(is_fake):
        return values
    scores, labels = torch.from_numpy(probabilities), torch.from_numpy(is_fake).long()
    decisions = (scores >= threshold).long()
    has_fake, has_real = bool(is_fake.any()), not is_fake.all()
    with warnings.catch_warnings():
        # What torchmetrics warns of, a class that is not there, is settled here.
        warnings.simplefilter("ignore", UserWarning)
        values["brier"] = float(mean_squared_error(scores, labels.double()))
        values["ece"] = float(binary_calibration_error(scores, labels, n_bins=ECE_BINS, validate_args=False))
        if has_fake:
            values["sensitivity"] = float(binary_recall(decisions, labels, validate_args=False))
        if has_real:
            values["specificity"] = float(binary_specificity(decisions, labels, validate_args=False))
        if has_fake and has_real:
            values |= _two_class(scores, labels, decisions)
            values["balanced_accuracy"] = (values["sensitivity"] + values["specificity"]) / 2  # type: ignore[operator]
    return values


def _two_class(scores: torch.Tensor, labels: torch.Tensor, decisions: torch.Tensor) -> dict[str, float]:
    false_positive, true_positive, _ = binary_roc(scores, labels, validate_args=False)
    return {
        "auc": float(binary_auroc(scores, labels, validate_args=False)),
        "ap": float(binary_average_precision(scores, labels, validate_args=False)),
        "eer": equal_error_rate(false_positive.numpy(), true_positive.numpy()),
        "f1": float(binary_f1_score(decisions, labels, validate_args=False)),
        "tpr_at_1_fpr": float(true_positive[false_positive <= MAX_FPR].max()),
    }


def roc_curve(probabilities: np.ndarray, is_fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    False and true positive rates, (M,) each, from (0, 0) to (1, 1).

    Args:
        probabilities: Fake probability of each video, (N,).
        is_fake: Its label, (N,) bool, of both kinds.
    """
    labels = torch.from_numpy(np.asarray(is_fake, bool)).long()
    false_positive, true_positive, _ = binary_roc(torch.from_numpy(probabilities), labels, validate_args=False)
    return false_positive.numpy(), true_positive.numpy()


def equal_error_rate(false_positive: np.ndarray, true_positive: np.ndarray) -> float:
    """
    Where as many reals are called fake as fakes real, on the straight lines between the points of a ROC curve.

    Args:
        false_positive: (N,) ascending from 0 to 1.
        true_positive: (N,) ascending from 0 to 1.
    """
    gap = false_positive - (1 - true_positive)  # ascending from -1 to 1
    after = int(np.argmax(gap >= 0))
    step = gap[after] - gap[after - 1]
    share = -gap[after - 1] / step
    return float(false_positive[after - 1] + share * (false_positive[after] - false_positive[after - 1]))


def estimate(
    probabilities: np.ndarray,
    is_fake: np.ndarray,
    threshold: float,
    *,
    videos: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """
    Every metric with its 95 % percentile interval.

    Videos are drawn with replacement, reals from the reals and fakes from the fakes, so that no draw lacks a class.

    Args:
        probabilities: Fake probability of each video, or of each frame, (N,).
        is_fake: Its label, (N,) bool.
        threshold: Fake probability from which on it is called fake.
        videos: Which video each number belongs to, (N,): the frames of one video are drawn together.
        resamples: Draws; 0 leaves the intervals out.
        seed: Of the draws.
    """
    probabilities, is_fake = np.asarray(probabilities, np.float64), np.asarray(is_fake, bool)
    values = measure(probabilities, is_fake, threshold)
    if not resamples or not len(is_fake):
        return {name: Estimate(value) for name, value in values.items()}
    videos = np.arange(len(is_fake)) if videos is None else np.asarray(videos)
    order = np.argsort(videos, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(videos[order])) + 1)  # the numbers of each video
    labels = np.array([is_fake[numbers[0]] for numbers in members])
    classes = [part for part in (np.flatnonzero(~labels), np.flatnonzero(labels)) if len(part)]
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(resamples):
        picked = np.concatenate([random.choice(part, len(part)) for part in classes])
        numbers = np.concatenate([members[video] for video in picked])
        for name, value in measure(probabilities[numbers], is_fake[numbers], threshold).items():
            if value is not None:
                drawn[name].append(value)
    return {name: _with_interval(value, drawn[name]) for name, value in values.items()}


def _with_interval(value: float | None, drawn: Sequence[float]) -> Estimate:
    if value is None:
        return Estimate(None)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
