# SPDX-License-Identifier: Apache-2.0
"""The kinds of fakes that a recipe can request, and the functions that make fakes from real clips."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .blending import blend_clip, draw_blend
from .faults import make_faulty


SELF_BLENDED, MANIPULATED, FAULTY = "self-blended", "manipulated", "faulty"
# Kinds for which the altered region is known, or, for manipulated videos, can be approximated.
WITH_REGION = (SELF_BLENDED, MANIPULATED)

# From a real clip (T, S, S, 3) uint8 and its landmarks (T, 5, 2) to a fake clip of the same shape and the mask
# (T, S, S) uint8 of the altered region, `None` where there is no such region.
FakeMaker: TypeAlias = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray | None]]


def _self_blend(
    frames: np.ndarray, landmarks: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    return blend_clip(frames, landmarks, draw_blend(random))


def _add_fault(
    frames: np.ndarray, landmarks: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    return make_faulty(frames, landmarks, random), None


# A script can add a kind of its own before it creates a recipe; experiments/time_proof.py does.
FAKE_MAKERS: dict[str, FakeMaker] = {SELF_BLENDED: _self_blend, FAULTY: _add_fault}


def fake_kinds() -> tuple[str, ...]:
    """Return the names that the recipe field `fakes` accepts: the generated kinds, and the fakes of the data set."""
    return (MANIPULATED, *FAKE_MAKERS)
