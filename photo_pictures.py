# SPDX-License-Identifier: Apache-2.0
"""Convert a still picture to pixels as a viewer shows them: upright, in sRGB, transparent parts on white."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms


__all__ = ["to_displayed_frames", "to_displayed_pixels"]

# What undoes each orientation of EXIF (CIPA DC-008, tag 0x0112); 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Modes of the colour spaces of a profile (ICC.1, 7.2.6) whose pictures are converted by it.
_PROFILE_MODES = {"RGB": "RGB", "CMYK": "CMYK"}
# Levels of each channel by which a conversion is tried; dark ones show differences of the tone curve.
_LEVELS = np.array([0, 8, 16, 32, 64, 96, 128, 160, 192, 224, 255], np.uint8)


def to_displayed_pixels(
    image: Image.Image, *, is_upright: bool = False, warnings: list[str] | None = None
) -> np.ndarray:
    """Return the pixels of a picture as a viewer shows them, of shape (H, W, 3), uint8 sRGB.

    Args:
        image: The picture. If it holds several frames, the current one counts.
        is_upright: Whether the orientation in the EXIF data has been applied already.
        warnings: Receives a sentence for each property that cannot be applied.

    Raises:
        OSError: If the picture is damaged; Pillow may raise other errors too.
    """
    warnings = [] if warnings is None else warnings
    # Reading EXIF data decodes a PNG, and its errors would count as those of the EXIF data.
    image.load()
    turn = None if is_upright else _UPRIGHT.get(_orientation(image, warnings))
    if image.mode.startswith("I;16"):
        # Pillow would cut the levels off at 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    shown = _to_srgb(image, warnings)
    if "A" in image.getbands() or "transparency" in image.info:
        opacity = image.convert("RGBA").getchannel("A")
        shown = Image.composite(shown, Image.new("RGB", shown.size, "white"), opacity)
    return np.array(shown if turn is None else shown.transpose(turn))


def to_displayed_frames(images: Any) -> Any:
    """Replace the Pillow images in nested lists by their displayed pixels; a single image becomes a list of one."""
    if isinstance(images, Image.Image):
        return [to_displayed_pixels(images)]
    if isinstance(images, (list, tuple)):
        return [to_displayed_pixels(i) if isinstance(i, Image.Image) else to_displayed_frames(i) for i in images]
    return images


def _orientation(image: Image.Image, warnings: list[str]) -> int:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
        return found if isinstance(found, int) else 1
    except Exception:  # Pillow's parser of EXIF raises whatever damaged data leads to
        warnings.append("its EXIF data is damaged; the picture was assumed to be upright")
        return 1


def _to_srgb(image: Image.Image, warnings: list[str]) -> Image.Image:
    """Convert a picture to sRGB by its colour profile; without one, its values are assumed to be sRGB."""
    content = image.info.get("icc_profile")
    if content:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
            mode = _PROFILE_MODES.get(profile.profile.xcolor_space.strip())
            if mode:
                source = image if image.mode == mode or mode != "RGB" else image.convert(mode)
                transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), source.mode, "RGB")
                if mode != "RGB" or _changes_colors(transform):
                    return ImageCms.applyTransform(source, transform) or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            warnings.append("its colour profile cannot be used; its colours were assumed to be sRGB")
    return image.convert("RGB")


def _changes_colors(transform: ImageCms.ImageCmsTransform) -> bool:
    """Return whether a conversion of RGB does more than round, whatever the profile is called."""
    sample = Image.fromarray(np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS), axis=-1).reshape(len(_LEVELS), -1, 3))
    converted = ImageCms.applyTransform(sample, transform) or sample
    return int(np.abs(np.asarray(converted, np.int16) - np.asarray(sample, np.int16)).max()) > 1
