# SPDX-License-Identifier: Apache-2.0
"""Features computed once: those of the drawn pairs, in another order each turn, and never again without need."""

import numpy as np
import pytest
import torch

from deepfake_video.training import features
from deepfake_video.training.batches import TrainingPairs
from deepfake_video.training.errors import TrainingError
from deepfake_video.training.features import FeaturePairs, jitter_features
from deepfake_video.training.loop import train_network
from deepfake_video.training.networks import make_network
from deepfake_video.training.pixels import to_pixel_values
from training_videos import make_videos, tiny_recipe


RECIPE = tiny_recipe(trains="head", feature_pairs=3, steps=6)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return make_videos(folder, range(3)), make_videos(folder, range(3, 6))


@pytest.fixture
def encoded(monkeypatch):
    """How many clips went through the frame encoder."""
    counted = []
    encode = features.encode_clips
    monkeypatch.setattr(features, "encode_clips", lambda *args: counted.append(len(args[1])) or encode(*args))
    return counted


def make_pairs(videos, folder, recipe=RECIPE):
    drawn = TrainingPairs(videos[0], recipe)
    return drawn, FeaturePairs(drawn, make_network(recipe), recipe, recipe.make_processor(), folder)


def test_they_are_the_features_of_the_first_pairs_again_and_again(videos, tmp_path):
    drawn, pairs = make_pairs(videos, tmp_path)
    network = make_network(RECIPE).eval()
    with torch.no_grad():
        expected = [network.get_frame_features(to_pixel_values(drawn[i], RECIPE.make_processor())) for i in range(3)]
    assert len(pairs) == RECIPE.steps * RECIPE.batch_pairs
    orders = set()
    for turn in range(4):
        given = [pairs[3 * turn + i] for i in range(3)]
        order = tuple(next(k for k in range(3) if torch.allclose(one, expected[k], atol=1e-6)) for one in given)
        assert sorted(order) == [0, 1, 2]
        orders.add(order)
    assert len(orders) > 1


def test_they_are_not_computed_again_for_the_same_network_and_data(videos, tmp_path, encoded):
    make_pairs(videos, tmp_path)
    make_pairs(videos, tmp_path, tiny_recipe(trains="head", feature_pairs=3, steps=20))
    assert encoded == [2, 2, 2]


@pytest.mark.parametrize("change", [{"seed": 1}, {"clip_frames": 2}, {"feature_pairs": 4}])
def test_they_are_computed_again_where_anything_differs(videos, tmp_path, encoded, change):
    make_pairs(videos, tmp_path)
    other = make_pairs(videos, tmp_path, tiny_recipe(**{"trains": "head", "feature_pairs": 3, **change}))[1]
    assert len(encoded) == 3 + len(other._features)


def test_jitter_moves_a_pair_to_another_clip_and_stretches_it():
    pair, other = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    moved = jitter_features(pair, other, 2.0, np.random.default_rng(0))
    # Twice the way from the one mean to the other.
    torch.testing.assert_close(moved[0].mean(0), 2 * other[0].mean(0) - pair[0].mean(0))
    # One factor for all differences of frames, of both clips and between them.
    factors = (moved - moved[0, :1]) / (pair - pair[0, :1])
    factors = factors[torch.isfinite(factors)]
    torch.testing.assert_close(factors, factors[:1].expand_as(factors), rtol=1e-3, atol=0)
    assert not torch.allclose(jitter_features(pair, other, 2.0, np.random.default_rng(1)), moved)


def test_each_turn_has_another_jitter_that_its_number_decides(videos, tmp_path):
    recipe = tiny_recipe(trains="head", feature_pairs=1, feature_jitter=1.0, steps=3)
    again = [make_pairs(videos, tmp_path, recipe)[1] for _ in range(2)]
    torch.testing.assert_close(again[0][1], again[1][1], rtol=0, atol=0)
    assert not torch.allclose(again[0][0], again[0][1])


def run(videos, folder, **options):
    folder.mkdir(exist_ok=True)
    return train_network(make_network(RECIPE), *videos, RECIPE, folder, device="cpu", workers=0, **options)


def test_stopped_and_gone_on_with_it_gives_the_weights_of_an_unbroken_run(videos, tmp_path):
    unbroken = run(videos, tmp_path / "unbroken")
    assert run(videos, tmp_path / "broken", stop_after=3) is None
    resumed = run(videos, tmp_path / "broken")
    state = resumed.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in unbroken.network.state_dict().items())


def test_the_frame_encoder_stays_and_the_rest_learns(videos, tmp_path):
    before, after = make_network(RECIPE).state_dict(), run(videos, tmp_path).network.state_dict()
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert "frame_encoder" not in changed
    assert "temporal_encoder" in changed


def test_features_of_a_network_that_changes_are_refused():
    with pytest.raises(TrainingError, match="feature_pairs"):
        tiny_recipe(feature_pairs=3)
    with pytest.raises(TrainingError, match="feature_jitter"):
        tiny_recipe(trains="head", feature_jitter=1.0)
