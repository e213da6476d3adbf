# SPDX-License-Identifier: Apache-2.0
"""The loss of JPEG compression as a batched tensor operation: what libjpeg encodes and decodes, without its file."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from .device_operations import to_levels


# Quantisation tables of ISO/IEC 10918-1, annex K, by row.
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# Side of the blocks in which pixels are coded: 8 of luma, and 8 of chroma at half of the resolution.
_BLOCK = 16


def through_jpeg(images: torch.Tensor, qualities: Sequence[int]) -> torch.Tensor:
    """
    Encode and decode images as baseline JPEG with 4:2:0 chroma, the default of Pillow and libjpeg.

    Args:
        images: Images (N, 3, H, W) with whole levels from 0 to 255.
        qualities: Quality of each, from 1 to 100.
    """
    height, width = images.shape[-2:]
    percents = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in qualities]
    factor = torch.tensor(percents, dtype=torch.float32, device=images.device).view(-1, 1, 1, 1, 1, 1)
    padded = F.pad(images, (0, -width % _BLOCK, 0, -height % _BLOCK), mode="replicate")
    luma, chroma = _to_ycc(padded)
    # The mean of four pixels is rounded down and up in turns, as libjpeg does.
    bias = torch.tensor([0.25, 0.5], device=images.device).repeat(chroma.shape[-1] // 4)
    chroma = (F.avg_pool2d(chroma, 2) + bias).floor()
    luma, chroma = _quantise(luma, _LUMA_TABLE, factor), _quantise(chroma, _CHROMA_TABLE, factor)
    # The filling of the last blocks is cut off before chroma is enlarged, so that it does not reach the edge.
    chroma = chroma[..., : -(-height // 2), : -(-width // 2)]
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False).round()
    return _from_ycc(luma[..., :height, :width], chroma[..., :height, :width])


def _quantise(planes: torch.Tensor, table: tuple[tuple[int, ...], ...], factor: torch.Tensor) -> torch.Tensor:
    """Quantise the frequencies of each block of planes (N, C, H, W); factor (N, 1, 1, 1, 1, 1) in percent."""
    height, width = planes.shape[-2:]
    basis = _dct_basis(planes.device)
    blocks = (planes - 128).unflatten(3, (width // 8, 8)).unflatten(2, (height // 8, 8)).transpose(3, 4)
    steps = ((torch.tensor(table, device=planes.device) * factor + 50) / 100).floor().clamp(1, 255)
    levels = (basis @ blocks @ basis.T / steps).round() * steps
    blocks = basis.T @ levels @ basis
    return to_levels(blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3) + 128)


def _dct_basis(device: torch.device) -> torch.Tensor:
    """Orthonormal type-II DCT of length 8 (frequency, position)."""
    frequency, position = torch.arange(8, device=device)[:, None], torch.arange(8, device=device)
    basis = torch.cos((2 * position + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def _to_ycc(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma (N, 1, H, W) and chroma (N, 2, H, W), in whole levels."""
    red, green, blue = images.split(1, 1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.cat([(blue - luma) / 1.772, (red - luma) / 1.402], 1) + 128
    return luma.round(), to_levels(chroma)


def _from_ycc(luma: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    blue, red = (chroma - 128).split(1, 1)
    return to_levels(torch.cat([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], 1))
