# SPDX-License-Identifier: Apache-2.0
"""The ingredients that the ablation adds: alignment, colours, curriculum, and sharpness-aware gradients."""

import numpy as np
import pytest
import torch
from ablation import VARIANTS
from mixed_pairs import make_recipe
from networks import sharpen_gradient
from other_blends import OTHER_PAIRS, fit_similarity, match_colors
from skimage.transform import SimilarityTransform


def test_the_alignment_is_that_of_scikit_image():
    random = np.random.default_rng(0)
    points, others = random.normal(size=(5, 2)), random.normal(size=(5, 2))
    expected = SimilarityTransform.from_estimate(points, others).params[:2].ravel()
    np.testing.assert_allclose(fit_similarity(points, others), expected, atol=1e-9)


def test_colours_take_on_mean_and_spread_of_the_target_inside_the_mask():
    random = np.random.default_rng(0)
    donor = random.normal(90, 20, (1, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    target = random.normal(140, 10, (1, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    opacity = np.zeros((1, 32, 32, 1), np.float32)
    opacity[:, 8:24, 8:24] = 1
    matched = match_colors(donor, target, opacity, 1.0)[0, 8:24, 8:24]
    inside = target[0, 8:24, 8:24]
    np.testing.assert_allclose(matched.mean((0, 1)), inside.mean((0, 1)), atol=1)
    np.testing.assert_allclose(matched.std((0, 1)), inside.std((0, 1)), atol=1)
    assert np.array_equal(match_colors(donor, target, opacity, 0.0), donor)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_draws_kinds_that_exist(name):
    known = {*make_recipe(size=128, pairs=1, steps=1).fakes, *OTHER_PAIRS, "self-blended copy", "manipulated copy"}
    mix = VARIANTS[name].mix
    assert set(mix) <= known
    assert sum(mix.values()) == pytest.approx(1.0) or name.startswith("without")


def test_a_sharpened_gradient_is_that_at_the_highest_loss_nearby():
    # The loss is w1^2 + 4 w2^2 at (3, 1): its gradient is (6, 8), so at a radius of 0.5 the weights are moved by
    # (0.3, 0.4), where the gradient is (6.6, 11.2).
    layer = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 1.0]]))

    def loss() -> torch.Tensor:
        return (layer.weight**2 * torch.tensor([[1.0, 4.0]])).sum()

    loss().backward()
    sharpen_gradient(layer, loss, 0.5)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[6.6, 11.2]]))
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[3.0, 1.0]]))
