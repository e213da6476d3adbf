# SPDX-License-Identifier: Apache-2.0
"""
Image operations as batched tensor operations, on any device; each image has parameters of its own.

The counterpart of `clip_operations`, `colors` and the framing of `augmentation`. Images are float tensors
(N, 3, H, W) with whole levels from 0 to 255, and every operation rounds as its counterpart does. Resizing and blurring
are linear and separable, so each is a product with one matrix for the rows of an image and one for its columns.
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from .augmentation import Framing
from .clip_operations import gaussian_kernel
from .colors import ColorShift


_SMALLEST_SIDE = 8


def to_images(frames: torch.Tensor) -> torch.Tensor:
    """Convert frames (..., H, W, 3) uint8 to images (..., 3, H, W) float32."""
    return frames.movedim(-1, -3).float()


def to_frames(images: torch.Tensor) -> torch.Tensor:
    """Convert images (..., 3, H, W) to frames (..., H, W, 3) uint8."""
    return images.to(torch.uint8).movedim(-3, -1).contiguous()


def to_levels(images: torch.Tensor) -> torch.Tensor:
    """Round to whole levels from 0 to 255."""
    return images.round().clamp(0, 255)


def frame_images(crops: torch.Tensor, framings: Sequence[Framing], size: int) -> torch.Tensor:
    """
    Cut out the view of a framing, as [`~training.augmentation.frame_clip`] does.

    Args:
        crops: Images (N, 3, S, S).
        framings: A framing for each.
        size: Side of a view in pixels.

    Returns:
        Images (N, 3, size, size).
    """
    boxes = torch.tensor([framing.box for framing in framings], device=crops.device)
    # Boxes of whole pixels are cut out before they are resized; others are resized with their surroundings.
    is_whole = (boxes == boxes.round()).all(1)
    columns, rows = (
        _resize_weights(
            boxes[:, axis],
            boxes[:, axis + 2],
            within=(torch.where(is_whole, boxes[:, axis], 0.0), torch.where(is_whole, boxes[:, axis + 2], math.inf)),
            num_inputs=crops.shape[-1],
            num_outputs=torch.full_like(boxes[:, 0], size),
            num_rows=size,
        )
        for axis in (0, 1)
    )
    views = to_levels(_multiply(crops, rows, columns))
    if turned := [i for i, framing in enumerate(framings) if framing.angle]:
        turns = [_rotation(framings[i].angle, size) for i in turned]
        views[turned] = move(views[turned], turns, torch.zeros((), device=views.device))
    if mirrored := [i for i, framing in enumerate(framings) if framing.mirrored]:
        views[mirrored] = views[mirrored].flip(-1)
    return views


def rescale(images: torch.Tensor, scales: Sequence[float], *, smallest: int, mode: str = "bilinear") -> torch.Tensor:
    """
    Reduce images and enlarge them again.

    Args:
        images: Images (N, 3, S, S).
        scales: Scale of the reduction for each, at most 1.
        smallest: Smallest side of a reduced image in pixels.
        mode: Interpolation of the enlargement, "bilinear" or "bicubic"; that of the reduction is bilinear.
    """
    side, device = images.shape[-1], images.device
    sides = torch.tensor([max(smallest, round(side * scale)) for scale in scales], dtype=torch.float32, device=device)
    none, all_of_it = torch.zeros_like(sides), torch.full_like(sides, side)
    reduce = _resize_weights(none, all_of_it, num_inputs=side, num_outputs=sides, num_rows=side)
    enlarge = _resize_weights(none, sides, num_inputs=side, num_outputs=all_of_it, num_rows=side, mode=mode)
    weights = enlarge @ reduce
    return to_levels(_multiply(images, weights, weights))


def lose_detail(images: torch.Tensor, scales: Sequence[float]) -> torch.Tensor:
    """Reduce images and enlarge them again, as a degradation does."""
    return rescale(images, scales, smallest=_SMALLEST_SIDE, mode="bicubic")


def blur(images: torch.Tensor, radii: Sequence[float]) -> torch.Tensor:
    """Blur images with Gaussians of these standard deviations in pixels; edge pixels are repeated outside."""
    return to_levels(smooth(images, radii))


def smooth(images: torch.Tensor, radii: Sequence[float]) -> torch.Tensor:
    """Blur images (N, C, S, S) without rounding; see [`blur`]."""
    side = images.shape[-1]
    halves = torch.zeros(len(radii), side + 1)
    for half, radius in zip(halves, radii, strict=True):
        kernel = torch.from_numpy(gaussian_kernel(radius)).float()
        kernel = kernel[len(kernel) // 2 :][:side]
        half[: len(kernel)] = kernel
    tails = halves.flip(1).cumsum(1).flip(1)[:, 1:]
    halves, tails = halves.to(images.device), tails.to(images.device)
    places = torch.arange(side, device=images.device)
    weights = halves[:, (places[:, None] - places).abs()]
    # What the kernel covers beyond an edge counts for the pixel at that edge.
    weights[:, :, 0] += tails
    weights[:, :, -1] += tails.flip(1)
    return _multiply(images, weights, weights)


def sharpen(images: torch.Tensor, percents: Sequence[int]) -> torch.Tensor:
    """Apply an unsharp mask with a radius of one pixel and no threshold."""
    strengths = torch.tensor(percents, device=images.device).view(-1, 1, 1, 1) / 100
    added = (images - blur(images, [1.0] * len(images))) * strengths
    return (images + added.trunc()).clamp(0, 255)


def move(images: torch.Tensor, matrices: Sequence[tuple[float, ...]], outside: torch.Tensor) -> torch.Tensor:
    """
    Apply affine transformations with bilinear interpolation.

    Args:
        images: Images (N, 3, H, W).
        matrices: (a, b, c, d, e, f) for each: the pixel at (x, y) is taken from (a x + b y + c, d x + e y + f).
        outside: Images, or one level, for the pixels that would be taken from outside the image.
    """
    height, width = images.shape[-2:]
    values = torch.tensor(matrices, device=images.device).view(-1, 2, 3, 1, 1)
    across = torch.arange(width, device=images.device) + 0.5
    down = torch.arange(height, device=images.device)[:, None] + 0.5
    places = across * values[:, :, 0] + down * values[:, :, 1] + values[:, :, 2]  # (N, 2, H, W)
    sides = torch.tensor([width, height], device=images.device).view(2, 1, 1)
    is_covered = ((places >= 0) & (places <= sides)).all(1, keepdim=True)
    # Truncated as Pillow does; 255 must not become 254 by a rounding error.
    return torch.where(is_covered, (sample(images, places) + 1e-3).floor(), outside)


def sample(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """
    Interpolate images bilinearly; outside, the pixels of the edge are repeated.

    Args:
        images: Images (N, C, H, W).
        places: x and y (N, 2, H', W') of each wanted pixel, in pixels; the first pixel reaches from 0 to 1.
    """
    sides = torch.tensor(images.shape[:-3:-1], device=images.device).view(2, 1, 1)
    grid = (places.clamp(min=0.5).minimum(sides - 0.5) * 2 / sides - 1).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def shift_colors(images: torch.Tensor, shifts: Sequence[ColorShift]) -> torch.Tensor:
    """Apply a colour shift to each image."""
    images, device = images.clone(), images.device
    if turned := [i for i, shift in enumerate(shifts) if any(shift.hsv)]:
        images[turned] = _shift_hsv(images[turned], [shifts[i].hsv for i in turned])
    slopes = torch.tensor([shift.contrast * shift.brightness for shift in shifts], device=device)
    middles = [127.5 * (1 - shift.contrast) * shift.brightness for shift in shifts]
    added = [[middle + level for level in shift.rgb] for shift, middle in zip(shifts, middles, strict=True)]
    return to_levels(images * slopes.view(-1, 1, 1, 1) + torch.tensor(added, device=device)[:, :, None, None])


def to_grey(images: torch.Tensor) -> torch.Tensor:
    """Convert images to greyscale; they keep three channels."""
    red, green, blue = images.split(1, 1)
    return to_levels(0.299 * red + 0.587 * green + 0.114 * blue).expand_as(images)


def add_noise(clip: torch.Tensor, deviation: float, seed: int) -> torch.Tensor:
    """
    Add Gaussian noise. On the CPU, it is the noise of [`~training.clip_operations.add_noise`].

    Args:
        clip: Images (T, 3, H, W) of one clip.
        deviation: Standard deviation on the scale from 0 to 255.
        seed: Seed of the noise.
    """
    generator = torch.Generator(clip.device).manual_seed(seed)
    frames = clip.movedim(1, -1)
    noise = torch.randn(frames.shape, generator=generator, device=clip.device)
    return (frames + noise * deviation).clamp(0, 255).floor().movedim(-1, 1)


def _multiply(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, W) with the weights (N, H', H) of their rows and (N, W', W) of their columns."""
    channels, height = images.shape[1:3]
    resized = (images.flatten(1, 2) @ columns.mT).unflatten(1, (channels, height))
    return rows[:, None] @ resized


def _resize_weights(
    start: torch.Tensor,
    stop: torch.Tensor,
    *,
    num_inputs: int,
    num_outputs: torch.Tensor,
    num_rows: int,
    within: tuple[torch.Tensor, torch.Tensor] | None = None,
    mode: str = "bilinear",
) -> torch.Tensor:
    """
    The weights with which pixels of a line make those of a resized one, with antialiasing as in Pillow.

    Args:
        start, stop: Part (N,) of each line that is resized.
        num_inputs: Length of a line.
        num_outputs: Length (N,) of each resized line.
        num_rows: Number of rows of the result, at least the largest `num_outputs`; those beyond mean nothing.
        within: First pixel and end (N,) of the pixels that are used, by default `start` and `stop`.
        mode: "bilinear" or "bicubic".

    Returns:
        Weights (N, num_rows, num_inputs).
    """
    device, scale = start.device, ((stop - start) / num_outputs)[:, None, None]
    pixels = torch.arange(num_inputs, device=device) + 0.5
    centers = start[:, None, None] + (torch.arange(num_rows, device=device)[:, None] + 0.5) * scale
    distance = ((pixels - centers) / scale.clamp(min=1)).abs()
    if mode == "bilinear":
        weights = (1 - distance).clamp(min=0)
    else:
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    low, high = (edge[:, None, None] for edge in (within or (start, stop)))
    weights = weights * ((pixels > low) & (pixels < high))
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)


def _rotation(angle: float, size: int) -> tuple[float, ...]:
    """The matrix of [`move`] that rotates counterclockwise around the centre by an angle in degrees."""
    cosine, sine, middle = math.cos(math.radians(angle)), math.sin(math.radians(angle)), size / 2
    return (cosine, -sine, middle * (1 - cosine + sine), sine, cosine, middle * (1 - cosine - sine))


def _shift_hsv(images: torch.Tensor, changes: Sequence[tuple[float, float, float]]) -> torch.Tensor:
    """Shift hue, saturation and value in whole numbers from 0 to 255, as `colors` does."""
    turns = torch.tensor([round(256 * hue) for hue, _, _ in changes], device=images.device).view(-1, 1, 1)
    gains = torch.tensor([change[1:] for change in changes], device=images.device).T[..., None, None] + 1
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    distance = torch.where(green == value, blue - red + 2 * chroma, red - green + 4 * chroma)
    distance = torch.where(red == value, green - blue, distance)
    distance = distance + 6 * chroma * (distance < 0)
    # Grey has no hue; the division by 1 leaves it a saturation of 0.
    hue = (distance / chroma.clamp(min=1) * (255 / 6)).floor() + turns
    hue = hue.remainder(256) * (6 / 255)
    saturation = (255 * (chroma / value.clamp(min=1))).floor()
    saturation, value = (to_levels(levels * gain) for levels, gain in zip((saturation, value), gains, strict=True))
    removed = value * saturation / 255
    shares = torch.stack([2 - (hue - 3).abs(), (hue - 2).abs() - 1, (hue - 4).abs() - 1], 1)
    return (value[:, None] - removed[:, None] * shares.clamp(0, 1)).round()
