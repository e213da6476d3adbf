# SPDX-License-Identifier: Apache-2.0
"""Clip-consistent augmentation: parameters are drawn once and applied to every frame, and to both clips of a pair."""

import io
import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ..evaluation.encoding import through_codec
from .clip_operations import add_noise, blur, rescale, transform
from .colors import ColorShift, draw_color_shift, shift_colors


@dataclass(frozen=True, kw_only=True)
class Framing:
    """
    The part of a cached crop that the network sees, the same for both clips of a pair.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the crop.
        angle: Rotation in degrees.
        mirrored: Whether the view is mirrored horizontally.
    """

    box: tuple[float, float, float, float]
    angle: float
    mirrored: bool


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """
    A loss of quality, such as that of a shared video; the clips of a pair get the same degradation or different ones.

    Attributes:
        scale: Scale to which the clip is reduced before it is enlarged again; 1 for none.
        blur: Radius of the Gaussian blur in pixels; 0 for none.
        noise: Standard deviation of the Gaussian noise, on the scale from 0 to 255.
        jpeg: JPEG quality; `None` for no JPEG compression.
        crf: Constant rate factor of H.264; `None` for no H.264 compression.
        colors: Colour shift; `None` for none.
        grey: Whether the clip is converted to greyscale.
    """

    scale: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int | None = None
    crf: int | None = None
    colors: ColorShift | None = None
    grey: bool = False


def draw_framing(random: np.random.Generator, crop_size: int, face_share: float, *, jitter: bool) -> Framing:
    """
    Draw a framing.

    Args:
        random: Random generator.
        crop_size: Side of the cached crops in pixels.
        face_share: Side of the view divided by the side of the cached crop, without jitter.
        jitter: Whether the view is shifted, scaled, rotated and mirrored at random.
    """
    side, center = crop_size * face_share, np.full(2, crop_size / 2)
    angle = 0.0
    if jitter:
        side = min(side * random.uniform(0.85, 1.2), crop_size)
        center = center + random.uniform(-0.05, 0.05, 2) * side
        angle = float(random.uniform(-8, 8)) if random.random() < 0.5 else 0.0
    low = np.clip(center - side / 2, 0, crop_size - side)
    if jitter:
        # Whole pixels are cut out several times faster.
        side = float(round(side))
        low = np.clip(np.round(low), 0, crop_size - side)
    box = (float(low[0]), float(low[1]), float(low[0] + side), float(low[1] + side))
    return Framing(box=box, angle=angle, mirrored=jitter and bool(random.random() < 0.5))


def draw_motion(random: np.random.Generator, framing: Framing, num_frames: int, crop_size: int) -> list[Framing]:
    """
    Draw a smooth camera motion, which turns a still image into a clip.

    Args:
        random: Random generator.
        framing: Framing around which the camera moves.
        num_frames: Number of frames of the clip at 25 frames per second.
        crop_size: Side of the cached crop in pixels, which limits the motion.
    """
    seconds = np.arange(num_frames)[:, None] / 25
    # A few slow oscillations each of x and y (in shares of the side), log scale and angle in degrees.
    widths = np.exp(random.uniform(np.log(0.2), np.log(1.5))) * np.array([0.03, 0.03, 0.03, 2.0])
    offsets = sum(
        random.normal(0, 1, 4)
        * widths
        * np.sin(2 * np.pi * (random.uniform(0.2, 2.0, 4) * seconds + random.random(4)))
        for _ in range(3)
    )
    x0, y0, x1, y1 = framing.box
    framings = []
    for x, y, growth, turn in np.asarray(offsets):
        side = min((x1 - x0) * math.exp(growth), crop_size)
        center = np.array([(x0 + x1) / 2 + x * side, (y0 + y1) / 2 + y * side])
        low_x, low_y = np.clip(center - side / 2, 0, crop_size - side).tolist()
        box = (low_x, low_y, low_x + side, low_y + side)
        framings.append(replace(framing, box=box, angle=framing.angle + float(turn)))
    return framings


def draw_degradation(random: np.random.Generator) -> Degradation:
    """Draw a degradation; a fifth of the clips stay unchanged."""
    if random.random() < 0.2:
        return Degradation()
    codec = random.choice(["jpeg", "h264", "none"], p=[0.5, 0.25, 0.25])
    return Degradation(
        scale=float(np.exp(random.uniform(np.log(0.3), 0))) if random.random() < 0.4 else 1.0,
        blur=float(random.uniform(0.3, 1.5)) if random.random() < 0.15 else 0.0,
        noise=float(random.uniform(1, 8)) if random.random() < 0.15 else 0.0,
        jpeg=int(random.integers(35, 100)) if codec == "jpeg" else None,
        crf=int(random.integers(20, 38)) if codec == "h264" else None,
        colors=draw_color_shift(random, 0.7) if random.random() < 0.6 else None,
        grey=bool(random.random() < 0.04),
    )


def draw_noise_seed(degradation: Degradation, random: np.random.Generator) -> int:
    """Draw the seed of the noise of one clip; 0, without a draw, if the degradation has none."""
    return int(random.integers(2**63)) if degradation.noise else 0


def frame_clip(
    frames: np.ndarray, landmarks: np.ndarray, framing: Framing, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """
    Cut out and resize the view of a framing.

    Args:
        frames: Cached crops (T, S, S, 3) uint8.
        landmarks: Facial landmarks (T, 5, 2) in pixels of the crops.
        framing: Framing.
        size: Side of the view in pixels.

    Returns:
        Frames (T, size, size, 3) uint8 and landmarks (T, 5, 2) in pixels of the view.
    """

    views = _cut_out(frames, framing.box, size)
    if framing.angle:
        views = _rotate(views, framing.angle)
    if framing.mirrored:
        views = np.ascontiguousarray(views[:, :, ::-1])
    return views, frame_landmarks(landmarks, framing, size)


def frame_landmarks(landmarks: np.ndarray, framing: Framing, size: int) -> np.ndarray:
    """Compute where landmarks (T, 5, 2) lie in the view of a framing; left and right ones of a mirror are swapped."""
    points = frame_points(landmarks, framing, size)
    return points[:, [1, 0, 2, 4, 3]] if framing.mirrored else points


def frame_points(points: np.ndarray, framing: Framing, size: int) -> np.ndarray:
    """
    Compute where points of a crop lie in the view of a framing.

    Args:
        points: Points (T, P, 2) in pixels of the crops.
        framing: Framing.
        size: Side of the view in pixels.

    Returns:
        Points (T, P, 2) in pixels of the view. In a mirrored view, left and right points keep their order.
    """
    points = (points - framing.box[:2]) * (size / (framing.box[2] - framing.box[0])) - size / 2
    turn = math.radians(framing.angle)
    points = points @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return points * (-1 if framing.mirrored else 1, 1) + size / 2


def _cut_out(frames: np.ndarray, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Resize a box of frames (T, S, S, 3) to (T, size, size, 3)."""
    if all(edge.is_integer() for edge in box):
        x0, y0, x1, y1 = map(int, box)
        return rescale(frames[:, y0:y1, x0:x1], size, size)
    # Only Pillow cuts out fractions of pixels.
    views = [Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR, box) for frame in frames]
    return np.stack([np.asarray(view) for view in views])


def _rotate(frames: np.ndarray, angle: float) -> np.ndarray:
    """Rotate frames (T, S, S, 3) counterclockwise around their centre by an angle in degrees; black comes in."""
    size, turn = frames.shape[1], math.radians(angle)
    cosine, sine = math.cos(turn), math.sin(turn)
    across = (cosine, -sine, size / 2 * (1 - cosine + sine))
    down = (sine, cosine, size / 2 * (1 - cosine - sine))
    return transform(frames, (*across, *down), np.uint8(0), (0, 0, size, size))


def degrade_clip(frames: np.ndarray, degradation: Degradation, noise_seed: int) -> np.ndarray:
    """
    Apply a degradation to a clip; only the noise differs from frame to frame.

    Args:
        frames: Frames (T, S, S, 3) uint8.
        degradation: Degradation.
        noise_seed: Seed of the noise, see [`draw_noise_seed`].

    Returns:
        Frames (T, S, S, 3) uint8.
    """
    height, width = frames.shape[1:3]
    if degradation.scale < 1:
        small = rescale(frames, *(max(8, round(side * degradation.scale)) for side in (height, width)))
        frames = rescale(small, height, width, mode="bicubic")
    if degradation.blur:
        frames = blur(frames, degradation.blur)
    if degradation.colors is not None:
        frames = shift_colors(frames, degradation.colors)
    if degradation.grey:
        frames = np.stack([np.asarray(Image.fromarray(frame).convert("L").convert("RGB")) for frame in frames])
    if degradation.noise:
        frames = add_noise(frames, degradation.noise, noise_seed)
    if degradation.jpeg is not None:
        frames = np.stack([_through_jpeg(frame, degradation.jpeg) for frame in frames])
    if degradation.crf is not None:
        frames = through_h264(frames, degradation.crf)
    return frames


def through_h264(frames: np.ndarray, crf: int) -> np.ndarray:
    """Encode frames (T, S, S, 3) uint8 as one H.264 stream of a constant rate factor, and decode them again."""
    return np.stack([frame for _, frame in through_codec(enumerate(frames), "h264", crf, "a training clip")])


def _through_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as image:
        return np.array(image)
