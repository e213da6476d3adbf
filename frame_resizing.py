# SPDX-License-Identifier: Apache-2.0
"""Resize frames with numpy only, with the same results as torchvision, to avoid the time of importing torch."""

import functools
from dataclasses import dataclass

import numpy as np


# Output pixels per matrix product: enough for fast products, few enough that most weights are not zero.
_BLOCK = 16
# Fixed-point weights are 16-bit integers with at most this many fractional bits.
_MAX_PRECISION = 22
# A float32 represents all integers up to this value.
_EXACT_IN_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class _Band:
    """Outputs `first` to `first + weights.shape[1]` of a resized axis, from the inputs that begin at `start`."""

    first: int
    start: int
    weights: np.ndarray


@dataclass(frozen=True)
class _Axis:
    """Resizing of one axis: the bands of its weight matrix, in which `2**precision` is a weight of 1."""

    bands: tuple[_Band, ...]
    precision: int


def resize_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """
    Resize a frame with an antialiased triangle filter.

    The result is bit-equal to that of torchvision's antialiased bilinear `resize` for uint8 on a CPU: rows first, then
    columns, each with 16-bit fixed-point weights and rounded to uint8
    (`_compute_index_ranges_int16_weights` in ATen's UpSampleKernel.cpp).

    Args:
        frame: Array of shape (H, W, C), uint8.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        Array of shape (height, width, C), uint8, contiguous.

    Raises:
        ValueError: If the frame is empty or has another shape or type, or if the new size is not positive.

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
        # Adding one half before truncation rounds to nearest; the weights rule out negative values and overflow.
        sums += 1 << (axis.precision - 1)
        sums *= 2.0**-axis.precision
        resized[:, band.first : band.first + outputs] = sums


@functools.lru_cache(maxsize=256)
def _resized_axis(old: int, new: int) -> _Axis:
    """Compute the weights that resize an axis from `old` to `new` pixels."""
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
    """Return whether one more fractional bit would make the largest weight exceed 16 bits."""
    return int(0.5 + largest * (1 << (bits + 1))) >= 1 << 15


__all__ = ["resize_frame"]
