# SPDX-License-Identifier: Apache-2.0
"""The figures and the table of the ablation."""

import numpy as np
import pytest
from ablation import DETECTED, detect, format_table
from chain_data import ValidationVideo


def make_videos(*videos: tuple[str, bool]) -> list[ValidationVideo]:
    return [
        ValidationVideo(dataset="set", person=person, is_fake=fake, frames=np.zeros((1, 8, 8, 3), np.uint8))
        for person, fake in videos
    ]


def test_the_highest_video_of_a_real_person_counts_and_ties_are_not_detected():
    # Ten people with scores 0 to 9, and a second, lower video of the last. The 90 % quantile of 0..9 is 8.1.
    videos = make_videos(*[(str(n), False) for n in range(10)], ("9", False), *[("x", True)] * 4)
    scores = np.array([*range(10), -5.0, 8.0, 8.1, 8.2, 10.0])
    assert detect(videos, scores) == 0.5


def test_the_table_gives_mean_and_sample_deviation_over_seeds():
    table = format_table({"nothing": [{"a": 0.5, DETECTED: 0.1}, {"a": 0.7, DETECTED: 0.3}]})
    # The sample standard deviation of two values is their difference over the square root of two.
    assert table.splitlines()[2] == "| nothing | 0.600 ± 0.141 | 0.200 ± 0.141 |"
    assert format_table({"nothing": [{"a": 0.5}]}).splitlines()[2] == "| nothing | 0.500 |"


@pytest.mark.parametrize("step", [0, 50, 99])
def test_a_schedule_of_small_views_only_reaches_the_end_of_the_cosine(step):
    from train import LEARNING_RATE, WARMUP_STEPS, Schedule

    schedule = Schedule(small_steps=100, steps=100, small_part=1.0, small_size=128)
    expected = LEARNING_RATE * min(1, (step + 1) / WARMUP_STEPS) * np.cos(np.pi * step / 200) ** 2
    assert schedule.size(step) == 128
    assert schedule.learning_rate(step) == pytest.approx(expected)
