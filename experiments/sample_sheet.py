# SPDX-License-Identifier: Apache-2.0
"""What a training sees, as a picture: `python -m deepfake_video.training.sample_sheet FACE ... --output sheet.png`.

Pairs as `deepfake-video train` draws them: the real face, the fake made of it, four times their difference, and both
again as the network gets them, degraded.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..evaluation.samples import IMAGE_EXTENSIONS, Sample
from .augmentation import degrade_clip, draw_degradation
from .batches import TrainingPairs
from .command import exit_code
from .data import load_videos
from .recipe import SELF_BLENDED, Recipe


_PAIRS_A_LINE, _GAP = 2, 4


def draw_sheet(faces: Sequence[Path], recipe: Recipe, lines: int) -> Image.Image:
    """
    Pairs of self-blended faces, two a line.

    Args:
        faces: Pictures or videos of real faces.
        recipe: Whose pairs are drawn; the first frame of each clip is shown.
        lines: Of the sheet.

    Raises:
        ValueError: If a file is neither, or a video shows no face.
    """
    samples = [
        Sample(
            key=path.name,
            path=path,
            is_fake=False,
            dataset="faces",
            images=(path,) if path.suffix.lower() in IMAGE_EXTENSIONS else (),
        )
        for path in faces
    ]
    number = lines * _PAIRS_A_LINE
    with tempfile.TemporaryDirectory() as folder:
        videos = load_videos(samples, recipe.crop_settings(), Path(folder), workers=1)
        recipe = replace(recipe, fakes={SELF_BLENDED: 1.0}, region_weight=0.0, augment=False, steps=number)
        pairs = TrainingPairs(videos, recipe)
        strips = [_draw_pair(pairs[i][:, :1].numpy(), np.random.default_rng(i)) for i in range(number)]
    rows = [np.concatenate(strips[i : i + _PAIRS_A_LINE], 1) for i in range(0, number, _PAIRS_A_LINE)]
    return Image.fromarray(np.concatenate(rows))


def _draw_pair(pair: np.ndarray, random: np.random.Generator) -> np.ndarray:
    real, fake = pair
    difference = np.clip(np.abs(fake.astype(int) - real) * 4, 0, 255).astype(np.uint8)
    degradation = draw_degradation(random)
    degraded = [degrade_clip(clip, degradation, random) for clip in (real, fake)]
    strip = np.concatenate([clip[0] for clip in (real, fake, difference, *degraded)], 1)
    return np.pad(strip, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deepfake_video.training.sample_sheet", description=__doc__)
    parser.add_argument("faces", nargs="+", type=Path, help="pictures or videos of real faces")
    parser.add_argument("--output", required=True, type=Path, help="the picture that is written")
    parser.add_argument("--recipe", default="default", help="as of `deepfake-video train`")
    parser.add_argument("--lines", type=int, default=4, help="of two pairs each (default: 4)")
    arguments = parser.parse_args(argv)

    def draw() -> None:
        draw_sheet(arguments.faces, Recipe.read(arguments.recipe), arguments.lines).save(arguments.output)

    return exit_code(draw)


if __name__ == "__main__":
    sys.exit(main())
