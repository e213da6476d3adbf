# SPDX-License-Identifier: Apache-2.0
"""Vectorised replacements for the operations of Pillow that dominated the time to draw a training pair.

Clips are frames (T, H, W, 3) uint8. The results differ from Pillow's by a few levels at most, except for blurs at the
border of a frame.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F


# Pillow approximates a Gaussian by this number of box blurs.
_BOX_BLURS = 3


def rescale(frames: np.ndarray, height: int, width: int, *, mode: str = "bilinear") -> np.ndarray:
    """Resize frames with antialiasing, by "bilinear" or "bicubic" interpolation."""
    pixels = _as_tensor(frames).permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, (height, width), mode=mode, antialias=True)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())


def transform(
    frames: np.ndarray, matrix: tuple[float, ...], outside: np.ndarray | np.uint8, box: tuple[int, int, int, int]
) -> np.ndarray:
    """
    Apply an affine transformation with bilinear interpolation.

    Args:
        frames: Frames (T, H, W, 3) uint8.
        matrix: (a, b, c, d, e, f): the pixel at (x, y) is taken from (a x + b y + c, d x + e y + f).
        outside: Frames (T, h, w, 3) uint8, or one level, for the pixels that would be taken from outside the frame.
        box: x0, y0, x1, y1: the part of the result that is returned.

    Returns:
        Frames (T, h, w, 3) uint8.
    """
    height, width = frames.shape[1:3]
    x0, y0, x1, y1 = box
    columns, rows = torch.arange(x0, x1) + 0.5, torch.arange(y0, y1)[:, None] + 0.5
    places = torch.empty(y1 - y0, x1 - x0, 2)
    covered = np.ones((y1 - y0, x1 - x0), bool)
    for axis, size in enumerate((width, height)):
        across, down, start = (2 / size * factor for factor in matrix[3 * axis : 3 * axis + 3])
        place = columns * across + (rows * down + (start - 1))
        places[..., axis] = place
        covered &= place.abs_().numpy() <= 1
    pixels = _as_tensor(frames).float().permute(0, 3, 1, 2)
    places = places.expand(len(frames), -1, -1, -1)
    moved = F.grid_sample(pixels, places, padding_mode="border", align_corners=False)
    # Pillow truncates; 255 must not become 254 by a rounding error.
    channels = tuple(moved.add_(1e-3).numpy().astype(np.uint8).swapaxes(0, 1))
    if not covered.all():
        others = np.broadcast_to(outside, (*channels[0].shape, 3))
        channels = tuple(np.where(covered, channel, others[..., i]) for i, channel in enumerate(channels))
    return np.stack(channels, -1)


def blur(frames: np.ndarray, radius: float) -> np.ndarray:
    """Blur frames with a Gaussian of a standard deviation of `radius` pixels; edge pixels are repeated outside."""
    return _blur(frames, radius).numpy().astype(np.uint8)


def sharpen(frames: np.ndarray, percent: int) -> np.ndarray:
    """Apply an unsharp mask with a radius of one pixel and no threshold."""
    added = _as_tensor(frames).float().sub_(_blur(frames, 1.0)).mul_(percent / 100).numpy()
    # NumPy truncates and converts many times faster than torch does.
    np.trunc(added, out=added)
    added += frames
    return np.clip(added, 0, 255, out=added).astype(np.uint8)


def add_noise(frames: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """Add Gaussian noise; `deviation` is its standard deviation on the scale from 0 to 255."""
    # torch draws normal numbers in less than half of the time that NumPy takes.
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn(frames.shape, generator=generator).mul_(deviation).add_(_as_tensor(frames))
    return noisy.clamp_(0, 255).numpy().astype(np.uint8)


def _as_tensor(frames: np.ndarray) -> torch.Tensor:
    # torch warns of memory that cannot be written to, such as that of a file, although it is only read here.
    return torch.from_numpy(frames if frames.flags.writeable else frames.copy())


def _blur(frames: np.ndarray, radius: float) -> torch.Tensor:
    kernel = gaussian_kernel(radius).tolist()
    reach = len(kernel) // 2
    padded = np.pad(frames, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    blurred = torch.from_numpy(padded).float()
    for axis in (1, 2):
        size = frames.shape[axis]
        middle = blurred.narrow(axis, reach, size) * kernel[reach]
        for i in range(reach):
            neighbours = blurred.narrow(axis, i, size) + blurred.narrow(axis, 2 * reach - i, size)
            middle.add_(neighbours, alpha=kernel[i])
        blurred = middle
    return blurred.round_()


def gaussian_kernel(radius: float) -> np.ndarray:
    """The kernel (2 R + 1,) of Pillow's Gaussian blur: box blurs whose variances add up to that of the Gaussian."""
    variance = radius**2 / _BOX_BLURS
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    box = np.ones(2 * whole + 3)
    box[0] = box[-1] = edge
    box /= box.sum()
    return np.convolve(np.convolve(box, box), box)
