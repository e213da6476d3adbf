# SPDX-License-Identifier: Apache-2.0
"""Training pairs made on a device: operations against Pillow, draws against those of the package's training."""

import io

import numpy as np
import pytest
import torch
from on_device import ColorShifts, MeshRegions, PairMaker, through_jpeg
from PIL import Image

from deepfake_video.training.augmentation import draw_framing
from deepfake_video.training.colors import draw_color_shift, shift_colors


SIZE, SHARE, CROP = 64, 0.72, 288
NUM_DRAWS = 4000
# Of NUM_DRAWS each, two equal distributions differ by less in 999 of 1000 cases (Kolmogorov and Smirnov).
LARGEST_DISTANCE = 1.95 * (2 / NUM_DRAWS) ** 0.5


@pytest.fixture
def maker() -> PairMaker:
    parts = {
        "oval": range(8),
        "eyes": range(8, 12),
        "brows": range(12, 16),
        "lips": range(16, 20),
        "nose": range(20, 24),
    }
    regions = MeshRegions(**{name: tuple(points) for name, points in parts.items()})
    return PairMaker(SIZE, SHARE, regions, torch.Generator().manual_seed(0))


@pytest.fixture
def picture() -> np.ndarray:
    """Smooth colours with edges: (64, 64, 3) uint8."""
    y, x = np.mgrid[:SIZE, :SIZE]
    channels = [128 + 90 * np.sin(x / 9), 128 + 70 * np.cos(y / 7), 60.0 + 2 * x]
    picture = np.stack(channels, -1)
    picture[20:40, 24:44] += 50
    return picture.clip(0, 255).astype(np.uint8)


def as_batch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of two empirical distribution functions."""
    both = np.sort(np.concatenate([ours, theirs]))
    shares = [np.searchsorted(np.sort(values), both, side="right") / len(values) for values in (ours, theirs)]
    return float(np.abs(shares[0] - shares[1]).max())


@pytest.mark.parametrize("quality", [35, 60, 90])
def test_grey_pictures_lose_in_jpeg_what_they_lose_in_libjpeg(picture, quality):
    grey = np.repeat(picture[..., :1], 3, 2)
    theirs = through_pillow(grey, quality)
    ours = through_jpeg(as_batch(grey), torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).mean() < 0.1 * np.abs(theirs - grey).mean()


@pytest.mark.parametrize("quality", [35, 60, 90])
def test_coloured_pictures_lose_in_jpeg_as_much_as_in_libjpeg(picture, quality):
    # The colours are enlarged by another filter.
    theirs = through_pillow(picture, quality)
    ours = through_jpeg(as_batch(picture), torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - picture).mean() == pytest.approx(np.abs(theirs - picture).mean(), rel=0.15)


def through_pillow(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(stream) as image:
        return np.asarray(image).astype(float)


def test_framings_are_drawn_as_the_package_draws_them(maker):
    maps = maker.draw_framings(NUM_DRAWS).double().numpy()
    side = np.hypot(maps[:, 0, 0], maps[:, 1, 0])
    angle = np.degrees(np.arctan2(maps[:, 1, 0] * np.sign(maps[:, 0, 0]), np.abs(maps[:, 0, 0])))
    random = np.random.default_rng(0)
    theirs = [draw_framing(random, CROP, SHARE, jitter=True) for _ in range(NUM_DRAWS)]
    boxes = np.array([framing.box for framing in theirs])
    # The package rounds boxes to whole pixels.
    half = np.random.default_rng(1).uniform(-0.5, 0.5, (2, NUM_DRAWS)) / CROP
    assert distance(side, (boxes[:, 2] - boxes[:, 0]) / CROP + half[0]) < LARGEST_DISTANCE
    center = (boxes[:, 0] + boxes[:, 2]) / CROP - 1
    assert distance(maps[:, 0, 2], center + 2 * half[1]) < LARGEST_DISTANCE
    turned = np.array([abs(framing.angle) for framing in theirs])
    assert distance(np.abs(angle).round(3), turned.round(3)) < LARGEST_DISTANCE
    mirrored = np.mean([framing.mirrored for framing in theirs])
    assert np.mean(maps[:, 0, 0] < 0) == pytest.approx(mirrored, abs=0.04)


def test_colours_are_drawn_as_the_package_draws_them(maker):
    ours = maker.draw_colors(NUM_DRAWS, 0.7)
    random = np.random.default_rng(0)
    theirs = [draw_color_shift(random, 0.7) for _ in range(NUM_DRAWS)]
    pairs = [
        (ours.channels[:, 1], [shift.rgb[1] for shift in theirs]),
        (ours.hue / (2 * np.pi), [shift.hsv[0] for shift in theirs]),
        (ours.saturation - 1, [shift.hsv[1] for shift in theirs]),
        (ours.value - 1, [shift.hsv[2] for shift in theirs]),
        (ours.contrast, [shift.contrast for shift in theirs]),
        (ours.brightness, [shift.brightness for shift in theirs]),
    ]
    for drawn, expected in pairs:
        assert distance(drawn.double().numpy().round(6), np.array(expected).round(6)) < LARGEST_DISTANCE


def test_colours_without_hue_are_the_package_s(maker, picture):
    shift = next(
        shift
        for shift in (draw_color_shift(np.random.default_rng(seed)) for seed in range(100))
        if not any(shift.hsv) and any(shift.rgb)
    )
    one, zero = torch.ones(1), torch.zeros(1)
    contrast, brightness = torch.tensor([shift.contrast]), torch.tensor([shift.brightness])
    ours = ColorShifts(
        channels=torch.tensor([shift.rgb]),
        hue=zero,
        saturation=one,
        value=one,
        contrast=contrast,
        brightness=brightness,
    ).apply(as_batch(picture))
    theirs = as_batch(shift_colors(picture[None], shift)[0])
    assert (ours - theirs).abs().max() <= 1


def test_a_reduced_picture_is_that_of_pillow(maker, picture):
    ours = maker.rescale(as_batch(picture), torch.tensor([0.5]))
    small = Image.fromarray(picture).resize((SIZE // 2, SIZE // 2), Image.Resampling.BILINEAR)
    theirs = as_batch(np.array(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
    # torch's bicubic kernel has another constant than Pillow's.
    assert (ours - theirs).abs().mean() < 1


def test_masks_fade_out_around_the_face(maker):
    turns = torch.arange(8) * torch.pi / 4
    oval = 32 + 16 * torch.stack([turns.cos(), turns.sin()], 1)
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    places = [((32, 26), (10, 3)), ((32, 22), (10, 2)), ((32, 41), (6, 3)), ((32, 33), (4, 5))]
    parts = [torch.tensor(center) + corners * torch.tensor(half) for center, half in places]
    masks = maker.draw_masks(torch.cat([oval, *parts]).expand(50, 24, 2))
    assert masks.shape == (50, 1, SIZE, SIZE)
    assert masks.min() == 0
    # The smallest ratio of blending is a quarter.
    assert masks.amax((1, 2, 3)).min() > 0.2
    assert masks.max() <= 1
    # Growth and noise add at most a few pixels to the face, which covers the middle half.
    assert masks[..., :8, :].max() == masks[..., -8:, :].max() == 0
