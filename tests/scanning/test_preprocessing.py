# SPDX-License-Identifier: Apache-2.0
"""The preprocessing in numpy gives what the processor of Transformers gives."""

import json

import numpy as np
import pytest

from deepfake_video import DeepfakeVideoProcessor
from deepfake_video.model_presets import PRESETS
from deepfake_video.scanning.preprocessing import Preprocessing, UnsupportedChoiceError


def noise(num_frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def in_numpy(processor: DeepfakeVideoProcessor) -> Preprocessing:
    return Preprocessing.from_choices(json.loads(json.dumps(processor.choices())))


@pytest.mark.parametrize("name", PRESETS)
def test_every_choice_of_a_preset_is_taken_over(name):
    processor = DeepfakeVideoProcessor.from_preset(name)
    preprocessing = in_numpy(processor)
    assert preprocessing.face_settings() == processor.face_settings()
    assert preprocessing.do_crop_faces == processor.do_crop_faces
    np.testing.assert_array_equal(preprocessing.frame_indices(1000), processor.frame_indices(1000))


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"channel_order": "bgr"},
        {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.7]},
        {"image_mean": 0.5, "image_std": 0.5, "rescale_factor": 1 / 127},
        {"size": {"height": 40, "width": 64}},
    ],
)
def test_pixel_values_are_those_of_the_processor(choices):
    processor = DeepfakeVideoProcessor(**{"size": {"height": 48, "width": 48}, **choices})
    clip = noise(3, 70, 90)
    expected = processor(clip, do_sample_frames=False, input_data_format="channels_last", return_tensors="np")
    np.testing.assert_array_equal(in_numpy(processor).pixel_values(clip), expected["pixel_values_videos"])


def test_frames_are_sampled_as_the_processor_samples_them():
    processor = DeepfakeVideoProcessor(frame_sampling="bursts", burst_length=4, num_frames=12)
    np.testing.assert_array_equal(in_numpy(processor).frame_indices(300), processor.frame_indices(300))
    np.testing.assert_array_equal(
        in_numpy(processor).frame_indices(300, num_frames=8), processor.frame_indices(300, num_frames=8)
    )


@pytest.mark.parametrize(
    "choices",
    [
        {"antialias": False},
        {"resample": 3},
        {"do_pad": True, "size": {"height": 64, "width": 64}},
        {"do_resize": False},
        {"do_normalize": False},
        {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
        {"size": {"shortest_edge": 64}},
    ],
)
def test_what_only_torch_computes_is_refused_by_name(choices):
    with pytest.raises(UnsupportedChoiceError, match=f"^{next(iter(choices))}=.* needs torch"):
        in_numpy(DeepfakeVideoProcessor(**choices))
