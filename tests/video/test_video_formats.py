# SPDX-License-Identifier: Apache-2.0
"""Which files and streams are read, and by what name the others are refused."""

from __future__ import annotations

import re
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from clips import decode_everything, frame_number, picture, write_clip
from deepfake_video.video_decoding import (
    UnsupportedVideoError,
    VideoDecodeError,
    VideoError,
    VideoLimits,
    VideoReader,
    VideoTooLargeError,
)


PAL = {"codec": "dvvideo", "width": 720, "height": 576, "num_frames": 3}
ARCHIVE_CLIPS: dict[str, dict[str, Any]] = {
    "huffyuv.avi": {"codec": "huffyuv", "pix_fmt": "yuv422p"},
    "ffvhuff.avi": {"codec": "ffvhuff"},
    "ffv1.avi": {"codec": "ffv1"},
    "ffv1.mkv": {"codec": "ffv1", "options": {"level": "3", "slicecrc": "1"}},
    "bgr.avi": {"codec": "rawvideo", "pix_fmt": "bgr24"},
    "raw.avi": {"codec": "rawvideo"},
    "raw.mkv": {"codec": "rawvideo"},
    "raw.mov": {"codec": "rawvideo", "pix_fmt": "uyvy422"},
    "v210.mov": {"codec": "v210", "pix_fmt": "yuv422p10le"},
    "utvideo.avi": {"codec": "utvideo"},
    "magicyuv.avi": {"codec": "magicyuv"},
    "jpeg2000.mov": {"codec": "jpeg2000"},
    "jpeg2000.mxf": {"codec": "jpeg2000", "pix_fmt": "yuv422p"},
    "pal.dv": PAL,
    "dv.avi": PAL,
    "raw.y4m": {"codec": "rawvideo", "container": "yuv4mpegpipe"},
    "stream.h264": {"options": {"preset": "veryfast"}},
    "stream.hevc": {"codec": "libx265"},
    "moving.png": {"codec": "apng", "pix_fmt": "rgb24", "container": "apng"},
}
MJPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
FIRST, SECOND = (96, 64), (64, 48)


def write_streams(path: Path, *streams: dict[str, Any]) -> Path:
    """A file with several video streams of 8 frames (or `num_frames`) each; `size` tells them apart."""
    with av.open(str(path), "w") as output:
        added = []
        for settings in streams:
            stream: Any = output.add_stream(settings.get("codec", "libx264"), rate=25)
            stream.width, stream.height = settings["size"]
            stream.pix_fmt = settings.get("pix_fmt", "yuv420p")
            stream.disposition = settings.get("disposition", Disposition(0))
            added.append(stream)
        for settings, stream in zip(streams, added, strict=True):
            for number in range(settings.get("num_frames", 8)):
                frame = av.VideoFrame.from_ndarray(picture(number, *settings["size"]), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


def multiply_track(path: Path, copies: int) -> Path:
    """Repeats the only track in the index (moov) of an MP4 file whose index stands at the end."""
    content = path.read_bytes()
    start = content.rindex(b"moov") - 4
    moov = content[start : start + int.from_bytes(content[start : start + 4], "big")]
    at = moov.index(b"trak") - 4
    size = int.from_bytes(moov[at : at + 4], "big")
    longer = moov[:at] + moov[at : at + size] * copies + moov[at + size :]
    path.write_bytes(content[:start] + len(longer).to_bytes(4, "big") + longer[4:] + content[start + len(moov) :])
    return path


def numbers(path: Path, **limits: Any) -> list[int]:
    with VideoReader(path, limits=VideoLimits(**limits)) as reader:
        return [frame_number(frame) for _, frame in reader.frames(range(reader.num_frames))]


class TestArchives:
    @pytest.mark.parametrize("name", ARCHIVE_CLIPS)
    def test_it_is_read_frame_by_frame(self, tmp_path: Path, name: str) -> None:
        settings = {"num_frames": 8, **ARCHIVE_CLIPS[name]}
        path = write_clip(tmp_path / name, **settings)
        with VideoReader(path) as reader:
            found = [frame for _, frame in reader.frames(range(reader.num_frames))]
            assert [frame_number(frame) for frame in found] == list(range(settings["num_frames"]))
            # Two frames of the middle alone, after the whole: the same pictures.
            again = dict(reader.frames([1, 2], keep=False))
        assert all(np.array_equal(again[index], found[index]) for index in (1, 2))
        if found[0].shape == (64, 96, 3):  # square pixels
            assert all(np.array_equal(a, b) for a, b in zip(found, decode_everything(path), strict=True))

    def test_a_white_y4m_has_no_control_byte_and_is_no_text(self, tmp_path: Path) -> None:
        header = b"YUV4MPEG2 W64 H32 F25:1 Ip A1:1 C420\n"
        (tmp_path / "white.y4m").write_bytes(header + (b"FRAME\n" + b"\xeb" * 2048 + b"\x80" * 1024) * 3)
        with VideoReader(tmp_path / "white.y4m") as reader:
            assert (reader.num_frames, reader.fps) == (3, 25)
            assert np.all(next(reader.frames([1]))[1] == 255)

    @pytest.mark.parametrize("fps", [25, 30, 50])
    def test_an_elementary_stream_has_the_rate_of_its_codec(self, tmp_path: Path, fps: int) -> None:
        with VideoReader(write_clip(tmp_path / "stream.h264", fps=fps, num_frames=20)) as reader:
            assert (reader.num_frames, reader.fps) == (20, pytest.approx(fps))
            assert f"{fps} frames per second are assumed" in reader.warnings[0]

    @pytest.mark.parametrize("name", ["huffyuv.avi", "raw.mkv", "raw.y4m", "stream.h264", "moving.png"])
    def test_the_limits_hold(self, tmp_path: Path, name: str) -> None:
        path = write_clip(tmp_path / name, **{"num_frames": 8, **ARCHIVE_CLIPS[name]})
        with pytest.raises(VideoTooLargeError):
            numbers(path, max_frame_pixels=1000)

    @pytest.mark.parametrize("name", ARCHIVE_CLIPS)
    def test_damage_ends_in_frames_or_a_video_error(self, tmp_path: Path, name: str) -> None:
        path = write_clip(tmp_path / name, **{"num_frames": 8, **ARCHIVE_CLIPS[name]})
        original = path.read_bytes()
        for seed in range(8):
            random = np.random.default_rng(seed)
            content = np.frombuffer(original, np.uint8).copy()
            content[random.integers(0, len(content), 20)] = random.integers(0, 256, 20)
            path.write_bytes(content[: len(content) * (8 + seed) // 16].tobytes())
            try:
                results = [numbers(path, decode_threads=1) for _ in range(2)]
            except VideoError:
                continue
            assert results[0] == results[1]


class TestAnimatedPictures:
    def test_an_animated_avif_is_the_short_video_that_it_is(self, tmp_path: Path) -> None:
        frames = [Image.fromarray(picture(number)) for number in range(6)]
        frames[0].save(tmp_path / "moving.avif", save_all=True, append_images=frames[1:], duration=100, quality=90)
        assert numbers(tmp_path / "moving.avif") == list(range(6))

    def test_an_animated_webp_is_refused_by_its_name(self, tmp_path: Path) -> None:
        frames = [Image.fromarray(picture(number)) for number in range(6)]
        frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], duration=100)
        with pytest.raises(UnsupportedVideoError, match="animated WebP"):
            VideoReader(tmp_path / "moving.webp")

    @pytest.mark.parametrize("name", ["still.webp", "still.png", "still.avif"])
    def test_a_still_picture_is_refused_as_one(self, tmp_path: Path, name: str) -> None:
        Image.fromarray(picture(0)).save(tmp_path / name)
        with pytest.raises(UnsupportedVideoError, match="still picture"):
            VideoReader(tmp_path / name)

    def test_an_animation_of_which_one_picture_is_left_is_damaged(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "moving.png", codec="apng", pix_fmt="rgb24", container="apng", num_frames=2)
        content = bytearray(path.read_bytes())
        content[int(0.7 * len(content))] ^= 1
        path.write_bytes(content)
        with pytest.raises(VideoDecodeError, match="only one of its 2 pictures"):
            VideoReader(path)

    def test_an_animation_of_one_frame_is_a_still_picture(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "one.png", codec="apng", pix_fmt="rgb24", container="apng", num_frames=1)
        with pytest.raises(UnsupportedVideoError, match="still picture"):
            VideoReader(path)

    def test_an_animation_is_found_behind_a_large_profile(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "moving.png", codec="apng", pix_fmt="rgb24", container="apng", num_frames=4)
        content = path.read_bytes()
        body = b"tEXt" + b"x\0" + b"y" * 5000
        chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        path.write_bytes(content[:33] + chunk + content[33:])  # behind the signature and the header
        assert numbers(path) == list(range(4))


class TestStreams:
    def test_the_first_of_equals_is_judged_and_the_other_is_named(self, tmp_path: Path) -> None:
        path = write_streams(tmp_path / "two.mkv", {"size": FIRST}, {"size": SECOND})
        with VideoReader(path) as reader:
            assert (reader.width, reader.height) == FIRST
            assert reader.warnings == [
                "only video stream 0 (h264, 96x64) was scored; not scored: stream 1 (h264, 64x48)"
            ]

    def test_the_default_one_is_judged(self, tmp_path: Path) -> None:
        default = {"size": SECOND, "disposition": Disposition.default}
        path = write_streams(tmp_path / "two.mkv", {"size": FIRST}, default)
        with VideoReader(path) as reader:
            assert (reader.width, reader.height) == SECOND
            assert "only video stream 1" in reader.warnings[0]

    @pytest.mark.parametrize("num_frames", [1, 8])
    def test_a_png_stream_in_front_is_no_reason_to_refuse(self, tmp_path: Path, num_frames: int) -> None:
        front = {"size": FIRST, "codec": "png", "pix_fmt": "rgb24", "num_frames": num_frames}
        path = write_streams(tmp_path / "front.mov", front, {"size": SECOND})
        assert numbers(path) == list(range(8))
        with VideoReader(path) as reader:
            assert (reader.width, reader.height) == SECOND

    def test_a_single_picture_in_front_is_passed_over(self, tmp_path: Path) -> None:
        front = {**MJPEG, "size": FIRST, "num_frames": 1}
        path = write_streams(tmp_path / "front.mp4", front, {"size": SECOND})
        with VideoReader(path) as reader:
            assert ((reader.width, reader.height), reader.num_frames, reader.warnings) == (SECOND, 8, [])

    def test_a_cover_is_no_other_stream(self, tmp_path: Path) -> None:
        cover = {**MJPEG, "size": FIRST, "num_frames": 1}
        path = write_streams(
            tmp_path / "cover.mp4", {"size": SECOND}, {**cover, "disposition": Disposition.attached_pic}
        )
        with VideoReader(path) as reader:
            assert ((reader.width, reader.height), reader.warnings) == (SECOND, [])

    def test_a_stream_of_unknown_kind_in_front_is_passed_over(self, tmp_path: Path) -> None:
        path = write_streams(tmp_path / "two.mov", {**MJPEG, "size": FIRST}, {"size": SECOND})
        content = path.read_bytes()
        assert content.count(b"jpeg") == 1
        path.write_bytes(content.replace(b"jpeg", b"zzzz"))
        with VideoReader(path) as reader:
            assert (reader.width, reader.height) == SECOND
            assert "unknown codec" in reader.warnings[0]

    def test_ordinary_files_have_no_warning(self, tmp_path: Path) -> None:
        with VideoReader(write_clip(tmp_path / "clip.mp4", num_frames=3, audio=True)) as reader:
            assert reader.warnings == []

    def test_1500_tracks_are_named_as_the_cause(self, tmp_path: Path) -> None:
        path = multiply_track(write_clip(tmp_path / "tracks.mp4", num_frames=3), 1500)
        with pytest.raises(VideoTooLargeError, match="it has 1,500 tracks; at most 1,000 are read"):
            VideoReader(path)

    def test_900_tracks_are_read(self, tmp_path: Path) -> None:
        path = multiply_track(write_clip(tmp_path / "tracks.mp4", num_frames=3), 900)
        assert numbers(path) == [0, 1, 2]


class TestParts:
    def write_fragments(self, path: Path) -> tuple[bytes, bytes]:
        """The initialisation part and the media part of a fragmented clip."""
        options = {"movflags": "empty_moov+default_base_moof+frag_keyframe"}
        content = write_clip(path, num_frames=8, container_options=options).read_bytes()
        at = content.index(b"moof") - 4
        return content[:at], content[at:]

    def test_both_parts_together_are_a_video(self, tmp_path: Path) -> None:
        initial, media = self.write_fragments(tmp_path / "clip.mp4")
        (tmp_path / "joined.mp4").write_bytes(initial + media)
        assert numbers(tmp_path / "joined.mp4") == list(range(8))

    @pytest.mark.parametrize("prefix", [b"", b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix"])
    def test_a_media_segment_lacks_its_initialisation(self, tmp_path: Path, prefix: bytes) -> None:
        _, media = self.write_fragments(tmp_path / "clip.mp4")
        (tmp_path / "segment.m4s").write_bytes(prefix + media)
        with pytest.raises(UnsupportedVideoError, match=r"without its initialisation segment; .*cat init\.mp4"):
            VideoReader(tmp_path / "segment.m4s")

    def test_an_initialisation_part_lacks_its_segments(self, tmp_path: Path) -> None:
        initial, _ = self.write_fragments(tmp_path / "clip.mp4")
        (tmp_path / "init.mp4").write_bytes(initial)
        with pytest.raises(VideoDecodeError, match="contains only the initialisation segment"):
            VideoReader(tmp_path / "init.mp4")

    def test_the_parts_of_webm_are_named_too(self, tmp_path: Path) -> None:
        options = {"dash": "1", "live": "1"}
        content = write_clip(
            tmp_path / "clip.webm", codec="libvpx", num_frames=8, container_options=options
        ).read_bytes()
        at = content.index(b"\x1fC\xb6u")
        (tmp_path / "init.webm").write_bytes(content[:at])
        (tmp_path / "segment.webm").write_bytes(content[at:])
        with pytest.raises(UnsupportedVideoError, match="without its initialisation segment"):
            VideoReader(tmp_path / "segment.webm")
        with pytest.raises(VideoDecodeError, match="contains only the initialisation segment"):
            VideoReader(tmp_path / "init.webm")

    def test_a_recording_without_its_index_is_named(self, tmp_path: Path) -> None:
        content = write_clip(tmp_path / "clip.mp4", num_frames=8).read_bytes()
        (tmp_path / "cut.mp4").write_bytes(content[: content.index(b"moov") - 4])
        with pytest.raises(VideoDecodeError, match="the moov box"):
            VideoReader(tmp_path / "cut.mp4")

    # Found by fuzzing: a box whose size is no place in a file, and a codec tag that is no ASCII.
    @pytest.mark.parametrize("size", [(1).to_bytes(4, "big") + b"ftyp" + b"\xff" * 8, b"\xff\xff\xff\xffftyp"])
    def test_absurd_sizes_of_boxes_are_no_place_to_look(self, tmp_path: Path, size: bytes) -> None:
        (tmp_path / "sizes.mp4").write_bytes(size + b"\0\0\0\0\0\x01o\0\0" + bytes(40))
        with pytest.raises(VideoError):
            VideoReader(tmp_path / "sizes.mp4")

    def test_a_codec_tag_may_be_any_four_bytes(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "raw.mkv", codec="rawvideo", num_frames=3)
        content = path.read_bytes()
        assert content.count(b"I420") == 1
        path.write_bytes(content.replace(b"I420", b"I\xce20"))
        with VideoReader(path) as reader:
            assert reader.num_frames == 3

    def test_an_encrypted_video_is_named(self, tmp_path: Path) -> None:
        options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
                   "encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}  # fmt: skip
        path = write_clip(tmp_path / "drm.mp4", num_frames=8, container_options=options)
        with pytest.raises(UnsupportedVideoError, match="encrypted"):
            VideoReader(path)

    def test_dolby_vision_without_a_base_layer_is_named(self, tmp_path: Path) -> None:
        path = write_clip(
            tmp_path / "dovi.mp4", codec="libx265", num_frames=4, pix_fmt="yuv420p10le",
            container_options={"movflags": "faststart"},
        )  # fmt: skip
        content = path.read_bytes()
        tag = re.search(rb"hev1|hvc1", content[content.index(b"stsd") :])
        assert tag is not None
        path.write_bytes(content.replace(tag.group(), b"dvh1"))
        with pytest.raises(UnsupportedVideoError, match="Dolby Vision"):
            VideoReader(path)

    @pytest.mark.parametrize("head", [b"ID3\x04", b"fLaC\0", b"RIFF\0\0\0\0WAVEfmt "])
    def test_a_sound_file_is_named(self, tmp_path: Path, head: bytes) -> None:
        (tmp_path / "song.mp3").write_bytes(head + bytes(range(256)) * 20)
        with pytest.raises(UnsupportedVideoError, match="audio file"):
            VideoReader(tmp_path / "song.mp3")

    def test_a_companion_file_of_macos_is_named(self, tmp_path: Path) -> None:
        # AppleDouble (RFC 1740): magic number, version 2, filler, number of entries.
        (tmp_path / "._clip.mp4").write_bytes(bytes.fromhex("00051607 00020000") + bytes(16) + b"\0\2" + bytes(200))
        with pytest.raises(UnsupportedVideoError, match=r'companion file that macOS wrote.*without "\._"'):
            VideoReader(tmp_path / "._clip.mp4")
