# SPDX-License-Identifier: Apache-2.0
"""Times on the container's clock; broken timestamps repaired and named; gaps kept and named."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clips import frame_number, write_clip, write_packet_times
from deepfake_video import VideoReader
from deepfake_video.video_timestamps import ContainerClock, FrameTimes, are_orderly, read_times


MS = ContainerClock(time_base=0.001)
STREAM = ContainerClock(time_base=0.001, has_resets=True)
HOUR = 3_600_000
EVEN = [40 * i for i in range(60)]


def changed(values: list[Any], **changes: int | None) -> list[Any]:
    """The values with some replaced: `_20=7` replaces the one at 20."""
    return [changes.get(f"_{i}", value) for i, value in enumerate(values)]


def times_of(ticks: list[int | None], clock: ContainerClock = MS, **options: int) -> FrameTimes:
    return read_times(ticks, clock, **options)


class TestClock:
    @pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
    def test_a_picture_that_begins_after_the_sound_begins_there(self, tmp_path: Path, name: str) -> None:
        path = write_clip(tmp_path / name, times=[2000 + 40 * i for i in range(30)], audio=True)
        with VideoReader(path) as reader:
            assert reader.timestamps_s == pytest.approx([2.0 + 0.04 * i for i in range(30)])
            assert [reader.fps, reader.duration_s] == pytest.approx([25, 3.2])

    @pytest.mark.parametrize("start_s", [1.4, 3 * 3600])
    def test_a_stream_whose_clock_starts_late_begins_at_zero(self, tmp_path: Path, start_s: float) -> None:
        ticks = [round(90_000 * start_s) + 3600 * i for i in range(30)]
        path = write_packet_times(tmp_path / "late.ts", ticks, dts=ticks, ticks_per_s=90_000)
        with VideoReader(path) as reader:
            assert reader.timestamps_s == pytest.approx(np.arange(30) / 25)
            assert reader.warnings == []

    def test_a_clock_of_33_bits_may_wrap_around(self, tmp_path: Path) -> None:
        ticks = [2**33 - 90_000 + 3600 * i for i in range(60)]
        path = write_packet_times(tmp_path / "wrap.ts", ticks, dts=ticks, ticks_per_s=90_000)
        with VideoReader(path) as reader:
            assert reader.timestamps_s == pytest.approx(np.arange(60) / 25)

    def test_pictures_of_an_avi_file_are_in_regular_places(self, tmp_path: Path) -> None:
        options = {"preset": "veryfast", "x264-params": "bframes=3:b-adapt=0"}
        with VideoReader(write_clip(tmp_path / "b.avi", options=options)) as reader:
            assert reader.timestamps_s == pytest.approx(np.arange(30) / 25)
            assert reader.warnings == []

    def test_a_start_time_hours_before_the_picture_is_not_believed(self) -> None:
        times = times_of(EVEN, ContainerClock(time_base=0.001, start_s=-7200.0))
        assert times.seconds[0] == 0
        assert "7200.0 s ahead" in times.warnings[0]


class TestPauses:
    @pytest.mark.parametrize("pictures", [1, 2, 3, 4])
    @pytest.mark.parametrize("pause", [2500, 3000, 5000])
    def test_bursts_of_pictures_between_pauses_keep_their_times(self, pictures: int, pause: int) -> None:
        ticks = [(pause + 40 * (pictures - 1)) * burst + 40 * i for burst in range(12) for i in range(pictures)]
        times = times_of([0, 40, 80, *(500 + tick for tick in ticks)])
        assert times.seconds == pytest.approx(np.array([0, 40, 80, *(500 + tick for tick in ticks)]) / 1000)
        assert not any("invalid" in warning for warning in times.warnings)

    @given(st.lists(st.sampled_from([40, 40, 40, 3000, 8000]), min_size=3, max_size=40))
    def test_increasing_times_with_pauses_stay(self, steps: list[int]) -> None:
        ticks = np.cumsum([0, 40, 40, 40, *steps, 40, 40, 40])
        assert times_of(ticks.tolist()).seconds == pytest.approx(ticks / 1000)


class TestRepairs:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"_20": 760}, "repeated, at 0.80 s"),
            ({"_20": -400}, "1.2 s behind, at 0.80 s"),
            ({"_20": 3 * HOUR}, "10799.2 s ahead, at 0.80 s"),
            ({"_20": 90_000}, "89.2 s ahead, at 0.80 s"),
            ({"_20": None}, "missing, at 0.80 s"),
            ({"_20": 3 * HOUR, "_21": 3 * HOUR + 40, "_22": 3 * HOUR + 80}, "3 of 60 timestamps are invalid"),
            ({"_20": 760, "_40": None}, "2 of 60 timestamps are invalid (the first: repeated, at 0.80 s)"),
        ],
    )
    @pytest.mark.parametrize("clock", [MS, STREAM])
    def test_an_invalid_timestamp_is_replaced_and_the_others_stay(
        self, changes: dict[str, int | None], said: str, clock: ContainerClock
    ) -> None:
        times = times_of(changed(EVEN, **changes), clock, last_duration=40)
        assert times.seconds == pytest.approx(np.arange(60) / 25)
        assert [times.fps, times.end_s] == pytest.approx([25, 2.4])
        assert [said in warning for warning in times.warnings] == [True]

    def test_uneven_times_stay_uneven_around_an_invalid_one(self) -> None:
        ticks = [40 * i + 15 * (i % 2) for i in range(60)]
        seconds = times_of(changed(ticks, _20=3 * HOUR)).seconds
        assert np.delete(seconds, 20) == pytest.approx(np.delete(np.array(ticks) / 1000, 20))
        assert seconds[20] == pytest.approx((ticks[19] + ticks[21]) / 2000)

    @pytest.mark.parametrize("changes", [{"_0": None}, {"_0": -3 * HOUR}, {"_0": 3 * HOUR}, {"_0": -60_000}])
    def test_the_first_may_be_the_invalid_one(self, changes: dict[str, int | None]) -> None:
        times = times_of(changed(EVEN, **changes))
        assert times.seconds == pytest.approx(np.arange(60) / 25)
        assert len(times.warnings) == 1

    @pytest.mark.parametrize("last", [None, 3 * HOUR, 60_000, 0])
    def test_the_last_may_be_the_invalid_one(self, last: int | None) -> None:
        times = times_of(changed(EVEN, _59=last))
        assert times.seconds == pytest.approx(np.arange(60) / 25)
        assert times.end_s == pytest.approx(2.4)
        assert len(times.warnings) == 1

    def test_pairs_of_equal_timestamps_are_spread(self) -> None:
        times = times_of([80 * (i // 2) for i in range(60)])
        # The last one has no valid neighbour after it: it follows at the median interval.
        assert times.seconds == pytest.approx([*np.arange(59) / 25, 2.4])
        assert "30 of 60 timestamps" in times.warnings[0]

    @pytest.mark.parametrize("step", [3 * HOUR, -3 * HOUR, -1200])
    def test_a_clock_that_jumps_is_brought_together(self, step: int) -> None:
        times = times_of(EVEN[:30] + [tick + step for tick in EVEN[30:]], STREAM)
        assert times.seconds == pytest.approx(np.arange(60) / 25)
        assert f"timestamps jump {'forward' if step > 0 else 'back'} by" in times.warnings[0]

    def test_a_clock_that_comes_back_is_the_old_one(self) -> None:
        ticks = [tick + 3 * HOUR * (20 <= i < 40) for i, tick in enumerate([41 * i + i % 3 for i in range(60)])]
        seconds = times_of(ticks, STREAM).seconds
        assert seconds[40:] == pytest.approx(np.array(ticks[40:]) / 1000)

    def test_no_timestamps_at_all_count_by_the_nominal_rate_and_say_so(self) -> None:
        times = times_of([None] * 10, ContainerClock(time_base=0.001, nominal_fps=10))
        assert times.seconds == pytest.approx(np.arange(10) / 10)
        assert times.warnings == ["the file has no timestamps; 10 frames per second were assumed"]

    @given(
        st.lists(
            st.one_of(st.none(), st.integers(-(10**9), 10**9), st.integers(-(2**63), 2**63 - 1)),
            min_size=1,
            max_size=40,
        ),
        st.booleans(),
    )
    def test_whatever_the_file_says_times_increase_from_zero(self, ticks: list[int | None], resets: bool) -> None:
        times = times_of(ticks, ContainerClock(time_base=0.001, has_resets=resets))
        assert len(times.seconds) == len(ticks)
        assert times.seconds[0] == 0
        assert np.all(np.diff(times.seconds) > 0)
        assert np.isfinite([times.fps, times.interval_s, times.end_s]).all()
        assert times.end_s > times.seconds[-1]

    @given(st.lists(st.integers(1, 500), min_size=1, max_size=40))
    def test_times_that_increase_stay_as_they_are(self, steps: list[int]) -> None:
        ticks = np.cumsum(steps)
        assert times_of(ticks.tolist()).seconds == pytest.approx((ticks - ticks[0]) / 1000)


class TestGaps:
    @pytest.mark.parametrize("length_s", [2, 3, 5, 60, 300, 3000])
    def test_a_gap_stays_and_is_named(self, length_s: int) -> None:
        times = times_of(EVEN[:30] + [tick + 1000 * length_s for tick in EVEN[30:]], last_duration=40)
        assert times.seconds[30:] == pytest.approx(1.2 + length_s + np.arange(30) / 25)
        assert times.warnings == [f"no new picture for {length_s}.0 s, starting at 1.2 s"]
        assert [times.fps, times.end_s] == pytest.approx([25, 2.4 + length_s])
        assert times.gaps.tolist() == [29]

    def test_a_slide_show_has_no_gaps(self) -> None:
        times = times_of([20_000 * i for i in range(10)], last_duration=20_000)
        assert times.seconds == pytest.approx(20 * np.arange(10))
        assert [times.warnings, times.end_s] == [[], pytest.approx(200)]

    def test_what_the_sound_covers_is_a_gap_however_long(self) -> None:
        ticks = EVEN[:30] + [tick + 2 * HOUR for tick in EVEN[30:]]
        assert times_of(ticks, ContainerClock(time_base=0.001, sound_end_s=7300)).seconds[-1] == pytest.approx(7202.36)
        assert times_of(ticks).seconds[-1] == pytest.approx(2.36)

    def test_the_last_frame_ends_after_its_own_duration_or_the_median_interval(self) -> None:
        assert times_of(EVEN, last_duration=200).end_s == pytest.approx(2.56)
        assert times_of(EVEN, last_duration=0).end_s == pytest.approx(2.4)
        assert times_of(EVEN, last_duration=3 * HOUR).end_s == pytest.approx(2.4)


class TestOrder:
    def test_what_the_encoder_reorders_is_orderly(self) -> None:
        pts = np.array([0, 3, 1, 2, 6, 4, 5, 9, 7, 8])
        assert are_orderly(pts, np.argsort(pts), np.arange(10) - 1)

    @pytest.mark.parametrize("wrong", [3 * HOUR, 2400, -1])
    def test_a_picture_out_of_place_is_not(self, wrong: int) -> None:
        pts = np.array(changed(EVEN, _20=wrong))
        assert not are_orderly(pts, np.argsort(pts))

    def test_a_gap_is_orderly(self) -> None:
        pts = np.array(EVEN[:30] + [tick + HOUR for tick in EVEN[30:]])
        assert are_orderly(pts, np.argsort(pts), pts)


class TestFiles:
    """Files with chosen packet times: the pictures keep their order, and the time base stays."""

    @pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
    @pytest.mark.parametrize("wrong", [3 * HOUR, 100_000])
    @pytest.mark.parametrize("position", [10, 20, 59])
    def test_one_picture_far_in_the_future(self, tmp_path: Path, name: str, wrong: int, position: int) -> None:
        path = write_packet_times(tmp_path / name, changed(EVEN, **{f"_{position}": wrong}))
        with VideoReader(path) as reader:
            assert [frame_number(frame) for _, frame in reader.frames(range(60))] == list(range(60))
            assert reader.timestamps_s == pytest.approx(np.arange(60) / 25)
            assert [reader.fps, reader.duration_s] == pytest.approx([25, 2.4])
            assert len(reader.warnings) == 1
            assert f"{(wrong - 40 * (position - 1)) / 1000:.1f} s" in reader.warnings[0]

    def test_one_repeated_picture(self, tmp_path: Path) -> None:
        ticks = changed(EVEN, _20=760)
        with VideoReader(write_packet_times(tmp_path / "clip.mkv", ticks, dts=ticks)) as reader:
            assert [frame_number(frame) for _, frame in reader.frames(range(60))] == list(range(60))
            assert reader.timestamps_s == pytest.approx(np.arange(60) / 25)
            assert "repeated" in reader.warnings[0]

    @pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
    def test_a_recording_that_waits_for_motion(self, tmp_path: Path, name: str) -> None:
        ticks = EVEN[:30] + [tick + 300_000 for tick in EVEN[30:]]
        with VideoReader(write_packet_times(tmp_path / name, ticks, dts=ticks)) as reader:
            assert reader.timestamps_s == pytest.approx(np.array(ticks) / 1000)
            assert [reader.fps, reader.duration_s] == pytest.approx([25, 302.4])
            assert reader.gaps == {29: pytest.approx(1.2)}
            assert reader.warnings == ["no new picture for 300.0 s, starting at 1.2 s"]

    def test_half_of_a_stream_hours_ahead(self, tmp_path: Path) -> None:
        ticks = EVEN[:30] + [tick + 3 * HOUR for tick in EVEN[30:]]
        with VideoReader(write_packet_times(tmp_path / "clip.ts", ticks, dts=ticks)) as reader:
            assert [frame_number(frame) for _, frame in reader.frames(range(60))] == list(range(60))
            assert reader.timestamps_s == pytest.approx(np.arange(60) / 25)
            assert reader.duration_s == pytest.approx(2.4)
            assert "jump forward by 10800.0 s at 1.20 s" in reader.warnings[0]

    def test_two_streams_joined_byte_by_byte(self, tmp_path: Path) -> None:
        one = write_packet_times(tmp_path / "one.ts", EVEN, dts=EVEN).read_bytes()
        (tmp_path / "both.ts").write_bytes(one + one)
        with VideoReader(tmp_path / "both.ts") as reader:
            steps = [b - a for a, b in pairwise(reader.timestamps_s.tolist())]
            assert reader.num_frames == 120
            assert steps == pytest.approx([0.04] * 119)
            assert any("jump back" in warning for warning in reader.warnings)
