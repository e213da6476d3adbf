# SPDX-License-Identifier: Apache-2.0
"""The grid of degradations: what each does to pictures, that it repeats, and that it spares the search for faces."""

from pathlib import Path

import numpy as np
import pytest

from clips import picture
from deepfake_video import DeepfakeConfig, DeepfakeVideoProcessor
from deepfake_video.evaluation.command import KIND_NAMES
from deepfake_video.evaluation.corruptions import KINDS, LEVELS, PARAMETERS, Corruption, corrupt, grid
from deepfake_video.evaluation.sample_reading import read_corrupted, read_sample
from deepfake_video.evaluation.samples import Sample
from deepfake_video.scanning.sample import draw_face, write_sample_video
from deepfake_video.scanning.settings import ScanSettings


FRAMES = [(index, np.array(draw_face(index / 5)[100:220, 240:400])) for index in range(6)]
RANDOM_KINDS = ("blockwise", "noise")


def degrade(corruption: Corruption, frames=FRAMES, **kwargs) -> dict[int, np.ndarray]:
    return dict(corrupt(frames, corruption, **({"video": "a"} | kwargs)))


def damage(corruption: Corruption) -> float:
    """Mean squared difference from the frames as they were."""
    degraded = degrade(corruption)
    return float(np.mean([(degraded[index].astype(float) - frame) ** 2 for index, frame in FRAMES]))


def test_the_grid_has_seven_kinds_of_five_levels_and_the_command_knows_them():
    assert len(set(grid())) == 35
    assert KIND_NAMES == KINDS
    assert PARAMETERS["compression"] == (30, 32, 35, 38, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_each_level_does_more_damage(kind):
    damages = [damage(Corruption(kind, level)) for level in LEVELS]
    assert damages[0] > 0
    assert damages == sorted(damages)


@pytest.mark.parametrize("kind", KINDS)
def test_indices_and_shapes_stay_and_the_input_is_not_written_into(kind):
    before = [frame.copy() for _, frame in FRAMES]
    degraded = degrade(Corruption(kind, 5))
    assert list(degraded) == [index for index, _ in FRAMES]
    assert all(frame.shape == (120, 160, 3) and frame.dtype == np.uint8 for frame in degraded.values())
    assert all(np.array_equal(old, frame) for old, (_, frame) in zip(before, FRAMES, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_pictures(kind):
    first, again = degrade(Corruption(kind, 3), seed=7), degrade(Corruption(kind, 3), seed=7)
    assert all(np.array_equal(first[index], again[index]) for index in first)


@pytest.mark.parametrize("kind", RANDOM_KINDS)
@pytest.mark.parametrize("change", [{"seed": 1}, {"video": "b"}])
def test_another_seed_or_video_gives_other_chance(kind, change):
    first, other = degrade(Corruption(kind, 3)), degrade(Corruption(kind, 3), **change)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("kind", RANDOM_KINDS)
def test_chance_does_not_depend_on_which_other_frames_are_read(kind):
    alone = degrade(Corruption(kind, 3), FRAMES[4:5])
    assert np.array_equal(alone[4], degrade(Corruption(kind, 3))[4])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(33, 47, 3), (2, 2, 3), (16, 300, 3)])
def test_odd_and_tiny_pictures_keep_their_size(kind, shape):
    frames = [(0, np.full(shape, 200, np.uint8)), (5, np.zeros(shape, np.uint8))]
    assert {index: frame.shape for index, frame in degrade(Corruption(kind, 5), frames).items()} == {
        0: shape,
        5: shape,
    }


def test_a_size_that_changes_inside_a_video_is_compressed_in_parts():
    frames = [(0, picture(0, 96, 64)), (1, picture(1, 96, 64)), (2, picture(2, 64, 48))]
    shapes = [frame.shape for frame in degrade(Corruption("compression", 1), frames).values()]
    assert shapes == [(64, 96, 3), (64, 96, 3), (48, 64, 3)]


def test_compression_keeps_each_frame_in_its_place():
    degraded = degrade(Corruption("compression", 1))
    for index, frame in FRAMES:
        differences = {other: np.abs(frame.astype(int) - picture_).mean() for other, picture_ in degraded.items()}
        assert min(differences, key=differences.get) == index


def test_the_last_level_of_saturation_is_grey():
    frame = degrade(Corruption("saturation", 5))[0]
    assert np.ptp(frame, axis=-1).max() == 0


def test_contrast_multiplies_as_deeperforensics_does():
    frame = degrade(Corruption("contrast", 5))[0]
    assert np.array_equal(frame, (FRAMES[0][1] * np.float32(0.35)).astype(np.uint8))


def test_there_are_more_blocks_in_a_large_picture():
    white = [(0, np.full((512, 600, 3), 255, np.uint8))]
    changed = (degrade(Corruption("blockwise", 1), white)[0] == 128).all(-1).mean() * 512 * 600 / 64
    assert 24 < changed <= 32


@pytest.mark.parametrize(("kind", "level"), [("fog", 1), ("blur", 0), ("blur", 6)])
def test_an_unknown_cell_is_named(kind, level):
    with pytest.raises(ValueError, match=kind):
        Corruption(kind, level)


def test_degraded_clips_show_the_faces_that_were_found_in_the_clean_video(tmp_path):
    path = write_sample_video(Path(tmp_path) / "a.mp4", num_frames=12)
    sample = Sample(key="a", path=path, is_fake=False, dataset="d")
    processors = [DeepfakeVideoProcessor.from_config(DeepfakeConfig.from_preset("tiny"))]
    settings = ScanSettings()
    clean = read_sample(sample, processors, settings)
    cells = dict(read_corrupted(sample, clean, processors, settings, grid(["saturation", "compression"]), seed=0))
    assert len(cells) == 10
    for degraded in cells.values():
        [clip] = degraded.clips[0]
        assert clip.track is clean.clips[0][0].track
        assert np.array_equal(clip.frame_indices, clean.clips[0][0].frame_indices)
        assert not np.array_equal(clip.frames, clean.clips[0][0].frames)
    assert np.ptp(cells[Corruption("saturation", 5)].clips[0][0].frames, axis=-1).max() == 0
