# SPDX-License-Identifier: Apache-2.0
"""Colour shifts, drawn once and applied to any number of images."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class ColorShift:
    """
    A colour shift.

    Attributes:
        rgb: Offsets of the channels, on the scale from 0 to 255.
        hsv: Offset of the hue in turns, and relative changes of saturation and value.
        contrast: Factor of the contrast around medium grey.
        brightness: Factor of the brightness.
    """

    rgb: tuple[float, float, float]
    hsv: tuple[float, float, float]
    contrast: float
    brightness: float


def draw_color_shift(random: np.random.Generator, strength: float = 1.0) -> ColorShift:
    """
    Draw a colour shift.

    Args:
        random: Random generator.
        strength: Factor of all ranges: 1 for the two parts of a self-blended face, less for augmentation.
    """
    red, green, blue = (random.uniform(-18, 18, 3) * strength * (random.random() < 0.7)).tolist()
    hue, saturation, value = (
        random.uniform(-1, 1, 3) * (0.015, 0.2, 0.15) * strength * (random.random() < 0.7)
    ).tolist()
    contrast, brightness = (1 + random.uniform(-0.1, 0.1, 2) * strength).tolist()
    return ColorShift((red, green, blue), (hue, saturation, value), contrast, brightness)


def shift_colors(image: Image.Image, shift: ColorShift) -> Image.Image:
    """Apply a colour shift to an RGB image."""
    hue, saturation, value = shift.hsv
    if any(shift.hsv):
        levels = np.arange(256)
        table = [
            *((levels + round(256 * hue)) % 256),
            *np.clip(levels * (1 + saturation), 0, 255).round().astype(int),
            *np.clip(levels * (1 + value), 0, 255).round().astype(int),
        ]
        image = image.convert("HSV").point([int(level) for level in table]).convert("RGB")
    table = [
        int(level)
        for added in shift.rgb
        for level in np.clip(
            ((np.arange(256) - 127.5) * shift.contrast + 127.5) * shift.brightness + added, 0, 255
        ).round()
    ]
    return image.point(table)
