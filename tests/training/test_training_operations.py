# SPDX-License-Identifier: Apache-2.0
"""Vectorised operations give what those of Pillow give, to within a level or two."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from clips import picture
from deepfake_video.training.clip_operations import add_noise, blur, rescale, sharpen, transform
from deepfake_video.training.colors import ColorShift, draw_color_shift, shift_colors


SIDE = 96
FRAMES = np.stack([picture(number, SIDE, SIDE) for number in range(3)])
# Pillow and ours treat the border differently.
INNER = np.s_[:, 6:-6, 6:-6]


def by_pillow(change) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(frame))) for frame in FRAMES])


def check_equal(ours: np.ndarray, pillows: np.ndarray, *, most: int, mean: float, part: Any = np.s_[:]) -> None:
    difference = np.abs(ours.astype(int) - pillows)[part]
    assert ours.dtype == np.uint8
    assert ours.flags.c_contiguous
    assert difference.max() <= most
    assert difference.mean() <= mean


@pytest.mark.parametrize("side", [30, 48, 130])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_rescaling(side, mode):
    filtered = by_pillow(lambda image: image.resize((side + 5, side), Image.Resampling[mode.upper()]))
    check_equal(rescale(FRAMES, side, side + 5, mode=mode), filtered, most=2, mean=0.05)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "change",
    [
        lambda frames: rescale(frames, 30, 30),
        lambda frames: transform(frames, (1.0, 0.1, 0.0, 0.0, 1.0, 0.0), np.uint8(0), (0, 0, SIDE, SIDE)),
        lambda frames: sharpen(frames, 90),
        lambda frames: add_noise(frames, 3.0, 1),
    ],
)
def test_frames_that_cannot_be_written_to_are_only_read(change):
    fixed = FRAMES.copy()
    fixed.setflags(write=False)
    # torch warns once in a process, so another test may have had the warning.
    torch.set_warn_always(True)
    try:
        np.testing.assert_array_equal(change(fixed), change(FRAMES))
    finally:
        torch.set_warn_always(False)


@pytest.mark.parametrize("radius", [0.3, 0.8, 1.0, 1.5])
def test_blurring(radius):
    blurred = by_pillow(lambda image: image.filter(ImageFilter.GaussianBlur(radius)))
    check_equal(blur(FRAMES, radius), blurred, most=3, mean=0.5, part=INNER)


@pytest.mark.parametrize("percent", [90, 180])
def test_sharpening(percent):
    sharpened = by_pillow(lambda image: image.filter(ImageFilter.UnsharpMask(1, percent, 0)))
    check_equal(sharpen(FRAMES, percent), sharpened, most=6, mean=1.0, part=INNER)


@pytest.mark.parametrize("outside", [0, 255])
@pytest.mark.parametrize("box", [(0, 0, SIDE, SIDE), (10, 3, 90, 50)])
def test_transforming(box, outside):
    matrix = (0.97, 0.1, 3.313, -0.1, 1.02, -2.207)
    moved = by_pillow(
        lambda image: image.transform(
            image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(outside,) * 3
        ).crop(box)
    )
    check_equal(transform(FRAMES, matrix, np.uint8(outside), box), moved, most=1, mean=0.05)


@pytest.mark.parametrize("seed", range(12))
def test_shifting_colours(seed):
    shift = draw_color_shift(np.random.default_rng(seed))
    hue, saturation, value = shift.hsv
    levels = np.arange(256)
    tables = [
        (levels + round(256 * hue)) % 256,
        *(np.clip(levels * (1 + change), 0, 255).round() for change in (saturation, value)),
    ]
    if not any(shift.hsv):
        tables = [levels] * 3
    rgb = ((levels - 127.5) * shift.contrast + 127.5) * shift.brightness
    added = [np.clip(rgb + offset, 0, 255).round() for offset in shift.rgb]

    def by_tables(image: Image.Image) -> Image.Image:
        mode = "HSV" if any(shift.hsv) else "RGB"
        table = np.concatenate(tables).astype(int).tolist()
        return image.convert(mode).point(table).convert("RGB").point(np.concatenate(added).astype(int).tolist())

    check_equal(shift_colors(FRAMES, shift), by_pillow(by_tables), most=5, mean=0.05)


def test_grey_and_saturated_colours_have_no_hue_that_is_not_a_number():
    extremes = np.array([[0, 0, 0], [255, 255, 255], [7, 7, 7], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 255, 255]])
    shift = ColorShift((0.0, 0.0, 0.0), (0.01, 0.1, 0.0), 1.0, 1.0)
    shifted = shift_colors(extremes.astype(np.uint8).reshape(1, 1, -1, 3), shift)[0, 0].astype(int)
    # Grey stays as it is; a full colour keeps its largest and smallest channel.
    np.testing.assert_array_equal(shifted[:3], extremes[:3])
    np.testing.assert_array_equal(shifted[3:].max(1), extremes[3:].max(1))
    np.testing.assert_array_equal(shifted[3:].min(1), extremes[3:].min(1))


def test_noise_has_its_deviation_and_follows_the_generator():
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    noisy = add_noise(grey, 6.0, seed=0)
    assert noisy.std() == pytest.approx(6.0, rel=0.03)
    # Pixels are truncated, not rounded.
    assert noisy.mean() == pytest.approx(127.5, abs=0.1)
    np.testing.assert_array_equal(noisy, add_noise(grey, 6.0, seed=0))
    assert (noisy[0] != noisy[1]).any()
