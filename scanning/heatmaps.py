# SPDX-License-Identifier: Apache-2.0
"""Write the Grad-CAM pictures of a scan as PNG files."""

import base64
import glob
import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..common.files import OutputError, write_atomically
from .evidence import Evidence
from .results import VideoResult


def write_heatmaps(
    folder: str | Path, results: Sequence[VideoResult], evidence: Sequence[Evidence | None]
) -> list[Path]:
    """
    Write the frames with the highest scores of each video, plain and tinted.

    `NAME-ID-1-frame.png` and `NAME-ID-1-overlay.png` belong to the window with the highest score. ID is a hash of the
    path, so that videos with the same name are told apart.

    Args:
        folder: Folder for the files; created if it does not exist.
        results: The results.
        evidence: The pictures of each result.

    Returns:
        The paths of the files.

    Raises:
        OutputError: If a file cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(folder, error) from error
    files = []
    for result, pictures in zip(results, evidence, strict=True):
        identity = hashlib.sha256(result.path.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        stem = re.sub(r"[^\w.-]", "_", Path(result.path).stem, flags=re.ASCII).lstrip("-.")[:80] or "video"
        # Pictures of an earlier run, possibly of another model, must not remain beside the new ones.
        for earlier in folder.glob(f"{glob.escape(stem)}-{identity}-*.png"):
            earlier.unlink(missing_ok=True)
        for number, heatmap in enumerate(pictures.heatmaps if pictures else (), 1):
            for kind, jpeg in (("frame", heatmap.jpeg), ("overlay", heatmap.overlay_jpeg)):
                stream = io.BytesIO()
                Image.open(io.BytesIO(base64.b64decode(jpeg))).save(stream, "PNG")
                files.append(folder / f"{stem}-{identity}-{number}-{kind}.png")
                write_atomically(files[-1], stream.getvalue())
    return files
