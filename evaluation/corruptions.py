# SPDX-License-Identifier: Apache-2.0
"""The perturbations of DeeperForensics-1.0 (Jiang et al., 2020, arXiv:2001.03024): seven kinds at five levels.

They are applied to whole decoded frames, before faces are cropped, with the parameters of that benchmark. The random
numbers depend only on seed, video, kind, level and frame, so that neither the order of work nor the number of
processes changes a frame.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from .encoding import through_codec


# From mild to strong, levels 1 to 5.
PARAMETERS: dict[str, tuple[float, ...]] = {
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
    "blockwise": (16, 32, 48, 64, 80),
    "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
    "blur": (7, 9, 13, 17, 21),
    "resize": (2, 3, 4, 5, 6),
    "compression": (30, 32, 35, 38, 40),
}
KINDS = tuple(PARAMETERS)
LEVELS = (1, 2, 3, 4, 5)
# Names of all corruptions, as scores state them.
NAMES = frozenset(f"{kind}-{level}" for kind in KINDS for level in LEVELS)
BLOCK_SIDE, BLOCKS_PER = 8, 256
# Luma weights of BT.601, and the change of R, G, B for one unit of noise in Y, Cb, Cr (8 bits, limited range).
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_NOISE_TO_RGB = np.array([[1, 1, 1], [0, -0.344, 1.773], [1.403, -0.714, 0]], np.float32) * (
    np.array([[255 / 219], [255 / 224], [255 / 224]], np.float32) * 255
)


@dataclass(frozen=True, order=True)
class Corruption:
    """
    A kind of corruption at a level.

    Attributes:
        kind: One of `KINDS`.
        level: From 1, mild, to 5, strong.

    Raises:
        ValueError: If there is no such kind or level.

    Example:
        >>> corruption = Corruption("blur", 3)
        >>> str(corruption), corruption.parameter
        ('blur-3', 13)
    """

    kind: str
    level: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.level not in LEVELS:
            raise ValueError(f"there is no corruption {self.kind!r} of level {self.level!r}; see {', '.join(KINDS)}.")

    def __str__(self) -> str:
        return f"{self.kind}-{self.level}"

    @property
    def parameter(self) -> float:
        """Parameter of this level in DeeperForensics."""
        return PARAMETERS[self.kind][self.level - 1]


def grid(kinds: Iterable[str] = KINDS) -> list[Corruption]:
    """List all levels of these kinds."""
    return [Corruption(kind, level) for kind in kinds for level in LEVELS]


def corrupt(
    frames: Iterable[tuple[int, np.ndarray]], corruption: Corruption, *, video: str, seed: int = 0
) -> Iterator[tuple[int, np.ndarray]]:
    """
    Corrupt frames lazily, in order.

    Args:
        frames: Index and frame, `(H, W, 3)` uint8 RGB, in order; they are not modified.
        corruption: The corruption.
        video: Key of the video, for the random numbers.
        seed: Seed of the random numbers.

    Raises:
        VideoDecodeError: If the frames cannot be encoded.
    """
    if corruption.kind == "compression":
        yield from through_codec(frames, "h264", int(corruption.parameter), video)
        return
    degrade = _DEGRADE[corruption.kind]
    for index, frame in frames:
        words = [
            seed,
            zlib.crc32(video.encode("utf-8", "surrogatepass")),
            KINDS.index(corruption.kind),
            corruption.level,
            index,
        ]
        yield index, degrade(frame, corruption.parameter, np.random.default_rng(words))


def _saturation(frame: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    grey = (frame @ _LUMA)[..., None]
    return _to_uint8(grey + np.float32(factor) * (frame - grey))


def _contrast(frame: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    return _to_uint8(frame * np.float32(factor))


def _blockwise(frame: np.ndarray, number: float, random: np.random.Generator) -> np.ndarray:
    height, width = frame.shape[:2]
    frame = frame.copy()
    for _ in range(int(number) * max(1, min(height, width) // BLOCKS_PER)):
        y, x = random.integers(0, [max(1, height - BLOCK_SIDE), max(1, width - BLOCK_SIDE)])
        frame[y : y + BLOCK_SIDE, x : x + BLOCK_SIDE] = 128
    return frame


def _noise(frame: np.ndarray, variance: float, random: np.random.Generator) -> np.ndarray:
    noise = random.standard_normal(frame.shape, dtype=np.float32) * np.float32(np.sqrt(variance))
    return _to_uint8(frame + noise @ _NOISE_TO_RGB)


def _blur(frame: np.ndarray, kernel_size: float, _: np.random.Generator) -> np.ndarray:
    # Reflection padding needs more pixels than half a kernel.
    size = min(int(kernel_size), 2 * min(frame.shape[:2]) - 1)
    image = torch.from_numpy(frame).permute(2, 0, 1)
    blurred: np.ndarray = F.gaussian_blur(image, [size, size], [kernel_size / 6] * 2).permute(1, 2, 0).numpy()
    return blurred


def _resize(frame: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    height, width = frame.shape[:2]
    image = torch.from_numpy(frame).permute(2, 0, 1)
    small = F.resize(image, [max(1, int(height // factor)), max(1, int(width // factor))], antialias=False)
    large: np.ndarray = F.resize(small, [height, width], antialias=False).permute(1, 2, 0).numpy()
    return large


_DEGRADE: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "saturation": _saturation,
    "contrast": _contrast,
    "blockwise": _blockwise,
    "noise": _noise,
    "blur": _blur,
    "resize": _resize,
}


def _to_uint8(frame: np.ndarray) -> np.ndarray:
    return np.clip(frame, 0, 255).astype(np.uint8)
