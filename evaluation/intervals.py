# SPDX-License-Identifier: Apache-2.0
"""95 % confidence intervals: a bootstrap over clusters, and closed forms where the bootstrap is uninformative."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


# Two-sided 95 % of a standard normal distribution.
Z = 1.959963984540054
# With three clusters, more than 2.5 % of the draws repeat the lowest one (1 in 27), so that the ends of the bootstrap
# would be single clusters.
MIN_CLUSTERS = 4
_BISECTIONS = 60
# torchmetrics computes in float32: values that differ by less are equal.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Interval:
    """
    A 95 % interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


class ClusterBootstrap:
    """
    Draws of whole clusters with replacement, such as all videos of one identity or all frames of one video.

    Clusters that hold only real videos, only fake videos, and both are drawn separately, so that no draw lacks a
    class that the data have.

    Args:
        is_fake: Labels, (N,) bool.
        clusters: Cluster of each label, (N,) int.

    Attributes:
        num_clusters: Number of clusters.
        num_real: Clusters with at least one real video.
        num_fake: Clusters with at least one fake video.

    Example:
        >>> bootstrap = ClusterBootstrap(np.array([False, True, True]), np.array([0, 1, 1]))
        >>> bootstrap.num_real, bootstrap.num_fake
        (1, 1)
        >>> next(bootstrap.draws(1, seed=0)).tolist()
        [0, 1, 2]
    """

    def __init__(self, is_fake: np.ndarray, clusters: np.ndarray) -> None:
        order = np.argsort(clusters, kind="stable")
        boundaries = np.flatnonzero(np.diff(clusters[order])) + 1
        self._members = np.split(order, boundaries) if len(order) else []
        has_fake = np.array([bool(is_fake[members].any()) for members in self._members], bool)
        has_real = np.array([not is_fake[members].all() for members in self._members], bool)
        self._strata = [
            np.flatnonzero(stratum) for stratum in (has_real & ~has_fake, has_fake & ~has_real, has_real & has_fake)
        ]
        self.num_clusters = len(self._members)
        self.num_real, self.num_fake = int(has_real.sum()), int(has_fake.sum())

    def draws(self, resamples: int, *, seed: int) -> Iterator[np.ndarray]:
        """
        Yield the positions of each draw, (M,).

        Args:
            resamples: Number of draws.
            seed: Seed of the random numbers.
        """
        random = np.random.default_rng(seed)
        strata = [stratum for stratum in self._strata if len(stratum)]
        for _ in range(resamples):
            picked = np.concatenate([random.choice(stratum, len(stratum)) for stratum in strata])
            yield np.concatenate([self._members[cluster] for cluster in picked])


def percentile_interval(drawn: list[float]) -> Interval | None:
    """The central 95 % of the draws; `None` if all draws are equal, which says nothing about the uncertainty."""
    low, high = (float(end) for end in np.percentile(drawn, [2.5, 97.5]))
    return None if high - low < _ROUNDING else Interval(low, high)


def bootstrap_interval(
    drawn: list[float], num_clusters: int, closed_form: Callable[[], Interval | None]
) -> Interval | None:
    """
    Return the interval of a bootstrap, or what takes its place where it says nothing.

    Args:
        drawn: Value of each draw.
        num_clusters: Number of clusters of the class that the value depends on.
        closed_form: Computes the interval if all draws are equal.

    Returns:
        The interval; `None` if the draws differ, but come from fewer than `MIN_CLUSTERS` clusters.
    """
    interval = percentile_interval(drawn)
    if interval is None:
        return closed_form()
    return interval if num_clusters >= MIN_CLUSTERS else None


def wilson_interval(rate: float, number: int) -> Interval:
    """
    Score interval of a proportion (Wilson, 1927); its width does not become zero at 0 and 1.

    Args:
        rate: Observed proportion.
        number: Number of independent observations.

    Example:
        >>> interval = wilson_interval(1.0, 6)
        >>> round(interval.low, 3), interval.high
        (0.61, 1.0)
    """
    centre = (rate + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = Z * math.sqrt(rate * (1 - rate) / number + Z**2 / (4 * number**2)) / (1 + Z**2 / number)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def clopper_pearson_interval(count: int, number: int) -> Interval:
    """
    Exact interval of a proportion (Clopper and Pearson, 1934); its coverage is at least 95 % for every true
    proportion.

    Args:
        count: Number of observations with the property.
        number: Number of independent observations.

    Example:
        >>> interval = clopper_pearson_interval(0, 100)
        >>> interval.low, round(interval.high, 4)
        (0.0, 0.0362)
    """

    def at_most(limit: int, share: float) -> float:
        return sum(
            math.exp(ways(k) + k * math.log(share) + (number - k) * math.log1p(-share)) for k in range(limit + 1)
        )

    def ways(k: int) -> float:
        """Logarithm of the binomial coefficient, which may exceed the range of a float."""
        return math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1)

    def solve(limit: int, probability: float) -> float:
        """The share at which `limit` or fewer have this probability, which falls with the share."""
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(limit, middle) > probability else (low, middle)
        return (low + high) / 2

    tail = 0.025
    return Interval(0.0 if count == 0 else solve(count - 1, 1 - tail), 1.0 if count == number else solve(count, tail))


def newcombe_interval(auc: float, num_real: int, num_fake: int) -> Interval:
    """
    Score interval of an AUC (Newcombe, 2006, Statistics in Medicine 25:559, method 5).

    It solves `(auc - x)^2 = z^2 V(x)` with the variance of Hanley and McNeil, so that it does not collapse at an AUC
    of 1.

    Args:
        auc: Observed AUC.
        num_real: Independent real observations.
        num_fake: Independent fake observations.

    Example:
        >>> interval = newcombe_interval(1.0, 6, 6)
        >>> round(interval.low, 2), interval.high
        (0.69, 1.0)
    """
    half_total = (num_real + num_fake) / 2 - 1

    def is_outside(x: float) -> bool:
        spread = 1 + half_total * (1 - x) / (2 - x) + half_total * x / (1 + x)
        return (auc - x) ** 2 > Z**2 * x * (1 - x) * spread / (num_real * num_fake)

    ends = []
    for far in (0.0, 1.0):
        outside, inside = far, auc
        for _ in range(_BISECTIONS):
            middle = (outside + inside) / 2
            outside, inside = (middle, inside) if is_outside(middle) else (outside, middle)
        ends.append(inside)
    return Interval(*ends)


def mean_interval(first: tuple[float, Interval], second: tuple[float, Interval]) -> Interval:
    """
    Interval of the mean of two independent estimates from the interval of each (Zou and Donner, 2008).

    Args:
        first: Estimate and its interval.
        second: Estimate and its interval.
    """
    (a, of_a), (b, of_b) = first, second
    middle = (a + b) / 2
    low = middle - math.hypot(a - of_a.low, b - of_b.low) / 2
    high = middle + math.hypot(of_a.high - a, of_b.high - b) / 2
    return Interval(max(0.0, low), min(1.0, high))


def difference_interval(first: tuple[float, Interval], second: tuple[float, Interval]) -> Interval:
    """
    Interval of `second - first` from the interval of each (Zou and Donner, 2008).

    For estimates on the same videos, which rise and fall together, it is too wide rather than too narrow.

    Args:
        first: Estimate and its interval.
        second: Estimate and its interval.
    """
    (a, of_a), (b, of_b) = first, second
    low = (b - a) - math.hypot(b - of_b.low, of_a.high - a)
    high = (b - a) + math.hypot(of_b.high - b, a - of_a.low)
    return Interval(max(-1.0, low), min(1.0, high))
