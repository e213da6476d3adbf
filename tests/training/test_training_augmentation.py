# SPDX-License-Identifier: Apache-2.0
"""Augmentation: the same on all frames of a clip, and landmarks stay where they were on the face."""

import itertools

import numpy as np
import pytest

from clips import picture
from deepfake_video.training.augmentation import (
    Degradation,
    Framing,
    degrade_clip,
    draw_degradation,
    draw_framing,
    draw_motion,
    frame_clip,
)
from deepfake_video.training.colors import draw_color_shift, shift_colors
from deepfake_video.training.faults import make_faulty, stall
from training_videos import LANDMARKS, SIDE


STILL = np.stack([picture(5, SIDE, SIDE)] * 4)
DOTS = np.array([[60, 70], [100, 64], [82, 90], [66, 110], [104, 104]], np.float32)


def find_dot(point: np.ndarray, framing: Framing, size: int) -> np.ndarray:
    """Where a dot drawn at this point of a frame of 160 px comes out, by its centre of mass."""
    rows, columns = np.mgrid[0:160, 0:160] + 0.5
    dot = 255 * np.exp(-((columns - point[0]) ** 2 + (rows - point[1]) ** 2) / (2 * 2.5**2))
    frame = np.repeat(dot[..., None], 3, 2).astype(np.uint8)
    seen = frame_clip(frame[None], np.zeros((1, 5, 2)), framing, size)[0][0, ..., 0].astype(float)
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    return np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0.0, 8.0, -25.0])
@pytest.mark.parametrize("box", [(0.0, 0.0, 160.0, 160.0), (30.5, 22.0, 140.5, 132.0)])
def test_landmarks_follow_the_framing(box, angle, mirrored):
    framing = Framing(box=box, angle=angle, mirrored=mirrored)
    landmarks = frame_clip(np.zeros((1, 160, 160, 3), np.uint8), DOTS[None], framing, 96)[1][0]
    # In a mirror the left eye is the other one.
    order = [1, 0, 2, 4, 3] if mirrored else range(5)
    for place, source in zip(landmarks, order, strict=True):
        assert place == pytest.approx(find_dot(DOTS[source], framing, 96), abs=0.35)


def test_without_jitter_the_middle_is_seen():
    framing = draw_framing(np.random.default_rng(0), 160, 0.75, jitter=False)
    assert framing == Framing(box=(20.0, 20.0, 140.0, 140.0), angle=0.0, mirrored=False)


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_what_is_seen_lies_within_the_crop(share):
    random = np.random.default_rng(0)
    for _ in range(100):
        x0, y0, x1, y1 = draw_framing(random, 160, share, jitter=True).box
        assert min(x0, y0) >= -1e-9
        assert max(x1, y1) <= 160 + 1e-9
        assert x1 - x0 == pytest.approx(y1 - y0)


def test_whole_pixels_are_cut_out_as_fractions_of_them_are():
    boxes = [(20.0, 11.0, 140.0, 131.0), (20.0 + 1e-9, 11.0, 140.0 + 1e-9, 131.0)]
    frames = np.stack([picture(1, 160, 160)])
    whole, fraction = (
        frame_clip(frames, DOTS[None], Framing(box=box, angle=0.0, mirrored=False), 96)[0].astype(int) for box in boxes
    )
    assert np.abs(whole - fraction)[:, 1:-1, 1:-1].max() <= 1


def test_a_camera_moves_smoothly():
    random = np.random.default_rng(0)
    steps, jumps = 0.0, 0.0
    for _ in range(50):
        framing = draw_framing(random, 160, 0.6, jitter=False)
        path = np.array([[*seen.box, seen.angle] for seen in draw_motion(random, framing, 16, 160)])
        steps += np.abs(path[1:] - path[:-1]).mean()
        jumps += np.abs(path[4:] - path[:-4]).mean()
    assert jumps > 2.5 * steps > 0


def test_a_moving_camera_stays_within_the_crop_and_near_its_framing():
    random = np.random.default_rng(0)
    for _ in range(100):
        framing = draw_framing(random, 160, 0.8, jitter=True)
        for seen in draw_motion(random, framing, 16, 160):
            x0, y0, x1, y1 = seen.box
            assert min(x0, y0) >= -1e-9
            assert max(x1, y1) <= 160 + 1e-9
            assert x1 - x0 == pytest.approx(framing.box[2] - framing.box[0], rel=0.5)
            assert seen.mirrored == framing.mirrored


def test_all_frames_of_a_clip_are_degraded_alike():
    seen = set()
    for seed in range(60):
        degradation = draw_degradation(np.random.default_rng(seed))
        seen |= {name for name, value in vars(degradation).items() if value != getattr(Degradation(), name)}
        degraded = degrade_clip(STILL, degradation, noise_seed=0)
        assert degraded.shape == STILL.shape
        assert degraded.dtype == np.uint8
        if not degradation.noise and degradation.crf is None:
            assert (degraded == degraded[0]).all()
        # A codec spends its bits unevenly and noise is new in each frame: alike, not equal.
        assert np.abs(degraded.mean((1, 2)) - degraded[0].mean((0, 1))).max() < 8
    assert seen == set(vars(Degradation()))


def test_no_degradation_changes_nothing():
    np.testing.assert_array_equal(degrade_clip(STILL, Degradation(), noise_seed=0), STILL)


@pytest.mark.parametrize(
    "degradation",
    [Degradation(scale=0.3), Degradation(blur=1.0), Degradation(noise=5.0), Degradation(jpeg=35), Degradation(crf=35)],
)
def test_each_degradation_is_seen_and_keeps_the_picture(degradation):
    difference = degrade_clip(STILL, degradation, noise_seed=0).astype(int) - STILL
    assert 0.3 < np.abs(difference).mean() < 40


def test_a_grey_clip_has_no_colours():
    grey = degrade_clip(STILL, Degradation(grey=True), noise_seed=0)
    assert (grey == grey[..., :1]).all()


def test_no_strength_shifts_no_colours():
    shifted = shift_colors(STILL, draw_color_shift(np.random.default_rng(0), 0.0))
    np.testing.assert_array_equal(shifted, STILL)


CLIP = np.stack([picture(number, SIDE, SIDE) for number in range(8)])


def order_of(frames: np.ndarray) -> list[int]:
    return [next(i for i, known in enumerate(CLIP) if (known == frame).all()) for frame in frames]


def test_frames_stand_still_or_go_missing():
    for seed in range(20):
        frozen = order_of(stall(CLIP, np.random.default_rng(seed), skips=False))
        assert any(a == b for a, b in itertools.pairwise(frozen))
        assert all(place == i for i, place in enumerate(frozen) if frozen.count(place) == 1)
        gap = order_of(stall(CLIP, np.random.default_rng(seed), skips=True))
        assert gap == sorted(gap)
        assert len(gap) == 8


def test_a_faulty_clip_differs_from_the_real_one_and_keeps_its_shape():
    points = np.stack([LANDMARKS] * 8)
    different = 0
    for seed in range(40):
        faulty = make_faulty(CLIP, points, np.random.default_rng(seed))
        assert faulty.shape == CLIP.shape
        assert faulty.dtype == np.uint8
        different += bool((faulty != CLIP).any())
    # A gap at the very end alone is none.
    assert different >= 36


def test_a_jittering_region_moves_on_a_still_clip():
    points = np.stack([LANDMARKS] * 4)
    clips = [make_faulty(STILL, points, np.random.default_rng(seed)) for seed in range(30)]
    # The other two faults reorder frames, which a still clip does not show.
    assert 5 < sum((clip != clip[0]).any() for clip in clips) < 25
