# SPDX-License-Identifier: Apache-2.0
"""Other ways of making a fake of a real frame, which the ablation adds to the recipe."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from chain_data import FACES
from scipy.spatial import ConvexHull

from deepfake_video.training.augmentation import Framing, draw_framing, frame_clip, frame_points
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.blending import BLEND_RATIOS, blend_clip, draw_blend
from deepfake_video.training.clip_operations import transform
from deepfake_video.training.colors import draw_color_shift, shift_colors
from deepfake_video.training.data import Video
from deepfake_video.training.pair_plans import PairPlan, View
from deepfake_video.training.recipe import Recipe


CROSS_BLENDED, TIME_SHIFTED, CURRICULUM, TRUE_SHAPE = "cross-blended", "time-shifted", "curriculum", "true shape"
# Other people among whom the one with the most similar landmarks is taken, and the largest distance in cached frames.
NUM_CANDIDATES, LARGEST_SHIFT = 24, 3
# Strength of the artefacts at the start and at the end of the curriculum; 1 is that of the recipe.
STRONG, WEAK = 2.0, 0.5
# Landmarks with which the coordinates of an outline are pixels: the middle of the eyes is the origin.
PIXELS = np.array([[[-0.5, 0.0], [0.5, 0.0], [0.0, 0.5], [-0.5, 1.0], [0.5, 1.0]]])
# Parts of the mesh that make up a region, of which the convex hull is taken, with the relative frequencies of the
# outlines of the recipe. LOWER_OVAL is the outline of the face below the eyes, CHEEKS below the middle of the nose.
LOWER_OVAL, CHEEKS = "lower oval", "cheeks"
REGIONS = {
    (LOWER_OVAL, "lbrow", "rbrow"): 0.4,
    ("oval",): 0.2,
    (CHEEKS, "lips"): 0.15,
    ("leye", "reye", "lbrow", "rbrow", "nose", "lips"): 0.15,
    ("lips",): 0.1,
}


@dataclass(frozen=True, kw_only=True)
class SourceView:
    """
    The view of a network of one cached crop.

    Attributes:
        video: The video.
        at: Index of the crop.
        framing: Framing of the view.
        frames: The view (1, S, S, 3) uint8.
        landmarks: Its landmarks (1, 5, 2) in pixels, NaN where unknown.
        part: Part of the training that lies before the pair, in [0, 1).
    """

    video: Video
    at: int
    framing: Framing
    frames: np.ndarray
    landmarks: np.ndarray
    part: float


class BlendedPairs(TrainingPairs):
    """Pairs (2, 1, S, S, 3) uint8 of a real frame and a fake that `make` makes of it."""

    def __init__(self, videos: Sequence[Video], recipe: Recipe) -> None:
        super().__init__(videos, recipe)
        self._possible: dict[str, list[Video]] = defaultdict(list)
        for video in videos:
            if not video.sample.is_fake and self.can_use(video):
                self._possible[video.sample.dataset].append(video)

    def can_use(self, video: Video) -> bool:
        """Whether fakes can be made of a video."""
        return True

    def make(self, view: SourceView, random: np.random.Generator) -> np.ndarray:
        """Make a fake (1, S, S, 3) uint8 of a view."""
        raise NotImplementedError

    def plan(self, index: int) -> PairPlan:
        """Draw a pair; the pixels of its fake are computed here."""
        random = np.random.default_rng([self.recipe.seed, index])
        videos = self._possible[sorted(self._possible)[random.integers(len(self._possible))]]
        video = videos[random.integers(len(videos))]
        at = int(random.integers(len(video.crops.frame_indices)))
        crop, landmarks = video.crops.read(at, 1)
        framing = draw_framing(random, crop.shape[1], self.face_share, jitter=True)
        frames, points = frame_clip(crop, landmarks, framing, self.image_size)
        part = index / self.recipe.num_pairs
        view = SourceView(video=video, at=at, framing=framing, frames=frames, landmarks=points, part=part)
        real, fake = (View(frames=clip, landmarks=points) for clip in (frames, self.make(view, random)))
        return self._degrade(self._pair(real, fake), random)


class CurriculumPairs(BlendedPairs):
    """Self-blended faces whose artefacts become weaker in the course of the training."""

    def make(self, view: SourceView, random: np.random.Generator) -> np.ndarray:
        """Self-blend with the strength of this part of the training."""
        factor = STRONG + (WEAK - STRONG) * view.part
        drawn = draw_blend(random)
        opacity = (1 - view.part) + view.part * float(random.choice(BLEND_RATIOS))
        blend = replace(
            drawn,
            ratio=opacity,
            shift=(drawn.shift[0] * factor, drawn.shift[1] * factor),
            scale=1 + (drawn.scale - 1) * factor,
            colors=draw_color_shift(random, factor),
        )
        return blend_clip(view.frames, view.landmarks, blend)[0]


class DonorPairs(BlendedPairs):
    """Faces that are replaced by the face of another frame, aligned by landmarks; subclasses choose the frame."""

    def __init__(self, videos: Sequence[Video], recipe: Recipe) -> None:
        self._landmarks: dict[Path, np.ndarray] = {}
        super().__init__(videos, recipe)

    def can_use(self, video: Video) -> bool:
        """Whether the landmarks are known in every frame."""
        if np.isfinite(landmarks := video.crops.read(0, len(video.crops.frame_indices))[1]).all():
            self._landmarks[video.crops.path] = landmarks
        return video.crops.path in self._landmarks

    def choose(self, view: SourceView, random: np.random.Generator) -> tuple[Video, int]:
        """Choose the video and the crop whose face is inserted."""
        raise NotImplementedError

    def make(self, view: SourceView, random: np.random.Generator) -> np.ndarray:
        """Insert the face of the chosen frame, with colours between its own and those of the view."""
        video, at = self.choose(view, random)
        donor, points = frame_clip(*video.crops.read(at, 1), view.framing, self.image_size)
        matrix = fit_similarity(view.landmarks[0], points[0])
        donor = transform(donor, matrix, view.frames, (0, 0, self.image_size, self.image_size))
        blend = draw_blend(random)
        opacity = blend_clip(view.frames, view.landmarks, blend)[1][..., None] / np.float32(255)
        donor = match_colors(donor, view.frames, opacity, float(random.uniform(0.5, 1.0)))
        donor = shift_colors(donor, draw_color_shift(random, 0.5))
        return np.rint(view.frames + opacity * (donor.astype(np.float32) - view.frames)).astype(np.uint8)


class CrossBlendedPairs(DonorPairs):
    """Faces with the face of another person, whose landmarks are the most similar of a random selection."""

    def choose(self, view: SourceView, random: np.random.Generator) -> tuple[Video, int]:
        """The most similar of some random crops of other people of the same data set."""
        sample, candidates = view.video.sample, []
        videos = self._possible[sample.dataset]
        for number in random.integers(len(videos), size=NUM_CANDIDATES):
            video = videos[number]
            own = video.crops.path == view.video.crops.path or set(video.sample.identities) & set(sample.identities)
            if not own:
                at = int(random.integers(len(video.crops.frame_indices)))
                candidates.append((video, at))
        if not candidates:
            return view.video, view.at
        return min(candidates, key=lambda found: self._distance(view, *found))

    def _distance(self, view: SourceView, video: Video, at: int) -> float:
        """Mean distance in pixels between the landmarks of two faces after a similarity transformation."""
        points = self._landmarks[video.crops.path][at]
        if view.framing.mirrored:
            points = points[[1, 0, 2, 4, 3]] * (-1, 1)
        a, b, c, d, e, f = fit_similarity(points, view.landmarks[0])
        return float(np.linalg.norm(points @ [[a, d], [b, e]] + (c, f) - view.landmarks[0], axis=1).mean())


class TimeShiftedPairs(DonorPairs):
    """Faces with the face of the same person a moment earlier or later."""

    def can_use(self, video: Video) -> bool:
        """Whether it is a video with known landmarks."""
        return video.sample.dataset != FACES and super().can_use(video)

    def choose(self, view: SourceView, random: np.random.Generator) -> tuple[Video, int]:
        """A neighbouring crop of the same video."""
        step = int(random.integers(1, LARGEST_SHIFT + 1)) * int(random.choice([-1, 1]))
        return view.video, int(np.clip(view.at + step, 0, len(view.video.crops.frame_indices) - 1))


class TrueShapePairs(BlendedPairs):
    """
    Self-blended faces with masks in the true shape of the face, from face-mesh landmarks.

    `gpu_training/crop_meshes.py` writes the meshes into the folder `meshes` beside that of the crops.
    """

    def __init__(self, videos: Sequence[Video], recipe: Recipe) -> None:
        self._meshes = videos[0].crops.path.parents[2] / "meshes"
        spans = json.loads((self._meshes / "regions.json").read_text())
        self._spans = {name: np.arange(*span) for name, span in spans.items()}
        super().__init__(videos, recipe)

    def can_use(self, video: Video) -> bool:
        """Whether the mesh is known in every frame."""
        path = self._mesh_path(video)
        return path.exists() and bool(np.isfinite(np.load(path)).all())

    def make(self, view: SourceView, random: np.random.Generator) -> np.ndarray:
        """Self-blend a region of the mesh, with the jitter and the deformation of the recipe's outlines."""
        mesh = frame_points(np.load(self._mesh_path(view.video))[view.at][None], view.framing, self.image_size)[0]
        shares = np.array(list(REGIONS.values()))
        parts = list(REGIONS)[random.choice(len(REGIONS), p=shares / shares.sum())]
        points = np.concatenate([self._points(mesh, part) for part in parts])
        outline = points[ConvexHull(points).vertices]
        middle, unit = outline.mean(0), np.linalg.norm(np.diff(view.landmarks[0, :2], axis=0))
        unit = unit if np.isfinite(unit) else 0.25 * self.image_size
        outline = middle + (outline - middle) * random.uniform(0.9, 1.15, 2)
        outline = outline + random.normal(0, 0.03 * unit, outline.shape)
        return blend_clip(view.frames, PIXELS, replace(draw_blend(random), outline=outline))[0]

    def _mesh_path(self, video: Video) -> Path:
        return self._meshes / f"{video.crops.path.stem}.npy"

    def _points(self, mesh: np.ndarray, part: str) -> np.ndarray:
        """The points (N, 2) of a part of a mesh (P, 2)."""
        if part not in (LOWER_OVAL, CHEEKS):
            return mesh[self._spans[part]]
        oval = mesh[self._spans["oval"]]
        eyes = mesh[np.concatenate([self._spans["leye"], self._spans["reye"]])].mean(0)
        down = mesh[self._spans["lips"]].mean(0) - eyes
        height = (oval - eyes) @ down / (down @ down)
        return oval[height > (0.0 if part == LOWER_OVAL else 0.3)]


def fit_similarity(points: np.ndarray, others: np.ndarray) -> tuple[float, ...]:
    """
    Fit the similarity transformation (rotation, scale, shift) that maps points to others with the least square error.

    Args:
        points: Points (N, 2).
        others: Points (N, 2).

    Returns:
        (a, b, c, d, e, f): (x, y) becomes (a x + b y + c, d x + e y + f).
    """
    first, second = (p[:, 0] + 1j * p[:, 1] for p in (np.float64(points), np.float64(others)))
    start, end = first.mean(), second.mean()
    factor = np.vdot(first - start, second - end) / np.vdot(first - start, first - start)
    shift = end - factor * start
    return (*map(float, (factor.real, -factor.imag, shift.real, factor.imag, factor.real, shift.imag)),)


def match_colors(donor: np.ndarray, target: np.ndarray, opacity: np.ndarray, share: float) -> np.ndarray:
    """
    Move mean and standard deviation of each channel towards those of the target, inside the mask.

    Args:
        donor: Frames (T, S, S, 3) uint8.
        target: Frames (T, S, S, 3) uint8.
        opacity: Mask (T, S, S, 1) in [0, 1].
        share: 0 keeps the colours of the donor, 1 gives those of the target.

    Returns:
        Frames (T, S, S, 3) uint8.
    """
    weights = opacity / max(float(opacity.sum()), 1e-6)
    donor, target = np.float32(donor), np.float32(target)
    (own, own_spread), (wanted, wanted_spread) = (_moments(frames, weights) for frames in (donor, target))
    matched = (donor - own) * (wanted_spread + 1) / (own_spread + 1) + wanted
    return np.asarray(np.clip(np.rint(donor + share * (matched - donor)), 0, 255).astype(np.uint8))


def _moments(frames: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = (frames * weights).sum((0, 1, 2))
    return mean, np.sqrt(((frames - mean) ** 2 * weights).sum((0, 1, 2)))


# Kind of fake -> its pairs.
OTHER_PAIRS: dict[str, type[BlendedPairs]] = {
    CROSS_BLENDED: CrossBlendedPairs,
    TIME_SHIFTED: TimeShiftedPairs,
    CURRICULUM: CurriculumPairs,
    TRUE_SHAPE: TrueShapePairs,
}
