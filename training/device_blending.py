# SPDX-License-Identifier: Apache-2.0
"""Self-blended faces as batched tensor operations, the counterpart of `blending`; images as in `device_operations`."""

from collections.abc import Sequence

import torch

from .blending import Blend, move_matrix, sharpening
from .device_operations import move, rescale, sample, sharpen, shift_colors, smooth, to_levels


def blend_images(
    images: torch.Tensor, outlines: torch.Tensor, blends: Sequence[Blend]
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Blend each image with an altered copy of itself.

    Args:
        images: Images (N, 3, S, S).
        outlines: Filled outlines (N, S, S) uint8, see [`~training.blending.fill_outlines`].
        blends: Parameters of each image.

    Returns:
        Images (N, 3, S, S), and the opacity of the copy in each pixel (N, S, S) from 0 to 255.
    """
    looks, masks = _alter_looks(images, blends), _soften(outlines, blends)
    alters_inside = torch.tensor([blend.alters_inside for blend in blends], device=images.device).view(-1, 1, 1, 1)
    inside, outside = torch.where(alters_inside, looks, images), torch.where(alters_inside, images, looks)
    inside = move(inside, [move_matrix(blend, images.shape[-1], images.shape[-2]) for blend in blends], inside)
    return to_levels(outside + masks / 255 * (inside - outside)), masks[:, 0]


def _alter_looks(images: torch.Tensor, blends: Sequence[Blend]) -> torch.Tensor:
    looks = images.clone()
    if coarser := [i for i, blend in enumerate(blends) if blend.detail < 1]:
        looks[coarser] = rescale(images[coarser], [blends[i].detail for i in coarser], smallest=1)
    if sharper := [i for i, blend in enumerate(blends) if blend.detail > 1]:
        looks[sharper] = sharpen(images[sharper], [sharpening(blends[i]) for i in sharper])
    return shift_colors(looks, [blend.colors for blend in blends])


def _soften(outlines: torch.Tensor, blends: Sequence[Blend]) -> torch.Tensor:
    """Masks (N, 1, S, S), whole levels from 0 to 255: warped outlines with soft edges, at most the ratio."""
    size = outlines.shape[-1]
    masks = _warp(outlines[:, None].float(), blends)
    masks = to_levels(smooth(masks, [blend.edge_blur[0] * size for blend in blends]))
    # The edge is hardened inwards from its middle, so that the blend stays inside the face.
    masks = to_levels(((masks / 255 - 0.5) / 0.4) * 255)
    masks = to_levels(smooth(masks, [blend.edge_blur[1] * size for blend in blends]))
    ratios = torch.tensor([round(255 * blend.ratio) for blend in blends], device=masks.device).view(-1, 1, 1, 1)
    return to_levels(masks * ratios / 255)


def _warp(masks: torch.Tensor, blends: Sequence[Blend]) -> torch.Tensor:
    """Elastic deformation by the displacements of the points of a grid; the border is fixed."""
    size, device = masks.shape[-1], masks.device
    inner = torch.stack([torch.from_numpy(blend.warp) for blend in blends]).float().to(device)  # (N, G, G, 2)
    moved = torch.nn.functional.pad(inner.movedim(-1, 1), (1, 1, 1, 1)) * size
    num_points = moved.shape[-1]
    # Linear interpolation between the points, as a matrix (S, G + 2).
    knots = (torch.linspace(0, 1, num_points) * size).round().to(device)
    places = torch.arange(size, device=device) + 0.5
    cells = torch.bucketize(places, knots) - 1
    shares = (places - knots[cells]) / (knots[cells + 1] - knots[cells])
    weights = torch.zeros(size, num_points, device=device)
    lines = torch.arange(size, device=device)
    weights[lines, cells], weights[lines, cells + 1] = 1 - shares, shares
    shifts = weights @ moved @ weights.T
    own = torch.stack(torch.meshgrid(places, places, indexing="xy"))
    return sample(masks, own + shifts)
