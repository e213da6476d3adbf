# SPDX-License-Identifier: Apache-2.0
"""
Draw training pairs as an image: `python experiments/sample_sheet.py FACE ... --output sheet.png`.

Each pair shows the real face, the self-blended face, four times their difference, and both faces degraded, as the
network receives them.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.evaluation.samples import IMAGE_EXTENSIONS, Sample
from deepfake_video.training.augmentation import degrade_clip, draw_degradation, draw_noise_seed
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.data import load_videos
from deepfake_video.training.fakes import SELF_BLENDED
from deepfake_video.training.recipe import Recipe


_PAIRS_A_LINE, _GAP = 2, 4


def draw_sheet(faces: Sequence[Path], recipe: Recipe, lines: int) -> Image.Image:
    """
    Draw pairs of real and self-blended faces, two in a line.

    Args:
        faces: Images or videos of real faces.
        recipe: Recipe of the pairs; the first frame of each clip is shown.
        lines: Number of lines.

    Raises:
        TrainingFailedError: If a file is neither an image nor a video, or shows no face.
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
    degraded = [degrade_clip(clip, degradation, draw_noise_seed(degradation, random)) for clip in (real, fake)]
    strip = np.concatenate([clip[0] for clip in (real, fake, difference, *degraded)], 1)
    return np.pad(strip, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", nargs="+", type=Path, help="images or videos of real faces")
    parser.add_argument("--output", required=True, type=Path, help="image file to write")
    parser.add_argument("--recipe", default="default", help="as for `deepfake-video train`")
    parser.add_argument("--lines", type=int, default=4, help="number of lines, with two pairs each (default: 4)")
    arguments = parser.parse_args(argv)

    def draw() -> int:
        draw_sheet(arguments.faces, Recipe.read(arguments.recipe), arguments.lines).save(arguments.output)
        return OK

    return run_command(draw)


if __name__ == "__main__":
    sys.exit(main())
