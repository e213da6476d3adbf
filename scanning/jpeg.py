# SPDX-License-Identifier: Apache-2.0
"""Pictures as text for a self-contained page."""

import base64
import io

import numpy as np
from PIL import Image


def to_jpeg(picture: np.ndarray, side: int) -> str:
    """
    Encode a picture as JPEG in base64.

    Args:
        picture: Array of shape (h, w, 3), uint8 RGB.
        side: Length in pixels to which the longer side is scaled.
    """
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    stream = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode("ascii")
