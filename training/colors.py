# SPDX-License-Identifier: Apache-2.0
"""Colour shifts, drawn once and applied to any number of frames."""

from dataclasses import dataclass

import numpy as np


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


def shift_colors(frames: np.ndarray, shift: ColorShift) -> np.ndarray:
    """Apply a colour shift to RGB frames (T, H, W, 3) uint8."""
    channels = [np.ascontiguousarray(frames[..., channel]) for channel in range(3)]
    if any(shift.hsv):
        channels = _shift_hsv(channels, shift.hsv)
    slope = np.float32(shift.contrast * shift.brightness)
    shifted = []
    for channel, added in zip(channels, shift.rgb, strict=True):
        levels = channel * slope
        levels += np.float32(127.5 * (1 - shift.contrast) * shift.brightness + added)
        np.rint(np.clip(levels, 0, 255, out=levels), out=levels)
        shifted.append(levels.astype(np.uint8))
    return np.stack(shifted, -1)


def _shift_hsv(channels: list[np.ndarray], hsv: tuple[float, float, float]) -> list[np.ndarray]:
    """Shift hue, saturation and value, which are whole numbers from 0 to 255 as in Pillow's mode "HSV".

    Args:
        channels: Red, green and blue, uint8.
        hsv: Offset of the hue in turns, and relative changes of saturation and value.

    Returns:
        Red, green and blue, float32, whole numbers.
    """
    red, green, blue = channels
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    is_red, is_green = red == value, green == value
    # Operations on small integers take a fraction of the time of those on floats.
    red, green, blue, chroma = (channel.astype(np.int16) for channel in (red, green, blue, chroma))
    distance = red - green + 4 * chroma
    np.copyto(distance, blue - red + 2 * chroma, where=is_green)
    np.copyto(distance, green - blue, where=is_red)
    distance += 6 * chroma * (distance < 0)
    # Grey has no hue; the division by 1 leaves it a saturation of 0.
    hue = distance / np.maximum(chroma, 1).astype(np.float32)
    hue *= np.float32(255 / 6)
    np.floor(hue, out=hue)
    hue += round(256 * hsv[0])
    hue -= 256 * np.floor(hue / 256)
    hue *= np.float32(6 / 255)
    saturation = np.floor(255 * (chroma / np.maximum(value, 1).astype(np.float32)))
    saturation, value = (
        np.rint(np.clip(levels * np.float32(1 + change), 0, 255))
        for levels, change in zip((saturation, value), hsv[1:], strict=True)
    )
    removed = value * saturation
    removed /= 255
    shares = (2 - np.abs(hue - 3), np.abs(hue - 2) - 1, np.abs(hue - 4) - 1)
    return [np.rint(value - removed * np.clip(share, 0, 1, out=share)) for share in shares]
