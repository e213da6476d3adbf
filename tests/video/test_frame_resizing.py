# SPDX-License-Identifier: Apache-2.0
"""Frames resized by numpy hold the values that torchvision gives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from deepfake_video.frame_resizing import resize_frame


needs_fixed_point = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="torch resizes uint8 in floating point on this processor",
)
SIZE = st.tuples(st.integers(1, 120), st.integers(1, 120))
# A single pixel is what torch cannot resize to.
NEW_SIZE = st.tuples(st.integers(2, 120), st.integers(2, 120))


def resize_by_torchvision(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    image = torch.from_numpy(frame).permute(2, 0, 1)
    return F.resize(image, [height, width], antialias=True).permute(1, 2, 0).numpy()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@needs_fixed_point
@given(old=SIZE, new=NEW_SIZE)
def test_every_value_is_that_of_torchvision(old, new):
    frame = noise(*old)
    np.testing.assert_array_equal(resize_frame(frame, *new), resize_by_torchvision(frame, *new))


@needs_fixed_point
@pytest.mark.parametrize("old", [(720, 1280), (1080, 607), (2160, 3840)])
@pytest.mark.parametrize("new", [(224, 224), (360, 640), (32, 32)])
def test_large_frames_too(old, new):
    frame = noise(*old)
    np.testing.assert_array_equal(resize_frame(frame, *new), resize_by_torchvision(frame, *new))


def test_black_and_white_stay_black_and_white():
    for level in (0, 255):
        assert (resize_frame(np.full((97, 61, 3), level, np.uint8), 33, 128) == level).all()


def test_a_mean_of_two_is_rounded_up():
    frame = np.array([[[0, 10, 20], [1, 11, 21]]], np.uint8)
    # The two pixels lie a quarter and three quarters from the middle of one that covers both: they count alike.
    np.testing.assert_array_equal(resize_frame(frame, 1, 1), [[[1, 11, 21]]])


def test_a_part_of_a_frame_that_may_not_be_written_to():
    frame = noise(80, 90)
    frame.flags.writeable = False
    part = frame[10:50, 20:70]
    np.testing.assert_array_equal(resize_frame(part, 20, 20), resize_frame(part.copy(), 20, 20))


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (np.zeros((4, 4), np.uint8), (2, 2)),
        (np.zeros((4, 4, 3), np.float32), (2, 2)),
        (np.zeros((0, 4, 3), np.uint8), (2, 2)),
        (np.zeros((4, 4, 3), np.uint8), (0, 2)),
    ],
)
def test_another_kind_of_frame_is_refused(frame, size):
    with pytest.raises(ValueError, match="a frame must be"):
        resize_frame(frame, *size)
