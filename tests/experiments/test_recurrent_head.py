# SPDX-License-Identifier: Apache-2.0
"""The comparison of recurrent heads: what only the order of frames tells is found by the recurrent ones alone."""

import pytest
import torch

import recurrent_head
from recurrent_head import BURST, HEADS, NUM_FRAMES, Features, compare


def make_features(number: int, seed: int) -> Features:
    """Real videos whose features rise within each burst, and fakes with the same frames in falling order."""
    random = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(-1, 1, BURST).repeat(NUM_FRAMES // BURST)[:, None]
    is_fake = torch.arange(number) % 2 == 1
    order = torch.where(is_fake, -1.0, 1.0)[:, None, None]
    offsets = torch.randn(number, 1, 4, generator=random)
    frames = order * ramp * torch.tensor([1.0, -1.0, 0.5, 2.0]) + 0.1 * offsets
    return Features(frames, frames[..., :2].contiguous(), is_fake)


@pytest.fixture(scope="module")
def areas() -> dict[str, list[float]]:
    return compare(make_features(40, 0), make_features(40, 1), seeds=[0])


@pytest.mark.parametrize("name", [name for name in HEADS if "LSTM" in name])
def test_a_recurrent_head_learns_the_order_of_frames(areas, name):
    assert areas[name][0] > 0.95


def test_the_mean_over_frames_cannot(areas):
    assert areas["linear layer on the mean of the features"][0] < 0.75
    assert areas["frame classifier, mean of the logits"][0] < 0.75


def test_a_head_gives_the_same_with_the_same_seed(monkeypatch):
    monkeypatch.setattr(recurrent_head, "STEPS", 10)
    first, second = (compare(make_features(12, 0), make_features(12, 1), seeds=[3]) for _ in range(2))
    assert first == second


def test_a_missing_data_set_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert recurrent_head.main(["none", "--output", "output"]) != 0
    said = capsys.readouterr().err
    assert "none" in said
    assert "Traceback" not in said
