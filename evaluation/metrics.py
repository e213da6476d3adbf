# SPDX-License-Identifier: Apache-2.0
"""Standard metrics on fake probabilities, computed with torchmetrics, with bootstrap intervals.

torchmetrics applies a sigmoid to values outside [0, 1], counts a score equal to the threshold as real, and returns an
AUC of 0 for a single class. Here values outside [0, 1] are an error, a score equal to the threshold is fake as in
`predict`, and the AUC of a single class is undefined. The calibration error is computed without torchmetrics, which
puts scores of exactly 1 into a bin of their own.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchmetrics.functional import mean_squared_error
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_f1_score,
    binary_recall,
    binary_roc,
    binary_specificity,
)

from .intervals import (
    ClusterBootstrap,
    Interval,
    bootstrap_interval,
    mean_interval,
    newcombe_interval,
    wilson_interval,
)


if TYPE_CHECKING:
    from transformers import EvalPrediction

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
# Turns the false and true positive rates of a ROC curve, (M,) each, into an equal error rate.
EqualErrorRate = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Estimate:
    """
    A metric of a group.

    Attributes:
        value: `None` where it is undefined, such as an AUC without real videos.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def video_metrics(prediction: "EvalPrediction", *, threshold: float = 0.5, fake_index: int = 1) -> dict[str, float]:
    """
    Compute the metrics of a validation set, for `compute_metrics` of `transformers.Trainer`.

    Args:
        prediction: Logits of shape (N, num_labels), alone or first in a tuple of outputs, and label ids of shape (N,);
            or lists of these, one for each batch, as with `eval_do_concat_batches=False`.
        threshold: Fake probability at or above which a video is called fake.
        fake_index: Label id of "fake", `model.config.label2id["fake"]` of the model.

    Returns:
        The metrics in `VIDEO_METRICS` that are defined for these labels, by name.

    Raises:
        ValueError: If the shapes differ from the above, or a logit is not finite.

    Example:
        >>> from transformers import EvalPrediction
        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> values = video_metrics(EvalPrediction(predictions=logits, label_ids=np.array([0, 0, 1])))
        >>> values["auc"], values["balanced_accuracy"]
        (1.0, 0.75)
    """
    outputs: Any = prediction.predictions
    label_ids: Any = prediction.label_ids
    if isinstance(outputs, list):
        outputs, label_ids = np.concatenate([_first(batch) for batch in outputs]), np.concatenate(label_ids)
    logits, labels = np.asarray(_first(outputs), np.float64), np.asarray(label_ids)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits of shape (N, num_labels) and label ids of shape (N,), got {logits.shape} and "
            f"{labels.shape}."
        )
    if not np.isfinite(logits).all():
        raise ValueError("the logits of the validation set are not finite: the training has diverged.")
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials[:, fake_index] / exponentials.sum(axis=1)
    values = measure(probabilities, labels == fake_index, threshold)
    return {name: value for name, value in values.items() if value is not None}


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def measure(
    probabilities: np.ndarray, is_fake: np.ndarray, threshold: float, *, eer: EqualErrorRate | None = None
) -> dict[str, float | None]:
    """
    Compute every metric of one group.

    Args:
        probabilities: Fake probability of each video, (N,) in [0, 1].
        is_fake: Label of each video, (N,) bool.
        threshold: Fake probability at or above which a video is called fake.
        eer: Function that computes the equal error rate from a ROC curve; [`equal_error_rate`] by default.

    Returns:
        The metrics in `VIDEO_METRICS` by name; `None` where a metric needs a class that is missing.

    Raises:
        ValueError: If a probability lies outside [0, 1].

    Example:
        >>> values = measure(np.array([0.1, 0.4, 0.9]), np.array([False, False, True]), 0.5)
        >>> values["auc"], values["specificity"]
        (1.0, 1.0)
    """
    probabilities = np.asarray(probabilities, np.float64)
    is_fake = np.asarray(is_fake, bool)
    if probabilities.shape != is_fake.shape or probabilities.ndim != 1:
        raise ValueError(
            f"the numbers of labels and probabilities must agree, got shapes {is_fake.shape}, {probabilities.shape}."
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("metrics are computed on probabilities, got a value outside [0, 1]; are these logits?")
    values: dict[str, float | None] = dict.fromkeys(VIDEO_METRICS)
    if not len(is_fake):
        return values
    scores, labels = torch.from_numpy(probabilities), torch.from_numpy(is_fake).long()
    decisions = (scores >= threshold).long()
    has_fake, has_real = bool(is_fake.any()), not is_fake.all()
    with warnings.catch_warnings():
        # torchmetrics warns about a missing class, which is handled here.
        warnings.simplefilter("ignore", UserWarning)
        values["brier"] = float(mean_squared_error(scores, labels.double()))
        # Guo et al. (2017): in each bin, the mean probability minus the share of fakes, weighted by the bin's share.
        gaps = np.bincount(calibration_bins(probabilities), weights=probabilities - is_fake)
        values["ece"] = float(np.abs(gaps).sum() / len(is_fake))
        if has_fake:
            values["sensitivity"] = float(binary_recall(decisions, labels, validate_args=False))
        if has_real:
            values["specificity"] = float(binary_specificity(decisions, labels, validate_args=False))
        if has_fake and has_real:
            values |= _two_class(scores, labels, decisions, eer or equal_error_rate)
            values["balanced_accuracy"] = (values["sensitivity"] + values["specificity"]) / 2  # type: ignore[operator]
    return values


def _two_class(
    scores: torch.Tensor, labels: torch.Tensor, decisions: torch.Tensor, eer: EqualErrorRate
) -> dict[str, float]:
    false_positive, true_positive, _ = binary_roc(scores, labels, validate_args=False)
    return {
        # Sums of float32 can exceed 1 by 1e-7.
        "auc": min(1.0, float(binary_auroc(scores, labels, validate_args=False))),
        "ap": float(binary_average_precision(scores, labels, validate_args=False)),
        "eer": eer(false_positive.numpy(), true_positive.numpy()),
        "f1": float(binary_f1_score(decisions, labels, validate_args=False)),
        "tpr_at_1_fpr": float(true_positive[false_positive <= MAX_FPR].max()),
    }


def calibration_bins(probabilities: np.ndarray) -> np.ndarray:
    """Index (N,) of the bin of each probability (N,) in the calibration error; the last bin contains 1."""
    return np.digitize(probabilities, np.linspace(0, 1, ECE_BINS + 1)[1:-1])


def roc_curve(probabilities: np.ndarray, is_fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Compute false and true positive rates, (M,) each, from (0, 0) to (1, 1).

    Args:
        probabilities: Fake probability of each video, (N,).
        is_fake: Label of each video, (N,) bool; both classes must be present.
    """
    labels = torch.from_numpy(np.asarray(is_fake, bool)).long()
    false_positive, true_positive, _ = binary_roc(torch.from_numpy(probabilities), labels, validate_args=False)
    return false_positive.numpy(), true_positive.numpy()


def equal_error_rate(false_positive: np.ndarray, true_positive: np.ndarray) -> float:
    """
    Find the error rate at which false positive and false negative rate are equal, interpolating the ROC curve.

    Args:
        false_positive: (M,) ascending from 0 to 1.
        true_positive: (M,) ascending from 0 to 1.

    Example:
        >>> equal_error_rate(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
        0.5
    """
    gap = false_positive - (1 - true_positive)  # ascending from -1 to 1
    after = int(np.argmax(gap >= 0))
    step = gap[after] - gap[after - 1]
    share = -gap[after - 1] / step
    return float(false_positive[after - 1] + share * (false_positive[after] - false_positive[after - 1]))


def deepfakebench_eer(false_positive: np.ndarray, true_positive: np.ndarray) -> float:
    """
    Return the false positive rate where it is closest to the false negative rate, as DeepfakeBench does.

    DeepfakeBench (`training/metrics/utils.py`) does not interpolate, and scikit-learn's `roc_curve`, which it calls,
    leaves out points on a straight line; so this is not the value of [`equal_error_rate`].

    Args:
        false_positive: (M,) ascending from 0 to 1, with a first point at 0.
        true_positive: (M,) ascending from 0 to 1, with a first point at 0.

    Example:
        >>> deepfakebench_eer(np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.6, 1.0]))
        0.2
    """
    rates = np.stack([false_positive, true_positive])[:, 1:]
    # Rates are float32: a corner of the curve is larger than their rounding errors for up to a million videos.
    corners = (np.abs(np.diff(rates, 2)) > 1e-6).any(axis=0)
    kept = rates[:, np.concatenate([[True], corners, [True]])] if rates.shape[1] > 2 else rates
    fpr, tpr = np.concatenate([np.zeros((2, 1)), kept], axis=1)
    return float(fpr[np.argmin(np.abs(1 - tpr - fpr))])


def estimate(
    probabilities: np.ndarray,
    is_fake: np.ndarray,
    threshold: float,
    *,
    clusters: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
    eer: EqualErrorRate | None = None,
) -> dict[str, Estimate]:
    """
    Compute every metric with its 95 % interval.

    The interval is the percentile interval of a stratified bootstrap that draws whole clusters with replacement.
    Where every draw gives the same value, as when the classes are separated, it is a score interval for the number of
    clusters instead: Newcombe's for the AUC, Wilson's for rates; for AP, EER, F1 and TPR at 1 % FPR, Wilson's with the
    clusters of the smaller class, which is an approximation. Brier score and ECE then have none. Where draws differ
    but there are fewer than `MIN_CLUSTERS` clusters of a class that the metric depends on, there is none either.

    Args:
        probabilities: Fake probability of each video, or of each frame, (N,).
        is_fake: Label of each video or frame, (N,) bool.
        threshold: Fake probability at or above which a video is called fake.
        clusters: Cluster of each value, such as its identity or video, (N,) int; by default, each value is its own
            cluster.
        resamples: Number of draws; 0 leaves the intervals out.
        seed: Seed of the bootstrap.
        eer: Function that computes the equal error rate from a ROC curve; [`equal_error_rate`] by default.

    Example:
        >>> found = estimate(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]), 0.5, resamples=20)
        >>> found["auc"].value, round(found["auc"].low, 2), found["auc"].high
        (1.0, 0.39, 1.0)
    """
    probabilities, is_fake = np.asarray(probabilities, np.float64), np.asarray(is_fake, bool)
    values = measure(probabilities, is_fake, threshold, eer=eer)
    if not resamples or not len(is_fake):
        return {name: Estimate(value) for name, value in values.items()}
    bootstrap = ClusterBootstrap(is_fake, np.arange(len(is_fake)) if clusters is None else np.asarray(clusters))
    drawn: dict[str, list[float]] = {name: [] for name in values}
    for picked in bootstrap.draws(resamples, seed=seed):
        for name, value in measure(probabilities[picked], is_fake[picked], threshold, eer=eer).items():
            if value is not None:
                drawn[name].append(value)
    estimates = {}
    for name, value in values.items():
        interval = None
        if value is not None:
            closed_form = partial(_closed_interval, name, values, bootstrap)
            interval = bootstrap_interval(drawn[name], _num_clusters(name, bootstrap), closed_form)
        estimates[name] = Estimate(value) if interval is None else Estimate(value, interval.low, interval.high)
    return estimates


def _num_clusters(name: str, bootstrap: ClusterBootstrap) -> int:
    """Number of clusters of the class that a metric depends on; of the smaller one if it depends on both."""
    if name in ("brier", "ece"):
        return bootstrap.num_clusters
    sizes = {"sensitivity": bootstrap.num_fake, "specificity": bootstrap.num_real}
    return sizes.get(name, min(bootstrap.num_real, bootstrap.num_fake))


def _closed_interval(name: str, values: dict[str, Any], bootstrap: ClusterBootstrap) -> Interval | None:
    """The interval of a metric that is the same in every draw, see [`estimate`]; `None` if there is none."""
    num_real, num_fake = bootstrap.num_real, bootstrap.num_fake
    if name == "auc":
        return newcombe_interval(values["auc"], num_real, num_fake)
    if name == "sensitivity":
        return wilson_interval(values["sensitivity"], num_fake)
    if name == "specificity":
        return wilson_interval(values["specificity"], num_real)
    if name == "balanced_accuracy":
        sensitivity, specificity = values["sensitivity"], values["specificity"]
        return mean_interval(
            (sensitivity, wilson_interval(sensitivity, num_fake)),
            (specificity, wilson_interval(specificity, num_real)),
        )
    if name in ("ap", "eer", "f1", "tpr_at_1_fpr"):
        return wilson_interval(values[name], min(num_real, num_fake))
    return None
