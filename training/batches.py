# SPDX-License-Identifier: Apache-2.0
"""Pairs of a real and a fake clip; a pair depends only on its index and the seed, so a training run can be resumed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from .augmentation import draw_degradation, draw_framing, draw_motion
from .blending import Blend, draw_blend
from .cpu_pairs import compute_pair
from .data import Video
from .errors import TrainingError
from .fakes import FAKE_MAKERS, MANIPULATED, SELF_BLENDED
from .pair_plans import PairPlan, View
from .recipe import Recipe


T = TypeVar("T")
# Kinds of fakes that re-encoded copies contain, and the share of those pairs that is degraded further.
COPIED = (SELF_BLENDED, MANIPULATED)
AFTER_ENCODING = 0.3


class TrainingPairs(Dataset[torch.Tensor]):
    """
    Pair i of a training run: `(2, T, H, W, 3)` uint8, the real clip first.

    If the recipe has a `region_weight`, pixels have a fourth channel: how much of each pixel was altered.

    Every data set is drawn equally often, regardless of its size; so is each method among the fakes of a data set.

    Args:
        videos: Training videos with their cached crops.
        recipe: Recipe of the training.

    Raises:
        TrainingError: If the recipe asks for fakes of the data set, but the videos contain none.
    """

    def __init__(self, videos: Sequence[Video], recipe: Recipe) -> None:
        self.recipe, self.videos = recipe, videos
        self.face_share, self.image_size = recipe.view
        self._reals: dict[str, list[Video]] = defaultdict(list)
        # No lambda: processes that are spawned receive this object by pickle.
        self._fakes: dict[str, dict[str, list[Video]]] = defaultdict(partial(defaultdict, list))
        self._originals: dict[tuple[str, str | None, str], Video] = {}
        for video in videos:
            sample = video.sample
            if sample.is_fake:
                self._fakes[sample.dataset][sample.method or ""].append(video)
            else:
                self._reals[sample.dataset].append(video)
                self._originals[sample.dataset, sample.compression, sample.path.stem] = video
        self.kinds = [kind for kind, share in recipe.fakes.items() if share > 0]
        shares = np.array([recipe.fakes[kind] for kind in self.kinds], float)
        self._shares = shares / shares.sum()
        if MANIPULATED in self.kinds and not any(name in self._reals for name in self._fakes):
            raise TrainingError(
                f'the recipe asks for "{MANIPULATED}" fakes, but no data set contains both fake and real videos.'
            )
        self._find_copies()

    def __len__(self) -> int:
        return self.recipe.num_pairs

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(compute_pair(self.plan(index), self.image_size))

    def plan(self, index: int) -> PairPlan:
        """Draw a pair, without computing its pixels."""
        random = np.random.default_rng([self.recipe.seed, index])
        kind = self.kinds[random.choice(len(self.kinds), p=self._shares)]
        # Without copies nothing is drawn here, so that recipes without them keep their pairs.
        if self.recipe.copy_share and kind in COPIED and random.random() < self.recipe.copy_share:
            return self._draw_copied(kind, random)
        if kind == MANIPULATED:
            return self._draw_manipulated(random)
        video = _draw(_draw(self._reals, random), random)
        frames, landmarks = self._clip(video, random)
        real = self._view(video, frames, landmarks, random)
        if kind == SELF_BLENDED:
            return self._degrade(self._pair(real, draw_blend(random)), random)
        frames, landmarks = real.cut_out(self.image_size)
        real = View(frames=frames, landmarks=landmarks)
        fake = View(frames=FAKE_MAKERS[kind](frames, landmarks, random), landmarks=landmarks)
        return self._degrade(self._pair(real, fake), random)

    def _draw_manipulated(self, random: np.random.Generator) -> PairPlan:
        """A fake of the data set and its original, or else any real video of the data set, at the same moment."""
        dataset = random.choice(sorted(name for name in self._fakes if name in self._reals))
        fake = _draw(_draw(self._fakes[dataset], random), random)
        real = self._original_of(fake)
        position = random.random()
        framing_seed = int(random.integers(2**32))
        if real is None:
            real = _draw(self._reals[dataset], random)
        views = []
        for video in (real, fake):
            frames, landmarks = self._clip(video, random, position)
            framing = np.random.default_rng(framing_seed)
            views.append(self._view(video, frames, landmarks, framing))
        return self._degrade(self._pair(*views), random)

    def _draw_copied(self, kind: str, random: np.random.Generator) -> PairPlan:
        """A pair from one re-encoded copy: a real frame and its self-blended version, or a fake and its original."""
        if kind == SELF_BLENDED:
            real = fake = _draw(_draw(self._copied_reals, random), random)
        else:
            real, fake = _draw(_draw(self._copied_fakes, random), random)
        number = int(random.integers(min(real.crops.num_copies, fake.crops.num_copies)))
        position, framing_seed = random.random(), int(random.integers(2**32))
        views = []
        for video, blended in ((real, False), (fake, kind == SELF_BLENDED)):
            frames, landmarks = video.crops.read_copy(number, position, blended=blended)
            framing = np.random.default_rng(framing_seed)
            views.append(self._view(video, frames, landmarks, framing))
        pair = self._pair(*views)
        if self.recipe.augment and random.random() < AFTER_ENCODING:
            # The copy has been compressed already.
            degradation = replace(draw_degradation(random), jpeg=None, crf=None)
            return pair.degraded(degradation, degradation, random)
        return pair

    def _find_copies(self) -> None:
        """Collect real videos with copies by data set, and fakes with copies beside their originals by method."""
        self._copied_reals: dict[str, list[Video]] = {}
        self._copied_fakes: dict[str, list[tuple[Video, Video]]] = {}
        for name, videos in self._reals.items():
            if copied := [video for video in videos if video.crops.num_copies]:
                self._copied_reals[name] = copied
        for name, methods in self._fakes.items():
            for method, videos in methods.items():
                originals = [(self._original_of(video), video) for video in videos if video.crops.num_copies]
                pairs = [(real, fake) for real, fake in originals if real is not None and real.crops.num_copies]
                if pairs:
                    self._copied_fakes[f"{name} {method}"] = pairs
        for kind, found in ((SELF_BLENDED, self._copied_reals), (MANIPULATED, self._copied_fakes)):
            if self.recipe.copy_share and kind in self.kinds and not found:
                raise TrainingError(f'the recipe asks for re-encoded "{kind}" fakes, but no video has copies.')

    def _original_of(self, fake: Video) -> Video | None:
        """The original of a fake with the same compression; another compression would give the fake away."""
        sample = fake.sample
        return self._originals.get((sample.dataset, sample.compression, sample.original or ""))

    def _clip(
        self, video: Video, random: np.random.Generator, position: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Consecutive cached frames, within one burst if a burst is long enough; a short video repeats its last."""
        indices, wanted = video.crops.frame_indices, self.recipe.clip_frames
        available = len(indices)
        starts = range(max(0, available - wanted) + 1)
        unbroken = [
            s for s in starts if s + wanted <= available and indices[s + wanted - 1] == indices[s] + wanted - 1
        ]
        position = random.random() if position is None else position
        possible = unbroken or starts
        start = possible[int(position * len(possible))]
        frames, landmarks = video.crops.read(start, min(wanted, available))
        missing = wanted - len(frames)
        return _repeat_last(frames, missing), _repeat_last(landmarks, missing)

    def _view(self, video: Video, frames: np.ndarray, landmarks: np.ndarray, random: np.random.Generator) -> View:
        """The view of the network. A camera motion turns a still image into a clip, which must not stand still."""
        crop_size = frames.shape[1]
        share = 1.0 if video.crops.whole else self.face_share
        framing = draw_framing(random, crop_size, share, jitter=self.recipe.augment)
        is_still = len(video.crops.frame_indices) == 1 < len(frames)
        framings = draw_motion(random, framing, len(frames), crop_size) if is_still else [framing]
        return View(frames=frames, landmarks=landmarks, framings=tuple(framings))

    def _pair(self, real: View, fake: View | Blend) -> PairPlan:
        return PairPlan(real=real, fake=fake, has_region=bool(self.recipe.region_weight))

    def _degrade(self, pair: PairPlan, random: np.random.Generator) -> PairPlan:
        """Degrade both clips, in half of the pairs in the same way."""
        if not self.recipe.augment:
            return pair
        first = draw_degradation(random)
        second = first if random.random() < 0.5 else draw_degradation(random)
        return pair.degraded(first, second, random)


def _draw(items: "Mapping[str, T] | Sequence[T]", random: np.random.Generator) -> T:
    """An element of a list, or a value of a dictionary, uniformly at random."""
    values = list(items.values()) if isinstance(items, Mapping) else items
    return values[int(random.integers(len(values)))]


def _repeat_last(array: np.ndarray, times: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], times, 0)]) if times > 0 else array
