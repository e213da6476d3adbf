# SPDX-License-Identifier: Apache-2.0
"""The logistic function and its inverse against closed forms."""

import math

import numpy as np
import pytest

from deepfake_video.common.logistic import logit, sigmoid


def test_odds_of_three_to_one():
    assert float(logit(0.75)) == pytest.approx(math.log(3), rel=1e-15)
    assert float(sigmoid(math.log(3))) == pytest.approx(0.75, rel=1e-15)


def test_far_logits_neither_overflow_nor_warn():
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(sigmoid([-1000.0, 1000.0]) > 0.5, [False, True])


def test_probabilities_are_clipped_by_epsilon():
    np.testing.assert_allclose(logit([0.0, 1.0], 1e-7), [-math.log(1e7 - 1), math.log(1e7 - 1)], rtol=1e-8)
