# SPDX-License-Identifier: Apache-2.0
"""Pairs of a real and a fake clip, each drawn from nothing but its number: a training that stops goes on the same."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from ..image_processing_deepfake import DeepfakeVideoProcessor
from .augmentation import degrade_clip, draw_degradation, draw_framing, draw_motion, frame_clip
from .blending import blend_clip, draw_blend, usual_region
from .copies import KEPT
from .data import Video
from .faults import LONG, make_faulty, permute, stall
from .recipe import FAULTY, MANIPULATED, SELF_BLENDED, STALLED, Recipe, TrainingError


T = TypeVar("T")
# Kinds of fakes that re-encoded copies hold, and the share of those pairs that is degraded further.
COPIED = (SELF_BLENDED, MANIPULATED)
AFTER_ENCODING = 0.3


class TrainingPairs(Dataset[torch.Tensor]):
    """
    Pair number i of a training: `(2, T, H, W, 3)` uint8, the real clip first. Of a recipe with a `region_weight`, the
    pixels have a fourth value: how much of another picture was put there.

    Each data set is drawn as often as any other, however many videos it holds; so is each method within its fakes.

    Args:
        videos: What is trained on.
        recipe: How.

    Raises:
        TrainingError: If the recipe asks for the fakes of data that hold none.
    """

    def __init__(self, videos: Sequence[Video], recipe: Recipe) -> None:
        self.recipe, self.videos = recipe, videos
        self.face_share, self.image_size = recipe.view
        self._reals: dict[str, list[Video]] = defaultdict(list)
        # No lambda: where processes are spawned, they get this by pickle.
        self._fakes: dict[str, dict[str, list[Video]]] = defaultdict(partial(defaultdict, list))
        self._originals: dict[tuple[str, str | None, str], Video] = {}
        for video in videos:
            sample = video.sample
            if sample.is_fake:
                self._fakes[sample.dataset][sample.method or ""].append(video)
            else:
                self._reals[sample.dataset].append(video)
                for name in {sample.key, sample.path.stem, sample.path.name}:
                    self._originals[sample.dataset, sample.compression, name] = video
        self.kinds = [kind for kind, share in recipe.fakes.items() if share > 0]
        shares = np.array([recipe.fakes[kind] for kind in self.kinds], float)
        self._shares = shares / shares.sum()
        if MANIPULATED in self.kinds and not any(name in self._reals for name in self._fakes):
            raise TrainingError(
                f'the recipe asks for "{MANIPULATED}" fakes, but no data set here holds both fakes and real videos.'
            )
        self._find_copies()

    def __len__(self) -> int:
        return self.recipe.num_pairs

    def __getitem__(self, index: int) -> torch.Tensor:
        random = np.random.default_rng([self.recipe.seed, index])
        kind = self.kinds[random.choice(len(self.kinds), p=self._shares)]
        # Nothing is drawn where there are no copies, so that recipes without them keep their pairs.
        if self.recipe.copy_share and kind in COPIED and random.random() < self.recipe.copy_share:
            return self._copied(kind, random)
        if kind == MANIPULATED:
            return self._manipulated(random)
        video = _draw(_draw(self._reals, random), random)
        frames, landmarks = self._clip(video, random)
        frames, landmarks = self._frame(frames, landmarks, random, is_still=self._is_still(video))
        region = None
        if kind == SELF_BLENDED:
            fake, region = blend_clip(frames, landmarks, draw_blend(random))
        elif kind == FAULTY:
            fake = make_faulty(frames, landmarks, random)
        elif kind == STALLED:
            fake = stall(frames, random, skips=bool(random.random() < 0.5), shares=LONG)
        else:
            fake = permute(frames, random)
        return self._finish(frames, fake, region, random)

    def _manipulated(self, random: np.random.Generator) -> torch.Tensor:
        """A fake of the data and the video it was made from, at the same moment; or any real one of the data set."""
        dataset = random.choice(sorted(name for name in self._fakes if name in self._reals))
        fake = _draw(_draw(self._fakes[dataset], random), random)
        real = self._original_of(fake)
        position = random.random()
        framing_seed = int(random.integers(2**32))
        if real is None:
            real = _draw(self._reals[dataset], random)
        clips = []
        for video in (real, fake):
            frames, landmarks = self._clip(video, random, position)
            framing = np.random.default_rng(framing_seed)
            clips.append(self._frame(frames, landmarks, framing, is_still=self._is_still(video)))
        region = usual_region(*clips[1]) if self.recipe.region_weight else None
        return self._finish(clips[0][0], clips[1][0], region, random)

    def _copied(self, kind: str, random: np.random.Generator) -> torch.Tensor:
        """A pair from one re-encoded copy: a real frame and its self-blended version, or a fake and its original."""
        if kind == SELF_BLENDED:
            real = fake = _draw(_draw(self._copied_reals, random), random)
        else:
            real, fake = _draw(_draw(self._copied_fakes, random), random)
        number = int(random.integers(min(real.crops.num_copies, fake.crops.num_copies)))
        position, framing_seed = random.random(), int(random.integers(2**32))
        clips = []
        for video, blended in ((real, False), (fake, kind == SELF_BLENDED)):
            frames, landmarks = video.crops.read_copy(number, position, blended=blended)
            framing = np.random.default_rng(framing_seed)
            clips.append(self._frame(frames, landmarks, framing, is_still=False)[0])
        if self.recipe.augment and random.random() < AFTER_ENCODING:
            # The codec has been at work already.
            degradation = replace(draw_degradation(random), jpeg=None, crf=None)
            clips = [degrade_clip(clip, degradation, random) for clip in clips]
        return torch.from_numpy(np.stack(clips))

    def _find_copies(self) -> None:
        """Real videos with copies by data set, and fakes with copies beside their originals by method."""
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
                raise TrainingError(f'the recipe asks for re-encoded "{kind}" fakes, but no video here has copies.')

    def _original_of(self, fake: Video) -> Video | None:
        """The video that a fake was made from, of the same compression, or that would tell them apart."""
        sample = fake.sample
        return self._originals.get((sample.dataset, sample.compression, sample.original or ""))

    def _is_still(self, video: Video) -> bool:
        return len(video.crops.frame_indices) == 1 < self.recipe.clip_frames

    def _clip(
        self, video: Video, random: np.random.Generator, position: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Consecutive cached frames, of one burst where that holds enough; a video with fewer repeats its last one."""
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

    def _frame(
        self, frames: np.ndarray, landmarks: np.ndarray, random: np.random.Generator, *, is_still: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the network sees them; a still picture of which a clip is wanted moves, or time would mean nothing."""
        crop_size = frames.shape[1]
        framing = draw_framing(random, crop_size, self.face_share, jitter=self.recipe.augment)
        if is_still:
            framings = draw_motion(random, framing, len(frames), crop_size)
            views = [
                frame_clip(frames[i : i + 1], landmarks[i : i + 1], seen, self.image_size)
                for i, seen in enumerate(framings)
            ]
            return np.concatenate([view for view, _ in views]), np.concatenate([points for _, points in views])
        return frame_clip(frames, landmarks, framing, self.image_size)

    def _finish(
        self, real: np.ndarray, fake: np.ndarray, region: np.ndarray | None, random: np.random.Generator
    ) -> torch.Tensor:
        """Both through the same degradation, half of the time; else each through one of its own."""
        if self.recipe.augment:
            first = draw_degradation(random)
            second = first if random.random() < 0.5 else draw_degradation(random)
            real, fake = degrade_clip(real, first, random), degrade_clip(fake, second, random)
        pair = np.stack([real, fake])
        if self.recipe.region_weight:
            assert region is not None  # the recipe has seen to that
            altered = np.stack([np.zeros_like(region), region])
            pair = np.concatenate([pair, altered[..., None]], -1)
        return torch.from_numpy(pair)


def to_pixel_values(frames: torch.Tensor, processor: DeepfakeVideoProcessor) -> torch.Tensor:
    """Clips `(B, T, H, W, 3)` uint8 of the network's size, normalised as its processor does: `(B, T, 3, H, W)`."""
    mean = torch.tensor(processor.image_mean, device=frames.device)
    std = torch.tensor(processor.image_std, device=frames.device)
    values = (frames / 255 - mean) / std
    return (values.flip(-1) if processor.channel_order == "bgr" else values).permute(0, 1, 4, 2, 3)


def validation_clip(video: Video, recipe: Recipe, num_frames: int, copy: int | None = None) -> torch.Tensor:
    """
    The clip `(T, H, W, 3)` uint8 on which a video is validated: frames spread over it, or its first bursts.

    Args:
        video: What is judged.
        recipe: How it is trained.
        num_frames: Of the clip, at most.
        copy: The re-encoded copy that is taken in place of the video.
    """
    available = len(video.crops.frame_indices)
    if copy is not None:
        count = min(num_frames, KEPT)
        parts = [video.crops.read_copy(copy, position) for position in np.linspace(0, 1, count)]
        frames, landmarks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    elif recipe.burst_length > 1:
        frames, landmarks = video.crops.read(0, min(num_frames, available))
    else:
        frames, landmarks = video.crops.read(0, available)
        kept = np.unique(np.linspace(0, available - 1, num_frames).round().astype(int))
        frames, landmarks = frames[kept], landmarks[kept]
    share, image_size = recipe.view
    framing = draw_framing(np.random.default_rng(0), frames.shape[1], share, jitter=False)
    return torch.from_numpy(frame_clip(frames, landmarks, framing, image_size)[0])


def _draw(items: "Mapping[str, T] | Sequence[T]", random: np.random.Generator) -> T:
    """One of a list, or one of the values of a dictionary, by equal chances."""
    values = list(items.values()) if isinstance(items, Mapping) else items
    return values[int(random.integers(len(values)))]


def _repeat_last(array: np.ndarray, times: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], times, 0)]) if times > 0 else array
