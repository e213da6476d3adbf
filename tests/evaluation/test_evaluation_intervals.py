# SPDX-License-Identifier: Apache-2.0
"""Intervals: against scipy, closed forms and simulations, by identity, and where the classes are separated."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from deepfake_video.evaluation.intervals import (
    ClusterBootstrap,
    Interval,
    difference_interval,
    mean_interval,
    newcombe_interval,
    percentile_interval,
    wilson_interval,
)
from deepfake_video.evaluation.metrics import estimate


SEPARATED = np.concatenate([np.linspace(0.1, 0.2, 6), np.linspace(0.8, 0.9, 6)])
TWO_CLASSES = np.arange(12) >= 6


@pytest.mark.parametrize(("successes", "number"), [(0, 6), (3, 7), (6, 6), (99, 100)])
def test_the_wilson_interval_is_that_of_scipy(successes, number):
    expected = binomtest(successes, number).proportion_ci(method="wilson")
    found = wilson_interval(successes / number, number)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def hanley_mcneil_variance(auc: float, num_real: int, num_fake: int) -> float:
    """With both class sizes replaced by their mean in the products, as Newcombe's method 5 does."""
    size = (num_real + num_fake) / 2
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    numerator = auc * (1 - auc) + (size - 1) * (q1 - auc**2) + (size - 1) * (q2 - auc**2)
    return numerator / (num_real * num_fake)


@pytest.mark.parametrize(("auc", "num_real", "num_fake"), [(1.0, 6, 6), (0.9, 20, 60), (0.5, 5, 5)])
def test_the_interval_of_an_auc_solves_the_score_equation(auc, num_real, num_fake):
    found = newcombe_interval(auc, num_real, num_fake)

    def score(x: float) -> float:
        return (auc - x) ** 2 - norm.ppf(0.975) ** 2 * hanley_mcneil_variance(x, num_real, num_fake)

    assert found.low == pytest.approx(brentq(score, 1e-9, auc - 1e-6))
    assert found.high == pytest.approx(brentq(score, auc + 1e-6, 1 - 1e-9) if auc < 1 else 1.0)


def test_the_interval_of_an_auc_holds_the_true_one_about_95_times_in_100():
    random, true = np.random.default_rng(0), norm.cdf(2 / math.sqrt(2))
    held = 0
    for _ in range(500):
        real, fake = random.standard_normal(8), random.standard_normal(8) + 2
        auc = float((fake[:, None] > real[None]).mean())
        interval = newcombe_interval(auc, 8, 8)
        held += interval.low <= true <= interval.high
    assert 0.92 <= held / 500 <= 0.99


def test_six_separated_videos_of_each_class_have_no_interval_from_one_to_one():
    found = estimate(SEPARATED, TWO_CLASSES, 0.5, resamples=50)
    assert (found["auc"].value, found["auc"].high) == (1.0, 1.0)
    assert found["auc"].low == pytest.approx(0.69, abs=0.005)
    wilson = binomtest(6, 6).proportion_ci(method="wilson").low
    for name in ("sensitivity", "specificity", "ap", "f1", "tpr_at_1_fpr"):
        assert found[name].low == pytest.approx(wilson), name
    assert found["eer"].high == pytest.approx(1 - wilson)
    assert wilson < found["balanced_accuracy"].low < 1


def test_what_varies_between_draws_has_the_percentile_interval():
    assert percentile_interval([0.5, 0.5, 0.5]) is None
    assert percentile_interval(list(np.linspace(0, 1, 101))) == Interval(pytest.approx(0.025), pytest.approx(0.975))


def test_videos_of_one_identity_are_one_observation():
    random = np.random.default_rng(1)
    is_fake = np.arange(16) % 2 == 1
    probabilities = np.clip(0.5 + 0.2 * (is_fake - 0.5) + 0.2 * random.standard_normal(16), 0, 1)
    alone = estimate(probabilities, is_fake, 0.5, resamples=60)["auc"]
    repeated, labels, identities = (np.repeat(values, 10) for values in (probabilities, is_fake, np.arange(16)))
    together = estimate(repeated, labels, 0.5, clusters=identities, resamples=60)["auc"]
    as_videos = estimate(repeated, labels, 0.5, resamples=60)["auc"]
    assert (together.low, together.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
    assert as_videos.high - as_videos.low < 0.6 * (together.high - together.low)


def test_an_identity_with_both_classes_is_drawn_with_all_its_videos():
    is_fake, clusters = np.array([False, True, True, False, True]), np.array([7, 7, 7, 8, 8])
    bootstrap = ClusterBootstrap(is_fake, clusters)
    assert (bootstrap.num_clusters, bootstrap.num_real, bootstrap.num_fake) == (2, 2, 2)
    for picked in bootstrap.draws(20, seed=0):
        counts = np.bincount(picked, minlength=5)
        assert counts[0] == counts[1] == counts[2]
        assert counts[3] == counts[4]


@pytest.mark.parametrize(("people", "has_interval"), [(2, False), (3, False), (4, True)])
def test_a_bootstrap_over_fewer_than_four_people_is_no_interval(people, has_interval):
    # Every real person has a false alarm or not, so that the draws differ; there are enough fakes.
    reals = np.where(np.arange(8) % people == 0, 0.9, 0.1)
    probabilities, is_fake = np.concatenate([reals, np.linspace(0.3, 0.8, 8)]), np.arange(16) >= 8
    found = estimate(
        probabilities, is_fake, 0.5, clusters=np.concatenate([np.arange(8) % people, np.arange(8) + 10]), resamples=200
    )
    for name in ("specificity", "auc", "eer", "f1"):
        assert (found[name].low is not None) is has_interval, name
    assert found["sensitivity"].low is not None


def test_the_number_of_clusters_not_of_videos_sets_the_closed_interval():
    found = estimate(SEPARATED, TWO_CLASSES, 0.5, clusters=np.arange(12) // 3, resamples=20)
    assert found["specificity"].low == pytest.approx(binomtest(2, 2).proportion_ci(method="wilson").low)


def test_mean_and_difference_of_independent_estimates_have_the_normal_width():
    first, second = (0.6, Interval(0.5, 0.7)), (0.8, Interval(0.7, 0.9))
    mean, difference = mean_interval(first, second), difference_interval(first, second)
    assert mean.high - mean.low == pytest.approx(0.2 / math.sqrt(2))
    assert (difference.low, difference.high) == (
        pytest.approx(0.2 - 0.1 * math.sqrt(2)),
        pytest.approx(0.2 + 0.1 * math.sqrt(2)),
    )
