# SPDX-License-Identifier: Apache-2.0
"""
Computes the pixels of a batch of training pairs on the device of the network.

Worker processes read the crops and draw the plans (`pack_pairs`); the device does the rest (`DevicePairs`). The pixels
differ from those of `cpu_pairs` by less than a level on average, because intermediate results are rounded differently,
and by a few levels after H.264, because small differences in the input change the encoder's decisions.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
import torch

from .augmentation import Degradation, Framing, through_h264
from .blending import Blend, fill_outlines, usual_region
from .device_blending import blend_images
from .device_degradation import degrade_clips
from .device_operations import frame_images, to_frames, to_images
from .pair_plans import PairPlan, View


@dataclass(frozen=True, kw_only=True)
class PackedPairs:
    """
    The plans of a batch of P pairs of T frames, with their pixels in a few tensors.

    Attributes:
        crops: Crops (M, T, S, S, 3) uint8 that are to be framed.
        framings: Framings of each crop, T for each of the M clips.
        framed: Clips (K, T, size, size, 3) uint8 that have been framed already.
        clips: Rows (P, 2) of the real clip and of the fake one, or of the one to be blended, in `crops` followed by
            `framed`.
        blends: Blend of each pair; `None` if its fake is not self-blended.
        outlines: Filled outlines (B, T, size, size) uint8 of the B pairs with a blend.
        degradations, noise_seeds: Those of all clips, (2 P), the real one of each pair first.
        regions: Altered regions (P, T, size, size) uint8, black for pairs with a blend; `None` if they are not used.
    """

    crops: torch.Tensor
    framings: list[Framing]
    framed: torch.Tensor
    clips: torch.Tensor
    blends: list[Blend | None]
    outlines: torch.Tensor
    degradations: list[Degradation]
    noise_seeds: list[int]
    regions: torch.Tensor | None

    def pin_memory(self) -> "PackedPairs":
        """Move the pixels to memory that a GPU can read; a `DataLoader` calls this."""
        regions = None if self.regions is None else self.regions.pin_memory()
        tensors = {name: getattr(self, name).pin_memory() for name in ("crops", "framed", "outlines")}
        return replace(self, **tensors, regions=regions)


def pack_pairs(plans: Sequence[PairPlan], size: int) -> PackedPairs:
    """
    Pack the plans of a batch.

    Args:
        plans: Plans whose clips have the same number of frames.
        size: Side of the frames of the pairs in pixels.
    """
    views: list[View] = []
    rows: list[list[View]] = []
    outlines, regions = [], []
    for plan in plans:
        fake = plan.real if isinstance(plan.fake, Blend) else plan.fake
        rows.append([plan.real, fake])
        views += [plan.real] if fake is plan.real else [plan.real, fake]
        landmarks = fake.place_landmarks(size)
        if isinstance(plan.fake, Blend):
            outlines.append(fill_outlines(plan.fake.outline, landmarks, size))
        if plan.has_region:
            blank = np.zeros((len(landmarks), size, size), np.uint8)
            regions.append(blank if isinstance(plan.fake, Blend) else usual_region(landmarks, size))
    views.sort(key=lambda view: not view.framings)  # a stable sort: those to be framed come first
    places = {id(view): row for row, view in enumerate(views)}
    num_frames = len(plans[0].real.frames)
    to_frame = [view for view in views if view.framings]
    return PackedPairs(
        crops=_stack([view.frames for view in to_frame], num_frames, size),
        framings=[f for view in to_frame for f in view.framings * (num_frames // len(view.framings))],
        framed=_stack([view.frames for view in views if not view.framings], num_frames, size),
        clips=torch.tensor([[places[id(view)] for view in pair] for pair in rows]),
        blends=[plan.fake if isinstance(plan.fake, Blend) else None for plan in plans],
        outlines=_stack(outlines, num_frames, size),
        degradations=[degradation for plan in plans for degradation in plan.degradations],
        noise_seeds=[seed for plan in plans for seed in plan.noise_seeds],
        regions=torch.from_numpy(np.stack(regions)) if regions else None,
    )


class DevicePairs:
    """
    Computes packed pairs.

    Args:
        size: Side of the frames of the pairs in pixels.
        device: Device of the network.
        encoders: Threads that encode clips with H.264, on the CPU.
    """

    def __init__(self, size: int, device: torch.device, encoders: Executor) -> None:
        self.size, self.device, self._encoders = size, device, encoders

    @torch.no_grad()
    def compute(self, packed: PackedPairs) -> torch.Tensor:
        """
        Compute the pixels of a batch.

        Args:
            packed: Packed plans.

        Returns:
            Clips (P, 2, T, size, size, 3) uint8 on the device, in the layout of [`~training.cpu_pairs.compute_pair`].
        """
        num_frames = packed.crops.shape[1]
        crops = to_images(self._move(packed.crops)).flatten(0, 1)
        views = to_images(self._move(packed.framed))
        if packed.framings:
            framed = frame_images(crops, packed.framings, self.size).unflatten(0, (-1, num_frames))
            views = torch.cat([framed, views])
        clips = views[packed.clips]  # (P, 2, T, 3, size, size)
        regions = None if packed.regions is None else self._move(packed.regions)
        if blended := [pair for pair, blend in enumerate(packed.blends) if blend is not None]:
            outlines = self._move(packed.outlines).flatten(0, 1)
            blends = [blend for blend in packed.blends if blend is not None for _ in range(num_frames)]
            fakes, masks = blend_images(clips[blended, 0].flatten(0, 1), outlines, blends)
            clips[blended, 1] = fakes.unflatten(0, (-1, num_frames))
            if regions is not None:
                regions[blended] = masks.unflatten(0, (-1, num_frames)).to(torch.uint8)
        degraded = degrade_clips(clips.flatten(0, 1), packed.degradations, packed.noise_seeds)
        pairs = to_frames(self._through_h264(degraded, packed.degradations)).unflatten(0, (-1, 2))
        if regions is None:
            return pairs
        altered = torch.stack([torch.zeros_like(regions), regions], 1)
        return torch.cat([pairs, altered[..., None]], -1)

    def _move(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _through_h264(self, clips: torch.Tensor, degradations: Sequence[Degradation]) -> torch.Tensor:
        """Encode and decode the clips that are degraded by H.264; PyAV releases the GIL meanwhile."""
        chosen = [clip for clip, degradation in enumerate(degradations) if degradation.crf is not None]
        if chosen:
            frames = to_frames(clips[chosen]).cpu().numpy()
            coded = list(self._encoders.map(through_h264, frames, [degradations[clip].crf for clip in chosen]))
            clips[chosen] = to_images(self._move(torch.from_numpy(np.stack(coded))))
        return clips


def _stack(clips: Sequence[np.ndarray], num_frames: int, size: int) -> torch.Tensor:
    return torch.from_numpy(np.stack(clips) if clips else np.zeros((0, num_frames, size, size, 3), np.uint8))
