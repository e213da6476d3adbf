# SPDX-License-Identifier: Apache-2.0
"""The data of the packaged checkpoint: the same people as in its training are held out."""

import benchmark_trees as trees
import pytest
from chain_data import divide_people

from deepfake_video.training.errors import TrainingError


def test_the_people_are_held_out_that_were_when_the_checkpoint_was_trained(tmp_path):
    faces = tmp_path / "faces"
    trees.put_images(faces / "real", 5)
    root = trees.make_faceforensics(tmp_path / "faceforensics", has_splits=False)
    train, validation = divide_people([root, faces])
    # As `open_data` of commit 8cd4ba0 divides the same files.
    assert {identity for sample in validation for identity in sample.identities} == {"033", "097"}
    assert len(train) == 30 + 5


def test_official_splits_are_kept(tmp_path):
    train, validation = divide_people([trees.make_faceforensics(tmp_path / "faceforensics")])
    assert {sample.split for sample in train} == {"train"}
    assert {sample.split for sample in validation} == {"val"}


def test_videos_of_unknown_people_are_not_divided(tmp_path):
    for label in ("real", "fake"):
        trees.put_images(tmp_path / f"folder/{label}", 2)
    with pytest.raises(TrainingError, match="does not name the people"):
        divide_people([tmp_path / "folder"])
