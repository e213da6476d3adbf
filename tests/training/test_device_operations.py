# SPDX-License-Identifier: Apache-2.0
"""Operations on a device, here the CPU, give what their counterparts with NumPy and Pillow give."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from clips import picture
from deepfake_video.training import clip_operations, colors
from deepfake_video.training.augmentation import (
    Degradation,
    degrade_clip,
    draw_framing,
    draw_motion,
    frame_clip,
)
from deepfake_video.training.blending import blend_clip, draw_blend, fill_outlines
from deepfake_video.training.device_blending import blend_images
from deepfake_video.training.device_jpeg import through_jpeg
from deepfake_video.training.device_operations import (
    add_noise,
    blur,
    frame_images,
    lose_detail,
    sharpen,
    shift_colors,
    to_frames,
    to_grey,
    to_images,
)


SIDE = 96
FRAMES = np.stack([picture(17 * number, SIDE, SIDE) for number in range(8)])
IMAGES = to_images(torch.from_numpy(FRAMES))
LANDMARKS = np.array([[36, 40], [60, 40], [48, 52], [38, 64], [58, 64]], np.float32)


def check_close(images: torch.Tensor, frames: np.ndarray, *, mean: float, most: float) -> None:
    """Compare in levels: the mean and the largest absolute difference."""
    difference = np.abs(to_frames(images).numpy().astype(int) - frames)
    assert difference.mean() <= mean
    assert difference.max() <= most


def one_by_one(change: Callable, values: list) -> np.ndarray:
    """Each frame by itself with its own value."""
    return np.concatenate([change(frame[None], value) for frame, value in zip(FRAMES, values, strict=True)])


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("kind", ["plain", "jitter", "motion"])
def test_framing(kind, size):
    random = np.random.default_rng(0)
    framings = [draw_framing(random, SIDE, 0.7, jitter=kind == "jitter") for _ in FRAMES]
    if kind == "motion":  # boxes with fractions of pixels
        framings = draw_motion(random, framings[0], len(FRAMES), SIDE)
    points = np.zeros((1, 5, 2))
    framed = one_by_one(lambda frame, framing: frame_clip(frame, points, framing, size)[0], framings)
    # The counterpart resizes uint8 with weights of 8 bits, which rounds some pixels to the next level.
    check_close(frame_images(IMAGES, framings, size), framed, mean=0.1, most=1)


def test_losing_detail():
    scales = [0.3, 0.35, 0.5, 0.61, 0.7, 0.8, 0.93, 0.99]
    lost = one_by_one(lambda frame, scale: degrade_clip(frame, Degradation(scale=scale), 0), scales)
    # The reduced image is not rounded and, at sharp edges, not clipped after one axis of the enlargement.
    check_close(lose_detail(IMAGES, scales), lost, mean=0.3, most=12)


def test_blurring():
    radii = [0.3, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.5]
    check_close(blur(IMAGES, radii), one_by_one(clip_operations.blur, radii), mean=0.01, most=1)


def test_sharpening():
    percents = [90, 100, 110, 120, 140, 150, 160, 180]
    # A blurred level that is rounded the other way is multiplied by up to 1.8.
    check_close(sharpen(IMAGES, percents), one_by_one(clip_operations.sharpen, percents), mean=0.03, most=2)


def test_shifting_colours():
    random = np.random.default_rng(1)
    shifts = [colors.draw_color_shift(random) for _ in FRAMES]
    assert {any(shift.hsv) for shift in shifts} == {True, False}
    check_close(shift_colors(IMAGES, shifts), one_by_one(colors.shift_colors, shifts), mean=0.001, most=1)


def test_grey():
    check_close(to_grey(IMAGES), degrade_clip(FRAMES, Degradation(grey=True), 0), mean=0.01, most=1)


def test_noise_follows_its_seed_and_on_the_cpu_is_that_of_the_counterpart():
    check_close(add_noise(IMAGES, 5.0, 3), clip_operations.add_noise(FRAMES, 5.0, 3), mean=0.001, most=1)
    assert not torch.equal(add_noise(IMAGES, 5.0, 3), add_noise(IMAGES, 5.0, 4))


def test_noise_has_its_deviation():
    noisy = add_noise(torch.full((4, 3, 64, 64), 128.0), 6.0, seed=0)
    assert float(noisy.std()) == pytest.approx(6.0, rel=0.03)
    # Pixels are truncated, not rounded.
    assert float(noisy.mean()) == pytest.approx(127.5, abs=0.1)


def through_libjpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as image:
        return np.array(image)


@pytest.mark.parametrize("side", [96, 90, 75])
@pytest.mark.parametrize("quality", [35, 49, 50, 75, 99])
def test_jpeg(quality, side):
    # With noise as in a photograph: in drawn patterns, many frequencies lie halfway between two steps.
    noise = np.random.default_rng(0).normal(0, 6, (len(FRAMES), side, side, 3))
    frames = (FRAMES[:, :side, :side] + noise).clip(0, 255).astype(np.uint8)
    coded = np.stack([through_libjpeg(frame, quality) for frame in frames]).astype(int)
    ours = to_frames(through_jpeg(to_images(torch.from_numpy(frames)), [quality] * len(frames))).numpy().astype(int)
    lost = np.abs(coded - frames).mean()
    assert lost > 0.5
    # libjpeg computes with integers, so a few frequencies are rounded to the next step of the quantisation.
    assert np.abs(ours - coded).mean() < 0.6
    assert np.abs(ours - frames).mean() == pytest.approx(lost, rel=0.01)


def test_each_image_has_its_own_jpeg_quality():
    qualities = [35, 50, 60, 70, 80, 85, 90, 95]
    alone = [through_jpeg(image[None], [quality]) for image, quality in zip(IMAGES, qualities, strict=True)]
    assert torch.equal(through_jpeg(IMAGES, qualities), torch.cat(alone))


def test_blending():
    blends = [draw_blend(np.random.default_rng(seed)) for seed in range(40)]
    assert {blend.alters_inside for blend in blends} == {True, False}
    assert {np.sign(blend.detail - 1) for blend in blends} == {-1, 0, 1}
    for blend in blends:
        expected, mask = blend_clip(FRAMES[:2], np.stack([LANDMARKS] * 2), blend)
        outlines = torch.from_numpy(fill_outlines(blend.outline, np.stack([LANDMARKS] * 2), SIDE))
        blended, masks = blend_images(IMAGES[:2], outlines, [blend] * 2)
        # Pillow draws masks with wide edges at half of the resolution, and shifts quarters of pixels differently.
        assert np.abs(masks.numpy() - mask).mean() < 1.0
        check_close(blended, expected, mean=0.3, most=40)


def test_an_image_is_blended_alike_beside_any_other():
    blends = [draw_blend(np.random.default_rng(seed)) for seed in range(4)]
    outlines = torch.from_numpy(np.concatenate([fill_outlines(b.outline, LANDMARKS[None], SIDE) for b in blends]))
    together = blend_images(IMAGES[:4], outlines, blends)[0]
    for i in range(4):
        alone = blend_images(IMAGES[i : i + 1], outlines[i : i + 1], blends[i : i + 1])[0]
        assert float((together[i] - alone[0]).abs().max()) <= 1
