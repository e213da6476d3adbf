# SPDX-License-Identifier: Apache-2.0
"""Resize frames with numpy alone, to the very values that torchvision gives, where importing torch takes too long."""

import functools
from dataclasses import dataclass

import numpy as np


# Output pixels that one product computes: wide enough for fast products, narrow enough that few factors are zero.
_BLOCK = 16
# Fixed-point weights are integers of 16 bits, and have at most so many bits behind the point.
_MAX_PRECISION = 22
# A float32 holds all integers up to here.
_EXACT_IN_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class _Band:
    """Outputs `first` to `first + weights.shape[1]` of a resized axis, from the inputs from `start` on."""

    first: int
    start: int
    weights: np.ndarray


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized: the bands of its matrix of weights, which hold `2**precision` for a weight of 1."""

    bands: tuple[_Band, ...]
    precision: int


def resize_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """
    Resize a frame by a triangle filter that averages over the pixels that it merges.

    This is the antialiased bilinear `resize` of torchvision for uint8 on a CPU, to the bit: rows first, then columns,
    each with weights of 16 bits in fixed-point numbers and rounded to uint8
    (`_compute_index_ranges_int16_weights` in ATen's UpSampleKernel.cpp).

    Args:
        frame: Array of shape (H, W, C), uint8.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        Array of shape (height, width, C), uint8, contiguous.

    Raises:
        ValueError: If the frame is of another kind or empty, or the new size is not positive.

    Example:
        >>> import numpy as np
        >>> resize_frame(np.full((720, 1280, 3), 7, np.uint8), 128, 128).shape
        (128, 128, 3)
    """
    if frame.ndim != 3 or frame.dtype != np.uint8 or 0 in frame.shape or min(height, width) < 1:
        raise ValueError(
            f"a frame must be (H, W, C) uint8 and its new size positive, got {frame.dtype} of shape {frame.shape} "
            f"and ({height}, {width})."
        )
    rows, columns, channels = frame.shape
    if columns != width:
        narrowed = np.empty((rows, width, channels), np.uint8)
        for channel in range(channels):
            _resize_rows(frame[..., channel], narrowed[..., channel])
        frame = narrowed
    if rows != height:
        resized = np.empty((height, width * channels), np.uint8)
        _resize_rows(frame.reshape(rows, -1).T, resized.T)
        frame = resized.reshape(height, width, channels)
    return np.ascontiguousarray(frame)


def _resize_rows(pixels: np.ndarray, resized: np.ndarray) -> None:
    """Fill `resized`, (N, new) uint8, from `pixels`, (N, old) uint8."""
    axis = _resized_axis(pixels.shape[1], resized.shape[1])
    values = pixels.astype(axis.bands[0].weights.dtype)
    for band in axis.bands:
        taps, outputs = band.weights.shape
        sums = values[:, band.start : band.start + taps] @ band.weights
        # Adding a half before rounding down rounds; nothing is negative or too large, as the weights are not.
        sums += 1 << (axis.precision - 1)
        sums *= 2.0**-axis.precision
        resized[:, band.first : band.first + outputs] = sums


@functools.lru_cache(maxsize=256)
def _resized_axis(old: int, new: int) -> _Axis:
    """The weights of an axis of `old` pixels that becomes one of `new`."""
    scale = old / new
    support = max(scale, 1.0)
    centers = scale * (np.arange(new) + 0.5)
    starts = np.maximum((centers - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centers + support + 0.5).astype(np.int64), old)
    positions = starts[:, None] + np.arange(int((ends - starts).max()))
    weights = np.maximum(1.0 - np.abs((positions - centers[:, None] + 0.5) / support), 0.0)
    weights[positions >= ends[:, None]] = 0.0
    weights /= weights.sum(1, keepdims=True)
    precision = next(
        bits for bits in range(_MAX_PRECISION + 1) if bits == _MAX_PRECISION or _is_full(weights.max(), bits)
    )
    fixed = np.floor(0.5 + weights * (1 << precision))
    largest = 255 * fixed.sum(1).max() + (1 << precision)
    dtype = np.float32 if largest < _EXACT_IN_FLOAT32 else np.float64
    bands = []
    for first in range(0, new, _BLOCK):
        last = min(first + _BLOCK, new)
        start, end = int(starts[first]), int(ends[last - 1])
        matrix = np.zeros((old + positions.shape[1], last - first), dtype)
        for output in range(first, last):
            matrix[positions[output], output - first] = fixed[output]
        bands.append(_Band(first, start, np.ascontiguousarray(matrix[start:end])))
    return _Axis(tuple(bands), precision)


def _is_full(largest: float, bits: int) -> bool:
    """Whether one more bit behind the point would make the largest weight too large for 16 bits."""
    return int(0.5 + largest * (1 << (bits + 1))) >= 1 << 15


__all__ = ["resize_frame"]
