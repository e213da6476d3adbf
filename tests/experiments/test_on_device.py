# SPDX-License-Identifier: Apache-2.0
"""Training pairs with masks from a face mesh: draws against those of the package's training, and masks."""

import numpy as np
import pytest
import torch
from on_device import MeshRegions, PairMaker

from deepfake_video.training.augmentation import draw_framing


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


def test_images_of_a_group_are_degraded_alike(maker, picture):
    images = as_batch(picture).expand(60, -1, -1, -1)
    degraded = maker.degrade(images, torch.arange(60) // 2)
    assert degraded.shape == images.shape
    changed = (degraded != images).flatten(1).any(1)
    # A fifth of the degradations changes nothing; a binomial of 30 draws has a standard deviation of 2.2.
    assert 15 <= int(changed[::2].sum()) <= 30
    # Noise differs within a group, by 8 levels at most on average.
    assert float((degraded[::2] - degraded[1::2]).abs().mean((1, 2, 3)).max()) < 15
    equal = [bool(torch.equal(one, other)) for one, other in zip(degraded[::2], degraded[1::2], strict=True)]
    assert sum(equal) > 15


def test_blended_faces_differ_from_their_images_within_the_face(maker, picture):
    points = 24 + 16 * torch.rand(40, 24, 2, generator=torch.Generator().manual_seed(0))
    images = as_batch(picture).expand(40, -1, -1, -1)
    for blended in (
        maker.self_blend(images, points),
        maker.cross_blend(images, points, images.flip(-1), points),
    ):
        assert torch.equal(blended, blended.round().clamp(0, 255))
        assert float((blended - images)[..., 24:40, 24:40].abs().mean()) > 1


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
