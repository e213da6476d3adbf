# SPDX-License-Identifier: Apache-2.0
"""Images with faces of all sizes, angles and qualities, composed of a few freely licensed pictures."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_images

from deepfake_video.scanning.sample import draw_face


# Sizes of the images (height, width): those of the usual aspect ratios, of the region around a known face, and a
# larger one.
SIZES = ((128, 224), (192, 192), (96, 96), (224, 128), (128, 160), (256, 352))
# Longer side of an inserted picture in pixels. A face is a sixth to a third of a portrait.
SMALLEST, LARGEST = 40, 420
MOST_FACES, DRAWN_SHARE, NUM_DRAWN = 4, 0.07, 6
# Share of the pictures of which only a part is inserted: faces without a body, or cut off.
CROPPED_SHARE = 0.35


class Composites:
    """
    Draws images: a part of a background with some pictures of people on it.

    Args:
        portraits: Files of pictures of people, besides the portrait of scikit-image.
        seed: Seed of the draws.
    """

    def __init__(self, portraits: Sequence[Path], seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._people = [skimage.data.astronaut(), *(np.asarray(Image.open(file).convert("RGB")) for file in portraits)]
        self._drawn = [draw_face(second) for second in np.linspace(0, 3, NUM_DRAWN)]
        grey = skimage.data.camera()
        self._backgrounds = [
            skimage.data.coffee(),
            skimage.data.chelsea(),
            skimage.data.rocket(),
            np.repeat(grey[..., None], 3, -1),
            *load_sample_images().images,
        ]

    def size(self) -> tuple[int, int]:
        """Draw a size (height, width)."""
        return SIZES[self._random.integers(len(SIZES))]

    def draw(self, height: int, width: int) -> np.ndarray:
        """Draw an image (height, width, 3) uint8."""
        random, canvas = self._random, np.zeros((height, width, 3), np.float32)
        background = self._backgrounds[random.integers(len(self._backgrounds))]
        background = np.asarray(_shrink(background, max(height, width) * random.uniform(1.1, 3)))
        top, left = (
            int(random.integers(max(1, there - here + 1)))
            for there, here in zip(background.shape, (height, width), strict=False)
        )
        _paste(canvas, background[top:, left:].astype(np.float32), 0, 0)
        for _ in range(random.integers(1, MOST_FACES + 1)):
            pictures = self._drawn if random.random() < DRAWN_SHARE else self._people
            side = math.exp(random.uniform(math.log(SMALLEST), math.log(LARGEST)))
            view = self._view(_shrink(pictures[random.integers(len(pictures))], side))
            top, left = (
                int(random.integers(-there // 3, max(1, here - there // 2)))
                for there, here in zip(view.shape, (height, width), strict=False)
            )
            _paste(canvas, view, top, left)
        return np.rint(canvas).astype(np.uint8)

    def _view(self, image: Image.Image) -> np.ndarray:
        """An image that is mirrored, turned, stretched and degraded at random: (H, W, 3) float32 from 0 to 255."""
        random = self._random
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < CROPPED_SHARE:
            image = self._crop(image)
        if random.random() < 0.5:
            image = image.rotate(random.uniform(-60, 60), Image.Resampling.BILINEAR)
        if random.random() < 0.3:
            image = image.resize((max(8, round(image.width * random.uniform(0.75, 1.3))), image.height))
        if random.random() < 0.15:
            image = _shrink(np.asarray(image), random.uniform(0.3, 0.8) * max(image.size)).resize(image.size)
        if random.random() < 0.2:
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=int(random.integers(15, 80)))
            image = Image.open(stream).convert("RGB")
        pixels = 255 * (np.asarray(image).astype(np.float32) / 255) ** math.exp(random.uniform(-0.7, 0.7))
        pixels = pixels * random.uniform(0.15, 1.15) * random.uniform(0.85, 1.15, 3)
        if random.random() < 0.1:
            pixels = np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
        if random.random() < 0.25:
            pixels = pixels + random.normal(0, random.uniform(2, 12), pixels.shape)
        return np.clip(pixels, 0, 255).astype(np.float32)

    def _crop(self, image: Image.Image) -> Image.Image:
        """A part of an image, with sides of 40 to 100 % of its sides."""
        random = self._random
        width, height = (max(8, round(side * random.uniform(0.4, 1))) for side in image.size)
        left, top = (
            int(random.integers(whole - part + 1)) if whole > part else 0
            for whole, part in zip(image.size, (width, height), strict=True)
        )
        return image.crop((left, top, left + width, top + height))


def _shrink(picture: np.ndarray, longer_side: float) -> Image.Image:
    image = Image.fromarray(picture)
    scale = longer_side / max(image.size)
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)


def _paste(canvas: np.ndarray, view: np.ndarray, top: int, left: int) -> None:
    """Write the part of a view that lies on the canvas; top and left may be negative."""
    y, x = max(0, top), max(0, left)
    part = view[max(0, -top) :, max(0, -left) :][: canvas.shape[0] - y, : canvas.shape[1] - x]
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
