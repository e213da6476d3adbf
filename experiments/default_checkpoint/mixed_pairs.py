# SPDX-License-Identifier: Apache-2.0
"""Pairs of a real and a fake crop: made on the fly or read from re-encoded copies, in given proportions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from chain_data import CROP_MARGIN, CROP_SIZE, FACEFORENSICS, VIEW_MARGIN, copy_path
from other_blends import OTHER_PAIRS
from safetensors import safe_open
from torch.utils.data import Dataset

from deepfake_video.evaluation.samples import Sample
from deepfake_video.training.augmentation import (
    degrade_clip,
    draw_degradation,
    draw_framing,
    draw_noise_seed,
    frame_clip,
)
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.data import Video
from deepfake_video.training.fakes import MANIPULATED, SELF_BLENDED
from deepfake_video.training.recipe import Recipe


SELF_BLENDED_COPY, MANIPULATED_COPY = "self-blended copy", "manipulated copy"
MAX_COPIES = 9
# Share of the pairs from copies that is degraded further, mildly, because they are compressed already.
DEGRADED_SHARE, LEAST_QUALITY, LEAST_SCALE = 0.3, 60, 0.6


def make_recipe(*, size: int, pairs: int, steps: int, **changes: object) -> Recipe:
    """The recipe of the pairs, with views of `size` pixels; its preset does not determine the trained network."""
    values: dict[str, object] = {
        "preset": "efficientnet-b0-frames",
        "config": {"image_size": size, "num_frames": 20},
        "processor": {"face_margin": VIEW_MARGIN},
        "crop_size": CROP_SIZE,
        "crop_margin": CROP_MARGIN,
        "cached_frames": 32,
        "batch_pairs": pairs,
        "steps": steps,
        "search_images": False,
    }
    return Recipe(**{**values, **changes})  # type: ignore[arg-type]


class MixedPairs(Dataset[torch.Tensor]):
    """
    Pair i of a training run: (2, S, S, 3) uint8, the real crop first. A pair depends only on its index and the seed.

    Args:
        videos: Training videos with their cached crops.
        work: Folder of the copies.
        recipe: Recipe of the pairs; its `fakes` are not used.
        mix: Relative frequency of each kind of pair. The order of the kinds matters to the random draws.
    """

    def __init__(self, videos: Sequence[Video], work: Path, recipe: Recipe, mix: Mapping[str, float]) -> None:
        self.recipe, self._kinds, self._size = recipe, list(mix), recipe.view[1]
        self._shares = np.array(list(mix.values())) / sum(mix.values())
        self._drawn: dict[str, TrainingPairs] = {
            kind: TrainingPairs(videos, replace(recipe, fakes={kind: 1.0})) for kind in (SELF_BLENDED, MANIPULATED)
        }
        self._drawn |= {kind: pairs(videos, recipe) for kind, pairs in OTHER_PAIRS.items() if kind in mix}
        blended: dict[str, list[Path]] = defaultdict(list)
        for sample in sorted((video.sample for video in videos if not video.sample.is_fake), key=lambda s: s.key):
            paths = (copy_path(work, sample, "sb", number) for number in range(MAX_COPIES))
            blended[sample.dataset] += [path for path in paths if path.exists()]
        self._blended = [paths for _, paths in sorted(blended.items()) if paths]
        self._manipulated = _find_manipulated([video.sample for video in videos], work)

    def __len__(self) -> int:
        return self.recipe.num_pairs

    def __getitem__(self, index: int) -> torch.Tensor:
        random = np.random.default_rng([self.recipe.seed, index])
        kind = self._kinds[random.choice(len(self._kinds), p=self._shares)]
        if kind in self._drawn:
            return self._drawn[kind][index][:, 0]
        real, fake = self._read_blended(random) if kind == SELF_BLENDED_COPY else self._read_manipulated(random)
        framing = draw_framing(random, real.shape[1], VIEW_MARGIN / CROP_MARGIN, jitter=True)
        unknown = np.zeros((1, 5, 2), np.float32)
        pair = [frame_clip(frames, unknown, framing, self._size)[0] for frames in (real, fake)]
        if random.random() < DEGRADED_SHARE:
            drawn = draw_degradation(random)
            quality = None if drawn.jpeg is None else max(drawn.jpeg, LEAST_QUALITY)
            mild = replace(drawn, crf=None, jpeg=quality, scale=max(drawn.scale, LEAST_SCALE))
            pair = [degrade_clip(frames, mild, draw_noise_seed(mild, random)) for frames in pair]
        return torch.from_numpy(np.concatenate(pair))

    def describe(self) -> str:
        """Number of copies by data set and of copied pairs by method."""
        methods = {method: len(pairs) for method, pairs in self._manipulated.items()}
        return f"self-blended copies {[len(paths) for paths in self._blended]}, manipulated copies {methods}"

    def _read_blended(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The same frame of a copy and of its self-blended version."""
        paths = self._blended[random.integers(len(self._blended))]
        with safe_open(paths[random.integers(len(paths))], "np") as file:
            frames = file.get_slice("frames")
            at = int(random.integers(frames.get_shape()[0]))
            return frames[at : at + 1], file.get_slice("fake")[at : at + 1]

    def _read_manipulated(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A frame of a copied fake, and one at the same position in the copy of its original."""
        pairs = self._manipulated[sorted(self._manipulated)[random.integers(len(self._manipulated))]]
        original, fake = pairs[random.integers(len(pairs))]
        position = random.random()
        return _read_at(original, position), _read_at(fake, position)


def _find_manipulated(samples: Sequence[Sample], work: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Copies of an original and of its fake with the same encoding, by method."""
    found: dict[str, list[tuple[Path, Path]]] = defaultdict(list)
    real = {sample.path.stem: sample for sample in reversed(samples) if not sample.is_fake}
    real = {stem: sample for stem, sample in real.items() if sample.dataset == FACEFORENSICS}
    for sample in samples:
        original = real.get(sample.original or "")
        if not sample.is_fake or sample.dataset != FACEFORENSICS or original is None:
            continue
        for number in range(MAX_COPIES):
            pair = copy_path(work, original, "re", number), copy_path(work, sample, "re", number)
            if all(path.exists() for path in pair):
                found[sample.method or ""].append(pair)
    return dict(found)


def _read_at(path: Path, position: float) -> np.ndarray:
    with safe_open(path, "np") as file:
        frames = file.get_slice("frames")
        at = int(position * frames.get_shape()[0])
        return frames[at : at + 1]
