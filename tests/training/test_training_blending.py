# SPDX-License-Identifier: Apache-2.0
"""Self-blended clips: what was drawn once is replayed, and nothing outside of the mask changes."""

from dataclasses import replace

import numpy as np
import pytest

from clips import picture
from deepfake_video.training import blending
from deepfake_video.training.blending import BLEND_RATIOS, OUTLINES, blend_clip, draw_blend, usual_region
from training_videos import LANDMARKS, SIDE


FRAMES = np.stack([picture(number, SIDE, SIDE) for number in range(3)])
POINTS = np.stack([LANDMARKS] * 3)
SEEDS = range(25)


def drawn(seed: int):
    return draw_blend(np.random.default_rng(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_altered_inside_leaves_the_rest_untouched(seed):
    blended, masks = blend_clip(FRAMES, POINTS, replace(drawn(seed), alters_inside=True))
    assert blended.shape == FRAMES.shape
    assert blended.dtype == masks.dtype == np.uint8
    np.testing.assert_array_equal(blended[masks == 0], FRAMES[masks == 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_mask_is_soft_and_within_the_ratio(seed):
    blend = drawn(seed)
    masks = blend_clip(FRAMES, POINTS, blend)[1]
    assert masks.max() <= round(255 * blend.ratio)
    assert blend.ratio in BLEND_RATIOS
    # Neither nothing nor everything, with levels between.
    assert 0.005 < (masks > 0).mean() < 0.9
    assert len(np.unique(masks)) > 4


def test_with_the_full_ratio_the_middle_of_the_mask_is_the_altered_copy_alone():
    blend = replace(drawn(0), ratio=1.0, alters_inside=True, edge_blur=(0.01, 0.003))
    assert blend_clip(FRAMES, POINTS, blend)[1].max() == 255


def test_equal_frames_give_equal_frames():
    still, points = np.stack([FRAMES[0]] * 4), np.stack([LANDMARKS] * 4)
    for seed in SEEDS:
        blended, masks = blend_clip(still, points, drawn(seed))
        assert (blended == blended[0]).all()
        assert (masks == masks[0]).all()


def test_the_mask_follows_the_face():
    blend = replace(drawn(3), warp=np.zeros((4, 4, 2)))
    masks = blend_clip(np.stack([FRAMES[0]] * 2), np.stack([LANDMARKS, LANDMARKS - (6, 4)]), blend)[1] / 255
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    centers = [((mask * columns).sum() / mask.sum(), (mask * rows).sum() / mask.sum()) for mask in masks]
    assert np.subtract(*centers) == pytest.approx((6, 4), abs=0.7)


def test_a_face_that_nobody_found_is_blended_at_its_usual_place():
    usual = np.array([[0.385, 0.42], [0.615, 0.42], [0.5, 0.54], [0.4, 0.66], [0.6, 0.66]]) * SIDE
    unknown = np.full((1, 5, 2), np.nan)
    for seed in SEEDS:
        known, lost = (blend_clip(FRAMES[:1], points, drawn(seed)) for points in (usual[None], unknown))
        np.testing.assert_array_equal(known[0], lost[0])
        np.testing.assert_array_equal(known[1], lost[1])


def test_a_profile_keeps_a_face_of_some_width():
    profile = LANDMARKS.copy()
    profile[:2, 0] = (23.9, 24.1)
    assert (blend_clip(FRAMES[:1], profile[None], replace(drawn(0), ratio=1.0))[1] > 0).sum() > 50


def test_all_outlines_and_both_sides_are_drawn_and_most_blends_are_seen():
    blends = [drawn(seed) for seed in range(200)]
    assert {len(blend.outline) for blend in blends} == {len(points) for points, _ in OUTLINES.values()}
    assert {blend.alters_inside for blend in blends} == {False, True}
    assert {blend.ratio for blend in blends} == set(BLEND_RATIOS)
    changed = [(blend_clip(FRAMES[:1], POINTS[:1], blend)[0] != FRAMES[:1]).mean() > 0.01 for blend in blends[:50]]
    assert np.mean(changed) > 0.95


def test_no_black_edge_enters_where_the_copy_is_moved_off_the_frame():
    white = np.full((1, SIDE, SIDE, 3), 255, np.uint8)
    near = LANDMARKS * (2.2, 2.2) - (29, 32)  # a face that fills the frame
    blend = drawn(0)
    plain = replace(blend.colors, rgb=(0.0, 0.0, 0.0), hsv=(0.0, 0.0, 0.0), contrast=1.0, brightness=1.0)
    blend = replace(blend, colors=plain, ratio=1.0, shift=(0.03, 0.015), scale=0.95, detail=1.0, warp=blend.warp * 0)
    assert blend_clip(white, near[None], blend)[1][:, :, 0].max() > 0
    assert blend_clip(white, near[None], blend)[0].min() == 255


def test_what_manipulations_replace_holds_nose_and_mouth_and_no_corner():
    region = usual_region(POINTS, FRAMES.shape[1])
    assert region.shape == FRAMES.shape[:3]
    for x, y in LANDMARKS.astype(int):
        assert region[0, y, x] == 255
    assert region[0, 0, 0] == region[0, -1, -1] == 0


@pytest.mark.parametrize("seed", range(8))
def test_a_mask_of_wide_blurs_is_nearly_that_of_the_full_resolution(seed, monkeypatch):
    # A frame of 224 px, at which masks of wide blurs are drawn at half of the resolution.
    blend = replace(drawn(seed), edge_blur=(0.02, 0.01), ratio=1.0)
    frames, points = np.zeros((1, 224, 224, 3), np.uint8), LANDMARKS[None] * (224 / SIDE)
    halved = blend_clip(frames, points, blend)[1].astype(int)
    monkeypatch.setattr(blending, "_WIDE", (1e9, 1e9))
    whole = blend_clip(frames, points, blend)[1]
    # A few pixels at its edge differ by up to 6 % of the opacity.
    assert 0 < np.abs(halved - whole).max() <= 16
    assert np.abs(halved - whole).mean() < 0.5
