# SPDX-License-Identifier: Apache-2.0
"""Self-blended faces: a real face that is blended with an altered copy of itself.

After Shiohara and Yamasaki 2022, "Detecting Deepfakes with Self-Blended Images", https://arxiv.org/abs/2204.08376.
All parameters are drawn once per clip (`draw_blend`) and applied to each of its frames (`blend_clip`), so that only
the face moves.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .clip_operations import rescale, sharpen, transform
from .colors import ColorShift, draw_color_shift, shift_colors


# Outline of a face. The origin lies between the eyes; the unit of x is the distance between the eyes, that of y the
# distance from the eyes to the mouth. The jaw runs from one temple over the chin to the other.
_JAW = [(-1.02, 0.0), (-1.0, 0.55), (-0.88, 1.05), (-0.6, 1.5), (-0.28, 1.74)]
_JAW = [*_JAW, (0.0, 1.8), *((-x, y) for x, y in reversed(_JAW))]
_BROWS = [(0.85, -0.4), (0.45, -0.55), (0.0, -0.45), (-0.45, -0.55), (-0.85, -0.4)]
_FOREHEAD = [(0.95, -0.6), (0.6, -1.05), (0.0, -1.2), (-0.6, -1.05), (-0.95, -0.6)]
_CHEEKS = [(0.8, 0.35), (0.3, 0.25), (0.0, 0.15), (-0.3, 0.25), (-0.8, 0.35)]
_INNER = [(-0.85, -0.3), (0.85, -0.3), (0.85, 0.3), (0.5, 1.25), (0.0, 1.35), (-0.5, 1.25), (-0.85, 0.3)]
_MOUTH = [(-0.6, 0.75), (0.0, 0.6), (0.6, 0.75), (0.6, 1.25), (0.0, 1.4), (-0.6, 1.25)]
# Regions that manipulations replace, with their relative frequencies.
OUTLINES: dict[str, tuple[list[tuple[float, float]], float]] = {
    "brows": ([*_JAW, *_BROWS], 0.4),
    "forehead": ([*_JAW, *_FOREHEAD], 0.2),
    "lower": ([*_JAW[1:-1], *_CHEEKS], 0.15),
    "inner": (_INNER, 0.15),
    "mouth": (_MOUTH, 0.1),
}
BLEND_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
# Levels of a mask whose edge is hardened inwards from its middle, so that the blend stays inside the face.
_HARDENED = [round(255 * min(1.0, max(0.0, (level / 255 - 0.5) / 0.4))) for level in range(256)]
# Radii of the two blurs in pixels from which on a mask is drawn at half of the resolution.
_WIDE = (3.0, 1.5)
# Eyes and mouth in an aligned crop, in shares of its side, for faces without landmarks.
_USUAL_EYES, _USUAL_MOUTH = ((0.385, 0.42), (0.615, 0.42)), (0.5, 0.66)


@dataclass(frozen=True)
class Blend:
    """
    Parameters of a self-blended clip.

    Attributes:
        outline: Polygon (N, 2) of the mask in the coordinates of a face.
        edge_blur: Blur of the mask before and after its edge is hardened, as a fraction of the side of the frame.
        warp: Displacements (G, G, 2) of the mask on a coarse grid, as fractions of the side.
        ratio: Opacity of the altered copy inside the mask.
        shift: Shift (x, y) of the altered copy, as fractions of the side.
        scale: Scale of the altered copy.
        colors: Colour shift of the altered copy.
        detail: Scale to which the altered copy is reduced if below 1, strength of sharpening if above 1.
        alters_inside: Whether the face inside the mask is altered; otherwise its surroundings.
    """

    outline: np.ndarray
    edge_blur: tuple[float, float]
    warp: np.ndarray
    ratio: float
    shift: tuple[float, float]
    scale: float
    colors: ColorShift
    detail: float
    alters_inside: bool


def draw_blend(random: np.random.Generator) -> Blend:
    """Draw the parameters of a self-blended clip."""
    names = list(OUTLINES)
    weights = np.array([OUTLINES[name][1] for name in names])
    outline = np.array(OUTLINES[names[random.choice(len(names), p=weights / weights.sum())]][0])
    outline = outline * random.uniform(0.85, 1.15, 2) + random.normal(0, 0.04, outline.shape)
    return Blend(
        outline=outline,
        edge_blur=(float(random.uniform(0.005, 0.06)), float(random.uniform(0.003, 0.03))),
        warp=random.normal(0, 0.02, (4, 4, 2)),
        ratio=float(random.choice(BLEND_RATIOS)),
        shift=(float(random.uniform(-0.03, 0.03)), float(random.uniform(-0.015, 0.015))),
        scale=float(random.uniform(0.95, 1.05)),
        colors=draw_color_shift(random),
        detail=float(random.choice([random.uniform(0.3, 0.9), 1.0, random.uniform(1.5, 3.0)])),
        alters_inside=bool(random.random() < 0.5),
    )


def blend_clip(frames: np.ndarray, landmarks: np.ndarray, blend: Blend) -> tuple[np.ndarray, np.ndarray]:
    """
    Blend each frame with an altered copy of itself.

    Args:
        frames: Frames (T, S, S, 3) uint8.
        landmarks: Eyes, nose and corners of the mouth (T, 5, 2) in pixels; NaN where unknown.
        blend: Parameters of the clip.

    Returns:
        Frames (T, S, S, 3) uint8 and masks (T, S, S) uint8, the opacity of the copy in each pixel.
    """
    size = (frames.shape[2], frames.shape[1])
    looks = _alter_looks(frames, blend)
    blended, masks = [], []
    for frame, altered, points in zip(frames, looks, landmarks, strict=True):
        mask = _draw_mask(size, _place_outline(points, size, blend.outline), blend)
        inside, outside = (altered, frame) if blend.alters_inside else (frame, altered)
        blended.append(_blend_frame(inside, outside, mask, blend))
        masks.append(np.asarray(mask))
    return np.stack(blended), np.stack(masks)


def usual_region(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The region that most manipulations replace, the face below the brows, as [`fill_outlines`] returns it."""
    return fill_outlines(np.array(OUTLINES["brows"][0]), landmarks, size)


def fill_outlines(outline: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    """
    Fill an outline on each frame of a clip.

    Args:
        outline: Polygon (N, 2) in the coordinates of a face.
        landmarks: Landmarks (T, 5, 2) in pixels of the frames; NaN where unknown.
        size: Side of the frames in pixels.

    Returns:
        Masks (T, size, size) uint8, 255 inside the outline and 0 outside.
    """
    sides = (size, size)
    return np.stack([np.asarray(_fill(sides, _place_outline(points, sides, outline))) for points in landmarks])


def move_matrix(blend: Blend, width: int, height: int) -> tuple[float, ...]:
    """The matrix of [`~training.clip_operations.transform`] by which the altered copy is shifted and scaled."""
    inverse = 1 / blend.scale
    x = width / 2 * (1 - inverse) - blend.shift[0] * width * inverse
    y = height / 2 * (1 - inverse) - blend.shift[1] * height * inverse
    return (inverse, 0, x, 0, inverse, y)


def sharpening(blend: Blend) -> int:
    """Strength in percent with which the altered copy is sharpened, if `detail` is above 1."""
    return round(60 * blend.detail)


def _alter_looks(frames: np.ndarray, blend: Blend) -> np.ndarray:
    """The altered copy (T, H, W, 3), which has not been moved yet."""
    height, width = frames.shape[1:3]
    if blend.detail < 1:
        small = rescale(frames, max(1, round(height * blend.detail)), max(1, round(width * blend.detail)))
        frames = rescale(small, height, width)
    elif blend.detail > 1:
        frames = sharpen(frames, sharpening(blend))
    return shift_colors(frames, blend.colors)


def _blend_frame(inside: np.ndarray, outside: np.ndarray, mask: Image.Image, blend: Blend) -> np.ndarray:
    """Blend the inside, which is moved, with the outside; only where the mask needs it, as moving takes long."""
    blended = Image.fromarray(outside)
    if box := mask.getbbox():
        blended.paste(Image.fromarray(_move(inside, blend, box)), box[:2], mask.crop(box))
    return np.asarray(blended)


def _move(frame: np.ndarray, blend: Blend, box: tuple[int, int, int, int]) -> np.ndarray:
    """A box of a frame that is shifted, and scaled around the centre; uncovered pixels keep the original frame."""
    height, width = frame.shape[:2]
    original = frame[box[1] : box[3], box[0] : box[2]]
    return transform(frame[None], move_matrix(blend, width, height), original, box)[0]


def _place_outline(landmarks: np.ndarray, size: tuple[int, int], outline: np.ndarray) -> np.ndarray:
    """The outline (N, 2) in pixels of a frame."""
    if np.isfinite(landmarks).all():
        eyes, mouth = landmarks[:2], landmarks[3:].mean(0)
    else:
        eyes, mouth = np.array(_USUAL_EYES) * size, np.array(_USUAL_MOUTH) * size
    middle = eyes.mean(0)
    across, down = eyes[1] - eyes[0], mouth - middle
    # In profile the eyes are close together, although the outline is not narrower.
    least = 0.6 * np.linalg.norm(down)
    length = max(float(np.linalg.norm(across)), 1e-6)
    across = across * max(length, least) / length
    return np.asarray(middle + outline[:, :1] * across + outline[:, 1:] * down)


def _draw_mask(size: tuple[int, int], outline: np.ndarray, blend: Blend) -> Image.Image:
    """The opacity of the copy as an "L" image: soft, deformed, at most the ratio."""
    first, second = (blur * max(size) for blur in blend.edge_blur)
    # Where both blurs are wide, a quarter of the pixels describes the mask as well.
    step = 2 if first >= _WIDE[0] and second >= _WIDE[1] else 1
    mask = _warp(_fill(size, outline).reduce(step), blend.warp)
    mask = mask.filter(ImageFilter.GaussianBlur(first / step)).point(_HARDENED)
    mask = mask.filter(ImageFilter.GaussianBlur(second / step))
    opacity = ImageChops.multiply(mask, Image.new("L", mask.size, round(255 * blend.ratio)))
    return opacity.resize(size, Image.Resampling.BILINEAR)


def _fill(size: tuple[int, int], outline: np.ndarray) -> Image.Image:
    """An "L" image that is white inside the outline (N, 2)."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in outline], fill=255)
    return mask


def _warp(mask: Image.Image, displacements: np.ndarray) -> Image.Image:
    """Elastic deformation by displacements (G, G, 2) of the points of a grid; the border is fixed."""
    (width, height), used = mask.size, mask.getbbox()
    steps = len(displacements) + 1
    moved = np.pad(displacements, ((1, 1), (1, 1), (0, 0))) * (width, height)
    xs, ys = (np.linspace(0, side, steps + 1).round().astype(int) for side in (width, height))
    mesh = []
    for row in range(steps):
        for column in range(steps):
            corners = [(row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1)]
            quad = [float(v) for r, c in corners for v in (xs[c] + moved[r, c, 0], ys[r] + moved[r, c, 1])]
            if used is None or not _overlap(quad, used):
                continue  # stays black
            mesh.append(((int(xs[column]), int(ys[row]), int(xs[column + 1]), int(ys[row + 1])), tuple(quad)))
    return mask.transform(mask.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _overlap(quad: list[float], box: tuple[int, int, int, int]) -> bool:
    """Whether the bounding box of a quadrilateral (x, y, x, y, ...) comes within a pixel of a box."""
    xs, ys = quad[::2], quad[1::2]
    return min(xs) < box[2] + 1 and max(xs) > box[0] - 1 and min(ys) < box[3] + 1 and max(ys) > box[1] - 1
