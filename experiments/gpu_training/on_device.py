# SPDX-License-Identifier: Apache-2.0
"""Self-blended, cross-blended and degraded training pairs with masks from a face mesh, on the device that trains.

Colours, detail, noise and JPEG are those of `deepfake-video train --pairs-on device`, with the same draws. Two things
differ: the outlines come from a face mesh instead of five landmarks, and H.264 is left to copies that are encoded as
whole videos (`copy_workers`).

All images are float tensors `(N, 3, H, W)` with levels in [0, 255]; every random number comes from one generator.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from deepfake_video.training.augmentation import Degradation, draw_degradation, draw_noise_seed
from deepfake_video.training.blending import BLEND_RATIOS
from deepfake_video.training.colors import draw_color_shift
from deepfake_video.training.device_degradation import degrade_clips
from deepfake_video.training.device_operations import rescale, sample, sharpen, shift_colors, to_images, to_levels


# Directions in which the extent of a face region is measured: its convex hull as a polygon of so many sides.
_NUM_DIRECTIONS = 48
# Masks are computed at this fraction of the image's resolution; their edges are wider than that.
_MASK_REDUCTION = 2
# Share of the clips that `draw_degradation` compresses with H.264 which are compressed with JPEG instead.
_JPEG_INSTEAD = 0.6


@dataclass(frozen=True)
class MeshRegions:
    """
    Which points of a face mesh belong to which part of the face.

    Attributes:
        oval: Outline of the face, chin to hairline.
        eyes, brows, lips, nose: Points of these parts.
    """

    oval: tuple[int, ...]
    eyes: tuple[int, ...]
    brows: tuple[int, ...]
    lips: tuple[int, ...]
    nose: tuple[int, ...]

    def masks(self, num_points: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Membership `(R, P)` bool of each point in each region that is replaced, and the shares `(R,)`."""
        inner = (*self.brows, *self.eyes, *self.lips, *self.nose)
        regions: Mapping[tuple[int, ...], float] = {
            (*self.oval, *inner): 0.35,
            (*self.oval[len(self.oval) // 4 : -(len(self.oval) // 4)], *inner): 0.3,
            inner: 0.2,
            (*self.lips, *self.nose): 0.075,
            self.lips: 0.05,
            (*self.eyes, *self.brows): 0.025,
        }
        members = torch.zeros(len(regions), num_points, dtype=torch.bool)
        for row, points in enumerate(regions):
            members[row, list(points)] = True
        return members, torch.tensor(list(regions.values()))


class PairMaker:
    """
    Makes pairs of a real and a fake view out of face crops, on their own device.

    Args:
        size: Side of a view in pixels, a multiple of 2.
        face_share: Side of a view over the side of a cached crop, without jitter.
        regions: Parts of the mesh that belongs to each crop.
        generator: Source of every random number, on the device of the crops.
    """

    def __init__(self, size: int, face_share: float, regions: MeshRegions, generator: torch.Generator) -> None:
        if size % _MASK_REDUCTION:
            raise ValueError(f"size must be a multiple of {_MASK_REDUCTION}, got {size = }.")
        self.size, self.face_share, self.regions, self.generator = size, face_share, regions, generator
        self.device = generator.device
        self.random = np.random.default_rng(generator.initial_seed())

    # --- random numbers -----------------------------------------------------------------------------------------

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device) * (high - low) + low

    def normal(self, std: float, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device) * std

    def chance(self, probability: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device) < probability

    # --- framing ------------------------------------------------------------------------------------------------

    def draw_framings(self, count: int) -> torch.Tensor:
        """
        Jittered views of crops, as `augmentation.draw_framing` draws them.

        Returns:
            Affine maps `(N, 2, 3)` from view coordinates to crop coordinates, both in [-1, 1].
        """
        side = (self.face_share * self.uniform(0.85, 1.2, count)).clamp(max=1.0)
        room = 1 - side
        center = (self.uniform(-0.05, 0.05, count, 2) * 2 * side[:, None]).clamp(-room[:, None], room[:, None])
        angle = torch.where(self.chance(0.5, count), self.uniform(-8, 8, count), 0.0) * math.pi / 180
        mirror = torch.where(self.chance(0.5, count), -1.0, 1.0)
        cos, sin = side * torch.cos(angle), side * torch.sin(angle)
        rows = torch.stack([cos * mirror, -sin, center[:, 0], sin * mirror, cos, center[:, 1]], -1)
        return rows.view(count, 2, 3)

    def frame(
        self, crops: torch.Tensor, points: torch.Tensor, maps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Views of crops.

        Args:
            crops: `(N, S, S, 3)` uint8.
            points: Meshes `(N, P, 2)` in pixels of the crops.
            maps: From [`draw_framings`].

        Returns:
            Images `(N, 3, size, size)` and meshes `(N, P, 2)` in their pixels.
        """
        views = _sample(to_images(crops), maps, self.size)
        full = torch.cat([maps, maps.new_tensor([0.0, 0.0, 1.0]).expand(len(maps), 1, 3)], 1)
        inverse = torch.linalg.inv(full)[:, :2]
        normal = (points + 0.5) * 2 / crops.shape[1] - 1
        normal = normal @ inverse[:, :, :2].transpose(1, 2) + inverse[:, None, :, 2]
        return views, (normal + 1) * self.size / 2 - 0.5

    # --- blending -----------------------------------------------------------------------------------------------

    def draw_masks(self, points: torch.Tensor) -> torch.Tensor:
        """
        Soft masks `(N, 1, size, size)` in [0, 1] of the part of each face that is replaced.

        A region of the mesh is drawn for each face; its convex hull is grown or shrunk unevenly, deformed by smooth
        noise, and fades from its edge inwards.
        """
        count, side = len(points), self.size // _MASK_REDUCTION
        members, shares = self.regions.masks(points.shape[1])
        choice = torch.multinomial(shares.to(self.device).expand(count, -1), 1, generator=self.generator)[:, 0]
        belongs = members.to(self.device)[choice]
        points = points / _MASK_REDUCTION
        angles = torch.arange(_NUM_DIRECTIONS, device=self.device) * (2 * math.pi / _NUM_DIRECTIONS)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        center = (points * belongs[..., None]).sum(1) / belongs.sum(1, keepdim=True)
        reach = ((points - center[:, None]) @ directions.T).masked_fill(~belongs[..., None], -torch.inf).amax(1)
        # Uneven growth: a random ellipse, smooth over the directions.
        growth = 1 + self.uniform(-0.15, 0.15, count, 1)
        for order in (1, 2, 3):
            phase = self.uniform(0, 2 * math.pi, count, 1)
            growth = growth + self.normal(0.05 / order, count, 1) * torch.cos(order * angles + phase)
        reach = reach * growth
        axis = torch.arange(side, device=self.device, dtype=torch.float32)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(1, -1, 2) - center[:, None]
        distance = torch.full((count, side * side), -torch.inf, device=self.device)
        for direction, extent in zip(directions, reach.T, strict=True):
            distance = torch.maximum(distance, grid @ direction - extent[:, None])
        distance = distance.view(count, 1, side, side)
        noise = F.interpolate(self.normal(0.02 * side, count, 1, 6, 6), (side, side), mode="bicubic")
        width = (self.uniform(0.01, 0.12, count, 1, 1, 1)) * side
        inside = ((-distance + noise) / width).clamp(0, 1)
        inside = inside * inside * (3 - 2 * inside)
        # A small region, such as the lips, would hardly be replaced if its edge faded over all of it.
        inside = inside / inside.amax((2, 3), keepdim=True).clamp(min=0.05)
        ratios = torch.tensor(BLEND_RATIOS, device=self.device)
        ratio = ratios[torch.randint(len(ratios), (count,), generator=self.generator, device=self.device)]
        inside = F.interpolate(inside, (self.size, self.size), mode="bilinear", align_corners=False)
        return inside * ratio.view(-1, 1, 1, 1)

    def self_blend(self, images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """
        Blend each face with an altered copy of itself.

        After Shiohara and Yamasaki 2022, "Detecting Deepfakes with Self-Blended Images",
        https://arxiv.org/abs/2204.08376.

        Args:
            images: `(N, 3, H, W)`.
            points: Meshes `(N, P, 2)` in pixels.
        """
        count = len(images)
        altered = self._alter_detail(self._shift_colors(images, 1.0))
        shift = torch.stack([self.uniform(-0.06, 0.06, count), self.uniform(-0.03, 0.03, count)], -1)
        scale = self.uniform(0.95, 1.05, count)
        zero = torch.zeros_like(scale)
        maps = torch.stack([scale, zero, shift[:, 0], zero, scale, shift[:, 1]], -1).view(count, 2, 3)
        inner = self.chance(0.5, count).view(-1, 1, 1, 1)
        inside = _sample(torch.where(inner, altered, images), maps, images.shape[-1])
        outside = torch.where(inner, images, altered)
        mask = self.draw_masks(points)
        return to_levels(outside + mask * (inside - outside))

    def cross_blend(
        self, images: torch.Tensor, points: torch.Tensor, others: torch.Tensor, their_points: torch.Tensor
    ) -> torch.Tensor:
        """
        Blend another person's face into each image: aligned by the mesh, with the colours of the face it replaces.

        Args:
            images: `(N, 3, H, W)`.
            points: Meshes `(N, P, 2)` in pixels.
            others: Faces `(N, 3, H, W)` to put in.
            their_points: Their meshes.
        """
        side = images.shape[-1]
        here, there = ((p + 0.5) * 2 / side - 1 for p in (points, their_points))
        ones = torch.ones_like(here[..., :1])
        maps = torch.linalg.lstsq(torch.cat([here, ones], -1), there).solution.transpose(1, 2)
        warped = _sample(others, maps, side)
        mask = self.draw_masks(points)
        weight = (mask > 0.05).float()
        total = weight.sum((2, 3), keepdim=True).clamp(min=1)

        def moments(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mean = (picture * weight).sum((2, 3), keepdim=True) / total
            variance = ((picture - mean) ** 2 * weight).sum((2, 3), keepdim=True) / total
            return mean, (variance + 1).sqrt()

        (mean, std), (their_mean, their_std) = moments(images), moments(warped)
        warped = (warped - their_mean) * (std / their_std).clamp(0.5, 2.0) + mean
        warped = self._alter_detail(self._shift_colors(to_levels(warped), 0.3))
        return to_levels(images + mask * (warped - images))

    def _shift_colors(self, images: torch.Tensor, strength: float) -> torch.Tensor:
        return shift_colors(to_levels(images), [draw_color_shift(self.random, strength) for _ in images])

    def _alter_detail(self, images: torch.Tensor) -> torch.Tensor:
        """A third loses detail, a third is sharpened, a third stays."""
        kind, images = self.random.integers(3, size=len(images)), images.clone()
        if len(coarser := np.flatnonzero(kind == 0)):
            scales = self.random.uniform(0.3, 0.9, len(coarser)).tolist()
            images[coarser] = rescale(images[coarser], scales, smallest=1)
        if len(sharper := np.flatnonzero(kind == 1)):
            percents = self.random.integers(50, 200, len(sharper)).tolist()
            images[sharper] = sharpen(images[sharper], percents)
        return images

    # --- degradation --------------------------------------------------------------------------------------------

    def degrade(self, images: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """
        Degrade images as the package does, H.264 apart.

        Args:
            images: `(N, 3, H, W)`.
            groups: `(N,)` integers; images of one group get the same degradation, its noise apart.
        """
        names, index = groups.unique(return_inverse=True)
        drawn = [self._draw_degradation() for _ in names]
        degradations = [drawn[i] for i in index.tolist()]
        seeds = [draw_noise_seed(degradation, self.random) for degradation in degradations]
        return degrade_clips(to_levels(images)[:, None], degradations, seeds)[:, 0]

    def _draw_degradation(self) -> Degradation:
        drawn = draw_degradation(self.random)
        if drawn.crf is None:
            return drawn
        is_coded = self.random.random() < _JPEG_INSTEAD
        return replace(drawn, crf=None, jpeg=int(self.random.integers(35, 100)) if is_coded else None)


def _sample(images: torch.Tensor, maps: torch.Tensor, size: int) -> torch.Tensor:
    grid = F.affine_grid(maps, [len(images), 3, size, size], align_corners=False)
    return sample(images, (grid + 1).permute(0, 3, 1, 2) * (images.shape[-1] / 2))
