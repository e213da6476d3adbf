# SPDX-License-Identifier: Apache-2.0
"""Reading videos: the same frames as decoding everything, clear errors, and nothing opened but the file itself."""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clips import (
    NOT_VIDEOS,
    decode_everything,
    frame_number,
    picture,
    write_audio_only,
    write_clip,
    write_size_change,
    write_truncated,
)
from deepfake_video import video_decoding
from deepfake_video.video_containers import Stopwatch, open_container
from deepfake_video.video_decoding import (
    FrameArray,
    UnsupportedVideoError,
    VideoDecodeError,
    VideoError,
    VideoLimits,
    VideoNotFoundError,
    VideoReader,
    VideoTimeoutError,
    VideoTooLargeError,
    VideoUnreadableError,
    select_frames,
)


Sampling = Literal["even", "first", "bursts"]
B_FRAMES = {"preset": "veryfast"}
INTERLACED = {"preset": "veryfast", "x264-params": "tff=1"}
OPEN_GROUPS = {"preset": "veryfast", "x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
HIDDEN_FRAMES = {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5", "deadline": "good"}


def hevc(parameters: str) -> dict[str, str]:
    return {"preset": "ultrafast", "x265-params": f"log-level=0:bframes=4:b-adapt=0:{parameters}"}


SEEKABLE_CLIPS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"num_frames": 70, "keyframe_every": 30, "options": B_FRAMES},
    "h264_one_group.mp4": {"num_frames": 70, "keyframe_every": 250, "options": B_FRAMES},
    "h264_open_groups.mp4": {"num_frames": 70, "options": OPEN_GROUPS},
    "h264_open_groups.mkv": {"num_frames": 70, "options": OPEN_GROUPS},
    "h264_only_keyframes.mp4": {"keyframe_every": 1},
    "h264_two_audio.mp4": {"audio": True, "options": B_FRAMES},
    "hevc.mp4": {"codec": "libx265", "num_frames": 60, "options": hevc("keyint=20")},
    "hevc_open_groups.mkv": {"codec": "libx265", "num_frames": 60, "options": hevc("keyint=20:open-gop=1")},
    "hevc_layers.mp4": {"codec": "libx265", "num_frames": 60, "options": hevc("keyint=20:temporal-layers=3")},
    "hevc_10_bit.mp4": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": hevc("keyint=10")},
    "vp8.webm": {"codec": "libvpx", "num_frames": 60, "options": HIDDEN_FRAMES},
    "vp9.webm": {"codec": "libvpx-vp9", "num_frames": 60, "options": HIDDEN_FRAMES},
    "mpeg4.mp4": {"codec": "mpeg4", "max_b_frames": 2},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "av1.mkv": {"codec": "libsvtav1", "options": {"preset": "12"}},
    "h264.3gp": {"options": B_FRAMES},
    "uneven_times.mkv": {"times": [40 * i + 15 * (i % 2) for i in range(30)], "options": B_FRAMES},
}
SEQUENTIAL_CLIPS: dict[str, dict[str, Any]] = {
    "h264.ts": {"options": B_FRAMES},
    "h264.flv": {"options": B_FRAMES},
    "h264.avi": {"options": B_FRAMES},
    "hevc.ts": {"codec": "libx265", "num_frames": 60, "options": hevc("keyint=20")},
    "h264_interlaced.mp4": {"options": INTERLACED},
    "h264_interlaced.ts": {"options": INTERLACED},
    "h264_interlaced.avi": {"options": INTERLACED},
    "mpeg2.mpg": {"codec": "mpeg2video", "max_b_frames": 2},
    "mpeg2_interlaced.ts": {"codec": "mpeg2video", "max_b_frames": 2, "options": {"flags": "+ildct+ilme"}},
    "mpeg4.avi": {"codec": "mpeg4", "max_b_frames": 2},
    "mpeg1.mpg": {"codec": "mpeg1video", "max_b_frames": 2},
    "moving.gif": {"codec": "gif", "pix_fmt": "rgb8", "fps": 10},
}
FALLBACK_CLIPS: dict[str, dict[str, Any]] = {
    "h264_no_full_keyframes.mp4": {"options": {"preset": "veryfast", "x264-params": "intra-refresh=1"}},
}
ALL_CLIPS = SEEKABLE_CLIPS | SEQUENTIAL_CLIPS | FALLBACK_CLIPS


class Clips:
    """Clips by name, written and fully decoded when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.decoded: dict[str, list[np.ndarray]] = {}

    def path(self, name: str) -> Path:
        path = self.folder / name
        return path if path.exists() else write_clip(path, **ALL_CLIPS[name])

    def frames(self, name: str) -> list[np.ndarray]:
        if name not in self.decoded:
            self.decoded[name] = decode_everything(self.path(name))
        return self.decoded[name]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


def read(path: str | Path, indices: list[int] | None = None, **limits: Any) -> list[np.ndarray]:
    with VideoReader(path, limits=VideoLimits(**limits)) as reader:
        return [frame for _, frame in reader.frames(range(reader.num_frames) if indices is None else indices)]


class TestFrames:
    @pytest.mark.parametrize("name", ALL_CLIPS)
    def test_any_subset_of_frames_equals_full_decoding(self, clips: Clips, name: str) -> None:
        everything = clips.frames(name)

        @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.sets(st.integers(0, len(everything) - 1), min_size=1, max_size=8))
        def check(wanted: set[int]) -> None:
            with VideoReader(clips.path(name)) as reader:
                found = list(reader.frames(wanted))
            assert [index for index, _ in found] == sorted(wanted)
            assert all(np.array_equal(frame, everything[index]) for index, frame in found)

        check()

    @pytest.mark.parametrize("name", ALL_CLIPS)
    def test_all_frames_equal_full_decoding(self, clips: Clips, name: str) -> None:
        found, everything = read(clips.path(name)), clips.frames(name)
        assert len(found) == len(everything)
        assert all(np.array_equal(frame, expected) for frame, expected in zip(found, everything, strict=True))

    @pytest.mark.parametrize("name", SEEKABLE_CLIPS)
    def test_where_times_can_be_trusted_not_everything_is_decoded(
        self, clips: Clips, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(reader: VideoReader) -> None:
            raise AssertionError("everything was decoded")

        monkeypatch.setattr(VideoReader, "_decode_all", fail)
        assert [frame_number(frame) for frame in read(clips.path(name), [0, 17, 29])] == [0, 17, 29]

    def test_indices_may_be_unordered_and_repeated(self, clips: Clips) -> None:
        with VideoReader(clips.path("h264.mp4")) as reader:
            assert [index for index, _ in reader.frames([9, 3, 9, 3])] == [3, 9]

    def test_no_indices_give_no_frames(self, clips: Clips) -> None:
        assert read(clips.path("h264.mp4"), []) == []

    @pytest.mark.parametrize("index", [-1, 70])
    def test_an_index_outside_the_video_is_refused(self, clips: Clips, index: int) -> None:
        with VideoReader(clips.path("h264.mp4")) as reader, pytest.raises(IndexError, match="has 70 frames"):
            reader.frames([index])

    @pytest.mark.parametrize("num_frames", [1, 3])
    def test_very_short_clips_are_read(self, tmp_path: Path, num_frames: int) -> None:
        path = write_clip(tmp_path / "short.mp4", num_frames=num_frames)
        assert [frame_number(frame) for frame in read(path)] == list(range(num_frames))

    def test_frames_are_counted_where_the_container_does_not_say(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "live.webm", codec="libvpx-vp9", container_options={"live": "1"})
        with av.open(str(path)) as container:
            assert container.streams.video[0].frames == 0
        with VideoReader(path) as reader:
            assert reader.num_frames == 30
            assert [frame_number(frame) for _, frame in reader.frames([0, 14, 29])] == [0, 14, 29]

    def test_a_change_of_size_inside_the_file_is_kept(self, tmp_path: Path) -> None:
        shapes = [frame.shape for frame in read(write_size_change(tmp_path / "change.mkv"), [0, 7, 8, 15])]
        assert shapes == [(64, 96, 3)] * 2 + [(48, 64, 3)] * 2

    def test_colours_follow_the_declared_matrix(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "bt709.mp4", num_frames=2, colorspace=1, options={"qp": "0"})
        with av.open(str(path)) as container:
            declared = next(container.decode(video=0)).colorspace
        middle = read(path, [0])[0][32:].mean((0, 1))
        assert declared == 1
        assert np.array_equal(middle, decode_everything(path)[0][32:].mean((0, 1)))

    def test_colours_follow_the_declared_range(self, tmp_path: Path) -> None:
        kinds = {"limited": 1, "full": 2}
        paths = {
            name: write_clip(tmp_path / f"{name}.mp4", num_frames=2, color_range=number, options={"qp": "0"})
            for name, number in kinds.items()
        }
        frames = {name: read(path, [0])[0] for name, path in paths.items()}
        assert all(np.array_equal(frames[name], decode_everything(path)[0]) for name, path in paths.items())
        # The encoder wrote the same numbers twice: read as full range, they have less contrast.
        assert frames["full"].std() < 0.95 * frames["limited"].std()

    def test_texts_that_are_no_unicode_do_not_matter(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "title.mkv", num_frames=2, title="TITLE")
        path.write_bytes(path.read_bytes().replace(b"TITLE", b"\xff\xfe\xe9\xff\xff"))
        with pytest.raises(UnicodeDecodeError), av.open(str(path)):
            pass
        assert [frame_number(frame) for frame in read(path)] == [0, 1]

    @pytest.mark.parametrize("threads", [1, 2])
    def test_the_number_of_threads_changes_nothing(self, clips: Clips, threads: int) -> None:
        found = read(clips.path("h264.mp4"), [5, 40, 69], decode_threads=threads)
        assert all(np.array_equal(f, clips.frames("h264.mp4")[i]) for i, f in zip([5, 40, 69], found, strict=True))

    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no CPU affinity")
    def test_a_process_with_one_core_decodes_in_one_thread(
        self, clips: Clips, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3})
        limits = VideoLimits()
        with clips.path("h264.mp4").open("rb") as file:
            container, stream = open_container(
                file, "h264.mp4", limits=limits, watch=Stopwatch("h264.mp4", limits), is_threaded=True
            )
            assert stream.codec_context.thread_count == 1
            container.close()


class TestRotation:
    @pytest.mark.parametrize("rotation", [90, 180, -90])
    def test_frames_are_turned_upright(self, tmp_path: Path, rotation: int) -> None:
        path = write_clip(tmp_path / "turned.mp4", num_frames=2, rotation=rotation)
        expected = np.rot90(decode_everything(path)[1], rotation // 90)
        assert np.array_equal(read(path, [1])[0], expected)

    def test_width_and_height_are_as_displayed(self, tmp_path: Path) -> None:
        with VideoReader(write_clip(tmp_path / "turned.mp4", num_frames=2, rotation=90)) as reader:
            assert (reader.width, reader.height) == (64, 96)

    def test_mirrored_frames_are_mirrored_back(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "mirrored.mp4", num_frames=2, display_mirrored=True)
        assert np.array_equal(read(path, [0])[0], decode_everything(path)[0][:, ::-1])


class TestTimes:
    def test_timestamps_start_at_zero_and_follow_the_frame_rate(self, clips: Clips) -> None:
        with VideoReader(clips.path("h264.mp4")) as reader:
            assert reader.timestamps_s == pytest.approx(np.arange(70) / 25)
            assert [reader.fps, reader.duration_s] == pytest.approx([25, 2.8])

    def test_uneven_times_are_told(self, clips: Clips) -> None:
        with VideoReader(clips.path("uneven_times.mkv")) as reader:
            assert reader.timestamps_s[:4] == pytest.approx([0, 0.055, 0.08, 0.135])

    def test_a_single_frame_has_a_time_and_a_rate(self, tmp_path: Path) -> None:
        with VideoReader(write_clip(tmp_path / "one.mp4", num_frames=1)) as reader:
            assert (reader.timestamps_s.tolist(), reader.fps) == ([0.0], 25.0)


class TestCache:
    def test_a_second_pass_decodes_nothing(self, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
        with VideoReader(clips.path("h264.mp4")) as reader:
            first = list(reader.frames([3, 33]))
            monkeypatch.setattr(reader, "_decode_run", lambda run: pytest.fail("decoded again"))
            second = list(reader.frames([3, 33]))
        assert all(a[1] is b[1] for a, b in zip(first, second, strict=True))

    def test_frames_beyond_the_budget_are_decoded_again(self, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(video_decoding, "CACHE_BYTES", 3 * 96 * 64 * 3)
        with VideoReader(clips.path("h264.mp4")) as reader:
            for _ in range(2):
                assert [frame_number(frame) for _, frame in reader.frames(range(0, 70, 9))] == list(range(0, 70, 9))
            assert len(reader._cache) == 3

    def test_frames_that_nobody_wants_again_are_not_kept(self, clips: Clips) -> None:
        with VideoReader(clips.path("h264.mp4")) as reader:
            assert [frame_number(frame) for _, frame in reader.frames([3, 33], keep=False)] == [3, 33]
            assert not reader._cache

    def test_frames_of_another_request_make_room(self, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(video_decoding, "CACHE_BYTES", 2 * 96 * 64 * 3)
        with VideoReader(clips.path("h264.mp4")) as reader:
            list(reader.frames([1, 2]))
            list(reader.frames([8, 9]))
            assert sorted(reader._cache) == [8, 9]

    def test_a_new_iteration_ends_the_one_before(self, clips: Clips) -> None:
        with VideoReader(clips.path("h264.mp4")) as reader:
            older = reader.frames(range(70))
            next(older)
            assert [index for index, _ in reader.frames([5])] == [5]
            with pytest.raises(RuntimeError, match="another one started"):
                next(older)


class TestDamage:
    def test_a_clip_cut_short_is_read_as_far_as_it_goes(self, tmp_path: Path) -> None:
        whole = write_clip(tmp_path / "whole.mp4", num_frames=60, container_options={"movflags": "faststart"})
        with VideoReader(write_truncated(tmp_path / "cut.mp4", whole)) as reader:
            assert 10 < reader.num_frames < 60
            assert [frame_number(frame) for _, frame in reader.frames([0, 9])] == [0, 9]
            assert re.search(r"damaged or cut off after about [12]\.\d s", reader.warnings[0])

    @pytest.mark.parametrize("name", ["h264_open_groups.mkv", "vp9.webm", "h264.ts", "h264.avi"])
    def test_a_clip_cut_short_says_so_in_any_container(self, clips: Clips, tmp_path: Path, name: str) -> None:
        content = clips.path(name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) * 4 // 5 // 188 * 188 + 90])
        with VideoReader(clips.path(name)) as whole, VideoReader(tmp_path / name) as cut:
            assert whole.warnings == []
            assert 0 < cut.num_frames < whole.num_frames
            assert any("damaged or cut off after about" in text for text in cut.warnings)

    @pytest.mark.parametrize(
        ("name", "codec", "end_s"),
        [
            ("clip.avi", "mpeg4", 4.0),
            ("sound.avi", "libx264", 4.0),
            ("clip.wmv", "wmv2", None),
            ("clip.gif", "gif", None),
        ],
    )
    def test_what_is_cut_off_counts_as_unread(
        self, tmp_path: Path, name: str, codec: str, end_s: float | None
    ) -> None:
        pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        whole = write_clip(tmp_path / name, codec=codec, num_frames=100, pix_fmt=pix_fmt, audio=name == "sound.avi")
        with VideoReader(whole) as reader:
            assert (reader.unread, reader.warnings) == ([], [])
        with VideoReader(write_truncated(tmp_path / f"cut.{name}", whole)) as reader:
            (unread,) = reader.unread
            assert (unread.reason, unread.start_s) == ("cut_off", reader.duration_s)
            assert unread.end_s == (None if end_s is None else pytest.approx(end_s, abs=0.1))
            assert 1 < reader.duration_s < 3
            assert "damaged or cut off after about" in reader.warnings[0]

    def test_a_hole_in_an_avi_file_counts_as_unread(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "hole.avi", codec="mpeg4", num_frames=100)
        content = bytearray(path.read_bytes())
        start, stop = len(content) * 35 // 100, len(content) * 75 // 100
        content[start:stop] = bytes(stop - start)
        path.write_bytes(content)
        with VideoReader(path) as reader:
            assert reader.num_frames < 90
            (unread,) = reader.unread
            assert (unread.reason, unread.end_s) == ("cut_off", pytest.approx(4.0))

    def test_pictures_before_the_first_decodable_one_count_as_damaged(self, tmp_path: Path) -> None:
        whole = write_clip(tmp_path / "whole.ts", num_frames=200, keyframe_every=100)
        with av.open(str(whole)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        starts = [packet.pos for packet in packets if packet.is_keyframe]
        content = whole.read_bytes()
        # From the second picture on, so that the ones up to the next keyframe have none.
        begin = next(packet.pos for packet in packets[3:])
        (tmp_path / "late.ts").write_bytes(content[: starts[0]] + content[begin:])
        with VideoReader(whole) as reader:
            bits_per_frame = reader.num_bytes / reader.num_frames
        with VideoReader(tmp_path / "late.ts") as reader:
            (unread,) = reader.unread
            assert unread.reason == "undecodable"
            assert unread.end_s - unread.start_s == pytest.approx(97 / 25, abs=0.2)
            assert reader.num_bytes / reader.num_frames == pytest.approx(bits_per_frame, rel=0.3)

    def test_a_change_to_a_forbidden_size_is_told(self, tmp_path: Path) -> None:
        path = write_size_change(tmp_path / "grows.mkv", then=(1600, 1200))
        with VideoReader(path, limits=VideoLimits(max_frame_pixels=10_000)) as reader:
            assert [index for index, _ in reader.frames([0, 7, 8, 15])] == [0, 7]
            assert any("exceeds 10,000 pixels after about 0.3 s" in text for text in reader.warnings)

    def test_a_clip_without_its_table_of_contents_is_a_decode_error(self, clips: Clips, tmp_path: Path) -> None:
        cut = write_truncated(tmp_path / "cut.mp4", clips.path("h264.mp4"))
        with pytest.raises(VideoDecodeError, match=r"cut\.mp4: the video is damaged"):
            VideoReader(cut)

    def test_damaged_frames_are_left_out_with_a_warning(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "clip.mkv", codec="mjpeg", pix_fmt="yuvj420p")
        content = bytearray(path.read_bytes())
        starts = [match.start() for match in re.finditer(rb"\xff\xd8\xff", content)]
        content[starts[10] : starts[11] - 200] = bytes(starts[11] - 200 - starts[10])
        path.write_bytes(content)
        with VideoReader(path) as reader:
            assert [index for index, _ in reader.frames(range(8, 14))] == [8, 9, 11, 12, 13]
            said = "1 of the requested frames cannot be decoded, the first at 0.4 s"
            assert any(said in text for text in reader.warnings)

    def test_a_clip_of_which_nothing_decodes_is_a_decode_error(self, clips: Clips, tmp_path: Path) -> None:
        content = clips.path("h264_only_keyframes.mp4").read_bytes()
        start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
        (tmp_path / "noise.mp4").write_bytes(content[:start] + b"\x55" * (end - start) + content[end:])
        with pytest.raises(VideoDecodeError, match="no frame can be decoded"):
            read(tmp_path / "noise.mp4", [0, 1, 2])

    @pytest.mark.parametrize("name", ["h264.mp4", "vp9.webm", "h264.ts", "mpeg4.avi"])
    def test_random_damage_ends_in_frames_or_a_video_error(self, clips: Clips, tmp_path: Path, name: str) -> None:
        original = clips.path(name).read_bytes()
        for seed in range(15):
            random = np.random.default_rng(seed)
            content = np.frombuffer(original, np.uint8).copy()
            content[random.integers(0, len(content), 20)] = random.integers(0, 256, 20)
            path = tmp_path / name
            path.write_bytes(content.tobytes())
            try:
                results = [read(path, [0, 3], decode_threads=1) for _ in range(2)]
            except (VideoError, IndexError):
                continue
            assert len(results[0]) == len(results[1])
            assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


class TestRefusals:
    @pytest.mark.parametrize("name", NOT_VIDEOS)
    def test_what_is_no_video_is_unsupported(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(NOT_VIDEOS[name])
        with pytest.raises(UnsupportedVideoError, match=re.escape(name)):
            VideoReader(tmp_path / name)

    def test_a_clip_without_pictures_is_unsupported(self, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedVideoError, match="no video stream"):
            VideoReader(write_audio_only(tmp_path / "sound.mp4"))

    def test_the_picture_on_the_cover_of_a_song_is_no_video(self, tmp_path: Path) -> None:
        path = write_audio_only(tmp_path / "song.mp4", has_cover=True)
        with av.open(str(path)) as container:
            assert len(container.streams.video) == 1
        with pytest.raises(UnsupportedVideoError, match="no video stream"):
            VideoReader(path)

    def test_a_still_gif_is_unsupported(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "still.gif", codec="gif", pix_fmt="rgb8", num_frames=1)
        with pytest.raises(UnsupportedVideoError, match="still picture"):
            VideoReader(path)

    def test_a_codec_off_the_list_is_unsupported(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "clip.mov", codec="png", pix_fmt="rgb24", num_frames=2)
        with pytest.raises(UnsupportedVideoError, match="codec \\(png\\)"):
            VideoReader(path)

    def test_a_directory_is_unsupported(self, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedVideoError, match="directory"):
            VideoReader(tmp_path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_pipe_is_refused_without_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.mp4")
        with pytest.raises(UnsupportedVideoError, match="pipe"):
            VideoReader(tmp_path / "pipe.mp4")

    @pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no device files here")
    def test_a_device_is_refused(self) -> None:
        with pytest.raises(UnsupportedVideoError, match="device"):
            VideoReader("/dev/zero")

    @pytest.mark.parametrize(
        "source",
        [
            "missing.mp4",
            "",
            "a\0b",
            "x" * 5000,
            "concat:a.ts|b.ts",
            "subfile:,,:a",
            "rtmp://127.0.0.1/a",
            "file:a.mp4",
        ],
    )
    def test_what_is_no_file_is_not_found(self, source: str) -> None:
        with pytest.raises(VideoNotFoundError):
            VideoReader(source)

    @pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="everything is readable here")
    def test_a_file_without_permission_is_unreadable(self, clips: Clips, tmp_path: Path) -> None:
        path = tmp_path / "locked.mp4"
        path.write_bytes(b"\0")
        path.chmod(0)
        with pytest.raises(VideoUnreadableError, match="Permission"):
            VideoReader(path)

    def test_an_error_is_one_line_and_survives_pickling(self) -> None:
        with pytest.raises(VideoNotFoundError) as caught:
            VideoReader("bad\nname.mp4")
        copy = pickle.loads(pickle.dumps(caught.value))
        assert str(copy) == str(caught.value) == r"bad\nname.mp4: no such file"
        assert copy.reason == "not_found"

    @pytest.mark.skipif(os.name == "nt", reason="such names do not exist there")
    @pytest.mark.parametrize("name", ["http:clip.mp4", "-x.mp4", "new\nline.mp4", "%03d.mp4", "vidéo ☃.mp4", "*.mp4"])
    def test_an_existing_path_is_itself_whatever_it_looks_like(
        self, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path(name).write_bytes(clips.path("h264_only_keyframes.mp4").read_bytes())
        assert frame_number(read(name, [4])[0]) == 4


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """What the process opens during a test, files and network addresses."""
    events: list[str] = []
    is_active = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        wraps_descriptor = event == "open" and isinstance(arguments[0], int)
        if is_active and (event == "open" or event.startswith("socket.")) and not wraps_descriptor:
            events.append(f"{event} {arguments[0]}")

    sys.addaudithook(watch)
    yield events
    is_active = False


class TestGuards:
    def test_only_the_file_itself_is_opened(self, clips: Clips, opened: list[str]) -> None:
        path = clips.path("h264_only_keyframes.mp4")
        opened.clear()
        read(path, [0, 20])
        assert opened == [f"open {path}"]

    def test_a_playlist_opens_no_other_file(self, clips: Clips, tmp_path: Path, opened: list[str]) -> None:
        # Past the look at the head: a playlist behind a byte that no text has.
        path = tmp_path / "list.mp4"
        path.write_bytes(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\x01\n{clips.path('h264.ts')}\n".encode())
        opened.clear()
        with pytest.raises(UnsupportedVideoError):
            VideoReader(path)
        assert opened == [f"open {path}"]

    def test_the_demuxers_of_playlists_are_out_of_reach(
        self, clips: Clips, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("deepfake_video.video_opening.refuse_lookalikes", lambda file, source: None)
        folder = clips.path("h264.ts").parent
        for text in ("#EXTM3U\n#EXTINF:1,\nh264.ts\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile h264.ts\n"):
            path = folder / "list.mp4"
            path.write_text(text)
            opened.clear()
            with pytest.raises(UnsupportedVideoError):
                VideoReader(path)
            assert opened == [f"open {path}"]

    @pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "h264.avi"])
    def test_large_frames_are_refused_before_decoding(self, clips: Clips, name: str) -> None:
        with pytest.raises(VideoTooLargeError, match="96x64 exceed 6,000 pixels"):
            VideoReader(clips.path(name), limits=VideoLimits(max_frame_pixels=6000))

    def test_large_frames_inside_a_file_are_refused_too(self, tmp_path: Path) -> None:
        path = write_size_change(tmp_path / "grows.mkv", first=(64, 48), then=(96, 64))
        with pytest.raises(VideoTooLargeError, match="96x64"):
            read(path, [0, 12], max_frame_pixels=4000)

    def test_a_video_longer_than_the_limit_is_refused(self, clips: Clips) -> None:
        with VideoReader(clips.path("h264.mp4")) as reader:
            duration_s = reader.duration_s
        with VideoReader(clips.path("h264.mp4"), limits=VideoLimits(max_duration_s=duration_s)):
            pass
        with pytest.raises(VideoTooLargeError, match=r"at most 0\.5 s are allowed"):
            VideoReader(clips.path("h264.mp4"), limits=VideoLimits(max_duration_s=0.5))

    def test_reading_stops_at_the_time_limit(self, clips: Clips) -> None:
        with pytest.raises(VideoTimeoutError, match=r"h264\.mp4: reading took longer than 1e-06 s"):
            VideoReader(clips.path("h264.mp4"), limits=VideoLimits(max_read_s=1e-6))

    def test_the_time_of_the_caller_does_not_count(self, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr("deepfake_video.video_containers.time.monotonic", lambda: now[0])
        with VideoReader(clips.path("h264.mp4"), limits=VideoLimits(max_read_s=1.0)) as reader:
            for _ in reader.frames(range(0, 70, 7)):
                now[0] += 100.0

    def test_too_many_packets_are_refused(self, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deepfake_video.video_packets.MAX_PACKETS", 50)
        with pytest.raises(VideoTooLargeError, match="more than 50 packets"):
            VideoReader(clips.path("h264.mp4"))

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors and threads are counted on Linux")
    def test_nothing_is_left_open_after_many_videos(self, clips: Clips, tmp_path: Path) -> None:
        (tmp_path / "text.mp4").write_bytes(b"text")
        cut = write_truncated(tmp_path / "cut.mp4", clips.path("h264.mp4"))

        def use() -> None:
            read(clips.path("h264.mp4"), [3, 60])
            with VideoReader(clips.path("vp9.webm")) as reader:
                next(reader.frames([1, 2]))
            for broken in (cut, tmp_path / "text.mp4", tmp_path):
                with pytest.raises(VideoError):
                    VideoReader(broken)

        def count_open() -> tuple[int, int]:
            # Linux lists a thread for a moment after it was joined.
            time.sleep(0.5)
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

        gc.disable()
        # Servers of earlier tests may still have theirs.
        threads = threading.active_count()
        try:
            use()
            before = count_open()
            for _ in range(50):
                use()
            after = count_open()
        finally:
            gc.enable()
        assert after == before
        assert threading.active_count() <= threads


class TestLimits:
    def test_allowance_grows_with_the_frames(self) -> None:
        limits = VideoLimits()
        assert [limits.read_allowance_s(n) for n in (1, 32, 36, 132)] == [25, 25, 26, 50]

    def test_limits_come_from_the_environment(self) -> None:
        variables = {"DEEPFAKE_VIDEO_MAX_FRAME_PIXELS": "1_000", "DEEPFAKE_VIDEO_ALLOW_PRIVATE_ADDRESSES": "1"}
        limits = VideoLimits.from_environment(variables)
        assert limits == VideoLimits(max_frame_pixels=1000, allow_private_addresses=True)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("MAX_FRAME_PIXELS", "many"),
            ("MAX_FRAME_PIXELS", "-1"),
            ("MAX_READ_S", "nan"),
            ("MAX_DOWNLOAD_S", "0"),
            ("ALLOW_PRIVATE_ADDRESSES", "maybe"),
        ],
    )
    def test_a_bad_variable_is_named(self, name: str, value: str) -> None:
        with pytest.raises(ValueError, match=f"DEEPFAKE_VIDEO_{name}='{value}'"):
            VideoLimits.from_environment({f"DEEPFAKE_VIDEO_{name}": value})


class TestFrameArray:
    def test_it_reads_like_a_video(self) -> None:
        clip = FrameArray(np.stack([picture(number) for number in range(5)]), fps=10)
        assert (clip.num_frames, clip.width, clip.height, clip.fps, clip.duration_s) == (5, 96, 64, 10, 0.5)
        assert [(index, frame_number(frame)) for index, frame in clip.frames([4, 1, 4])] == [(1, 1), (4, 4)]

    @pytest.mark.parametrize("shape", [(4, 4, 3), (2, 4, 4, 4), (0, 4, 4, 3)])
    def test_other_shapes_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="uint8"):
            FrameArray(np.zeros(shape, np.uint8))


class TestSelectFrames:
    def test_even_frames_are_a_truncated_line(self) -> None:
        assert select_frames(10, 4).tolist() == [0, 3, 6, 9]

    def test_first_frames(self) -> None:
        assert select_frames(10, 3, sampling="first").tolist() == [0, 1, 2]

    def test_bursts_are_spread_groups(self) -> None:
        assert select_frames(20, 6, sampling="bursts", burst_length=3).tolist() == [0, 1, 2, 17, 18, 19]

    @pytest.mark.parametrize("sampling", ["even", "first", "bursts"])
    def test_short_clips_repeat_frames_evenly(self, sampling: Sampling) -> None:
        assert select_frames(3, 6, sampling=sampling, burst_length=2).tolist() == [0, 0, 1, 1, 2, 2]

    @given(st.integers(1, 500), st.integers(1, 60), st.sampled_from(["even", "first", "bursts"]), st.integers(1, 6))
    def test_indices_ascend_inside_the_clip(
        self, total: int, groups: int, sampling: Sampling, burst_length: int
    ) -> None:
        num_frames = groups * burst_length
        indices = select_frames(total, num_frames, sampling=sampling, burst_length=burst_length)
        assert indices.shape == (num_frames,)
        assert indices.dtype == np.int64
        assert indices.min() >= 0
        assert indices.max() < total
        if sampling != "bursts":
            assert np.all(np.diff(indices) >= 0)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"total": 0, "num_frames": 4},
            {"total": 9, "num_frames": 0},
            {"total": 9, "num_frames": 4, "sampling": "best"},
            {"total": 9, "num_frames": 4, "sampling": "bursts", "burst_length": 3},
            {"total": 9, "num_frames": 4, "sampling": "bursts", "burst_length": 0},
        ],
    )
    def test_bad_arguments_are_refused(self, arguments: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"frame|sampling|burst"):
            select_frames(**arguments)  # type: ignore[arg-type]


def test_frames_that_were_read_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "large.mp4", num_frames=160, width=1280, height=720)
    process = psutil.Process()
    gc.collect()
    gc.disable()
    try:
        with VideoReader(path) as reader:
            for _ in reader.frames(range(60)):  # fills the cache
                pass
            before = process.memory_info().rss
            for _ in reader.frames(range(60, 160)):
                pass
            growth = process.memory_info().rss - before
    finally:
        gc.enable()
    assert growth < 40 << 20  # 100 decoded frames are 132 MiB


def test_a_file_that_changes_while_it_is_read_has_no_hash(tmp_path):
    path = write_clip(tmp_path / "growing.mp4")
    with VideoReader(path) as reader:
        assert reader.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
        with path.open("ab") as file:
            file.write(b"the rest")
        with pytest.raises(VideoUnreadableError, match="the file changed while it was read; score it again"):
            reader.sha256()
