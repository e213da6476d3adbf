# SPDX-License-Identifier: Apache-2.0
"""The Grad-CAM pictures of a report as PNG files."""

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
    Write the worst frames of each video, the tinted picture beside the bare one: `NAME-ID-1-overlay.png` shows the
    worst stretch, ID tells videos of the same name apart.

    Returns:
        The files.

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
        # What an earlier run drew of this video, perhaps by another model, must not stand among today's pictures.
        for earlier in folder.glob(f"{glob.escape(stem)}-{identity}-*.png"):
            earlier.unlink(missing_ok=True)
        for number, heatmap in enumerate(pictures.heatmaps if pictures else (), 1):
            for kind, jpeg in (("frame", heatmap.jpeg), ("overlay", heatmap.overlay_jpeg)):
                stream = io.BytesIO()
                Image.open(io.BytesIO(base64.b64decode(jpeg))).save(stream, "PNG")
                files.append(folder / f"{stem}-{identity}-{number}-{kind}.png")
                write_atomically(files[-1], stream.getvalue())
    return files
