# SPDX-License-Identifier: Apache-2.0
"""The kinds of fakes that a recipe can request, and the functions that make the fakes that have no plan."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .faults import make_faulty


SELF_BLENDED, MANIPULATED, FAULTY = "self-blended", "manipulated", "faulty"
# Kinds for which the altered region is known, or, for manipulated videos, can be approximated.
WITH_REGION = (SELF_BLENDED, MANIPULATED)

# From a real clip (T, S, S, 3) uint8 and its landmarks (T, 5, 2) to a fake clip of the same shape.
FakeMaker: TypeAlias = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

# A script can add a kind of its own before it creates a recipe; experiments/time_proof.py does.
FAKE_MAKERS: dict[str, FakeMaker] = {FAULTY: make_faulty}


def fake_kinds() -> tuple[str, ...]:
    """Return the names that the recipe field `fakes` accepts: the generated kinds, and the fakes of the data set."""
    return (MANIPULATED, SELF_BLENDED, *FAKE_MAKERS)
