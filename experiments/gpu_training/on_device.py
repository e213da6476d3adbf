# SPDX-License-Identifier: Apache-2.0
"""Self-blended and degraded training pairs as batched tensor operations, on the device that trains.

The counterpart of `blending` and `augmentation`, which alter one clip at a time with Pillow: a GPU that waits for six
processes of those trains on a few hundred crops per second; with these it makes its own pairs faster than it learns
from them. What is drawn has the same distributions, with two differences: the outlines come from a face mesh instead
of five landmarks, and H.264 is left to copies that were encoded as whole videos (`copies`).

All images are float tensors `(N, 3, H, W)` with levels in [0, 255]; every random number comes from one generator.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch.nn import functional as F


# Directions in which the extent of a face region is measured: its convex hull as a polygon of so many sides.
_NUM_DIRECTIONS = 48
# Masks are computed at this fraction of the image's resolution; their edges are wider than that.
_MASK_REDUCTION = 2
_BLEND_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
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


@dataclass(frozen=True, kw_only=True)
class ColorShifts:
    """
    One shift of colour for each image.

    Attributes:
        channels: `(N, 3)` added to red, green and blue, in levels of 255.
        hue: `(N,)` turn about the grey axis in radians.
        saturation, value: `(N,)` factors.
        contrast: `(N,)` factors about the middle grey.
        brightness: `(N,)` factors.
    """

    channels: torch.Tensor
    hue: torch.Tensor
    saturation: torch.Tensor
    value: torch.Tensor
    contrast: torch.Tensor
    brightness: torch.Tensor

    def take(self, index: torch.Tensor) -> "ColorShifts":
        """The shifts at the positions `(M,)`."""
        return ColorShifts(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Images `(N, 3, H, W)` in other colours, rounded to whole levels."""
        hue, saturation, value, contrast, brightness = (
            number.view(-1, 1, 1, 1)
            for number in (self.hue, self.saturation, self.value, self.contrast, self.brightness)
        )
        luma, first, second = _to_chroma(images)
        cos, sin = torch.cos(hue) * saturation, torch.sin(hue) * saturation
        images = _from_chroma(luma, first * cos - second * sin, first * sin + second * cos) * value
        images = ((images - 127.5) * contrast + 127.5) * brightness + self.channels[:, :, None, None]
        return images.round().clamp(0, 255)


class PairMaker:
    """
    Makes pairs of a real and a fake view out of face crops, on their own device.

    Args:
        size: Side of a view in pixels, a multiple of 16.
        face_share: Side of a view over the side of a cached crop, without jitter.
        regions: Parts of the mesh that belongs to each crop.
        generator: Source of every random number, on the device of the crops.
    """

    def __init__(self, size: int, face_share: float, regions: MeshRegions, generator: torch.Generator) -> None:
        if size % 16:
            raise ValueError(f"size must be a multiple of 16, got {size = }.")
        self.size, self.face_share, self.regions, self.generator = size, face_share, regions, generator
        self.device = generator.device

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
        images = crops.permute(0, 3, 1, 2).float()
        views = _sample(images, maps, self.size)
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
        ratios = torch.tensor(_BLEND_RATIOS, device=self.device)
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
        altered = self._alter_detail(self.draw_colors(count, 1.0).apply(images))
        shift = torch.stack([self.uniform(-0.06, 0.06, count), self.uniform(-0.03, 0.03, count)], -1)
        scale = self.uniform(0.95, 1.05, count)
        zero = torch.zeros_like(scale)
        maps = torch.stack([scale, zero, shift[:, 0], zero, scale, shift[:, 1]], -1).view(count, 2, 3)
        inner = self.chance(0.5, count).view(-1, 1, 1, 1)
        inside = _sample(torch.where(inner, altered, images), maps, images.shape[-1])
        outside = torch.where(inner, images, altered)
        mask = self.draw_masks(points)
        return (outside + mask * (inside - outside)).round().clamp(0, 255)

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
        warped = self._alter_detail(self.draw_colors(len(images), 0.3).apply(warped.clamp(0, 255)))
        return (images + mask * (warped - images)).round().clamp(0, 255)

    def _alter_detail(self, images: torch.Tensor) -> torch.Tensor:
        """A third loses detail, a third is sharpened, a third stays."""
        kind = torch.randint(3, (len(images), 1, 1, 1), generator=self.generator, device=self.device)
        sharpness = self.uniform(0.5, 2.0, len(images), 1, 1, 1)
        sharpened = images + (images - _blur(images, 1.0)) * sharpness
        coarser = self.rescale(images, self.uniform(0.3, 0.9, len(images)))
        return torch.where(kind == 0, coarser, torch.where(kind == 1, sharpened, images)).clamp(0, 255)

    # --- degradation --------------------------------------------------------------------------------------------

    def draw_colors(self, count: int, strength: float) -> "ColorShifts":
        """Shifts with the ranges of `colors.draw_color_shift`."""
        moved = strength * self.chance(0.7, count)
        return ColorShifts(
            channels=self.uniform(-18, 18, count, 3) * strength * self.chance(0.7, count, 1),
            hue=self.uniform(-0.015, 0.015, count) * moved * 2 * math.pi,
            saturation=1 + self.uniform(-0.2, 0.2, count) * moved,
            value=1 + self.uniform(-0.15, 0.15, count) * moved,
            contrast=1 + self.uniform(-0.1, 0.1, count) * strength,
            brightness=1 + self.uniform(-0.1, 0.1, count) * strength,
        )

    def rescale(self, images: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """Through a smaller copy; scales `(N,)` are rounded to tenths, of 1 nothing is lost."""
        side, result = images.shape[-1], images.clone()
        tenths = (scales * 10).round().clamp(1, 10).long()
        for tenth in range(1, 10):
            chosen = (tenths == tenth).nonzero()[:, 0]
            if len(chosen):
                small = max(8, round(side * tenth / 10))
                copy = F.interpolate(images[chosen], (small, small), mode="bilinear", antialias=True)
                result[chosen] = F.interpolate(copy, (side, side), mode="bicubic").clamp(0, 255)
        return result

    def degrade(self, images: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """
        Rescaling, blur, noise, JPEG, colours, as `augmentation.draw_degradation` draws them, H.264 left out.

        Args:
            images: `(N, 3, H, W)`.
            groups: `(N,)` integers; images of one group get the same degradation, its noise apart.
        """
        names, index = groups.unique(return_inverse=True)
        count = len(names)
        spared = self.chance(0.2, count)
        scale = torch.where(self.chance(0.4, count), self.uniform(math.log(0.3), 0, count).exp(), 1.0)
        scale = torch.where(spared, 1.0, scale)[index]
        images = self.rescale(images, scale)
        blur = (self.chance(0.15, count) & ~spared)[index].view(-1, 1, 1, 1)
        images = torch.where(blur, _blur(images, 1.0), images)
        colors = (self.chance(0.6, count) & ~spared)[index].view(-1, 1, 1, 1)
        images = torch.where(colors, self.draw_colors(count, 0.7).take(index).apply(images), images)
        grey = (self.chance(0.04, count) & ~spared)[index].view(-1, 1, 1, 1)
        images = torch.where(grey, _to_chroma(images)[0].expand_as(images), images)
        noise = torch.where(self.chance(0.15, count) & ~spared, self.uniform(1, 8, count), 0.0)[index]
        images = images + self.normal(1.0, *images.shape) * noise.view(-1, 1, 1, 1)
        images = images.round().clamp(0, 255)
        coded = (self.chance(0.65, count) & ~spared)[index]
        quality = self.uniform(35, 100, count).floor()[index]
        chosen = coded.nonzero()[:, 0]
        if len(chosen):
            images[chosen] = through_jpeg(images[chosen], quality[chosen])
        return images


def through_jpeg(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """
    What baseline JPEG with 4:2:0 chroma leaves of images, as libjpeg quantises.

    Args:
        images: `(N, 3, H, W)` with sides that are multiples of 16.
        quality: `(N,)` from 1 to 100.
    """
    factor = torch.where(quality < 50, 5000 / quality.clamp(min=1), 200 - 2 * quality).view(-1, 1, 1, 1, 1)
    luma, first, second = _to_ycc(images)
    chroma = F.avg_pool2d(torch.cat([first, second], 1), 2)
    luma = _quantise(luma - 128, _LUMA_TABLE, factor) + 128
    chroma = _quantise(chroma, _CHROMA_TABLE, factor)
    chroma = F.interpolate(chroma, luma.shape[-2:], mode="bilinear", align_corners=False)
    return _from_ycc(luma, chroma[:, :1], chroma[:, 1:]).round().clamp(0, 255)


def _quantise(planes: torch.Tensor, table: tuple[tuple[int, ...], ...], factor: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = planes.shape
    basis = _dct_basis(planes.device)
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
    steps = ((planes.new_tensor(table) * factor + 50) / 100).floor().clamp(1, 255)
    steps = steps.view(count, 1, 1, 1, 8, 8)
    levels = ((basis @ blocks @ basis.T) / steps).round() * steps
    blocks = basis.T @ levels @ basis
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(planes.shape)


def _dct_basis(device: torch.device) -> torch.Tensor:
    """Orthonormal type-II DCT of length 8, `(frequency, position)`."""
    frequency, position = torch.arange(8, device=device)[:, None], torch.arange(8, device=device)
    basis = torch.cos((2 * position + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def _sample(images: torch.Tensor, maps: torch.Tensor, size: int) -> torch.Tensor:
    grid = F.affine_grid(maps, [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    padded = F.pad(images, (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[:, :, :, None], groups=3), kernel[:, :, None], groups=3)


def _to_chroma(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Luma and two orthogonal axes of colour (YIQ): a turn about luma is a shift of hue."""
    red, green, blue = images.split(1, 1)
    return (
        0.299 * red + 0.587 * green + 0.114 * blue,
        0.5959 * red - 0.2746 * green - 0.3213 * blue,
        0.2115 * red - 0.5227 * green + 0.3112 * blue,
    )


def _from_chroma(luma: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return torch.cat(
        [
            luma + 0.9563 * first + 0.6210 * second,
            luma - 0.2721 * first - 0.6474 * second,
            luma - 1.1070 * first + 1.7046 * second,
        ],
        1,
    )


def _to_ycc(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    red, green, blue = images.split(1, 1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma, (blue - luma) / 1.772, (red - luma) / 1.402


def _from_ycc(luma: torch.Tensor, blue: torch.Tensor, red: torch.Tensor) -> torch.Tensor:
    return torch.cat([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], 1)
