# SPDX-License-Identifier: Apache-2.0
"""The displayed picture: pixels that are not square, also where their shape changes inside a stream."""

from __future__ import annotations

import gc
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from clips import decode_everything, frame_number, write_clip
from deepfake_video.scanning.annotate import annotate_video
from deepfake_video.scanning.media import open_media
from deepfake_video.scanning.results import ModelIdentity, VideoResult
from deepfake_video.video_decoding import VideoLimits, VideoReader


def read(path: Path, **limits: Any) -> tuple[list[np.ndarray], list[str]]:
    with VideoReader(path, limits=VideoLimits(**limits)) as reader:
        frames = [frame for _, frame in reader.frames(range(reader.num_frames))]
        return frames, reader.warnings


def write_shaped(path: Path, aspect: Fraction | None, width: int = 96, height: int = 64, **options: Any) -> Path:
    shape = {} if aspect is None else {"sample_aspect_ratio": aspect}
    return write_clip(path, width=width, height=height, num_frames=3, **shape, **options)


def declare_shape(path: Path, horizontal: int, vertical: int) -> Path:
    """Writes another shape into the box `pasp` (ISO/IEC 14496-12, 12.1.4) of a clip that declares 2:1."""
    before, shape, after = path.read_bytes().partition(b"pasp" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big"))
    assert shape
    path.write_bytes(before + b"pasp" + horizontal.to_bytes(4, "big") + vertical.to_bytes(4, "big") + after)
    return path


class TestPixelShape:
    # The displayed sizes are those of the standards: BT.601 (DV, DVD) in 4:3 and 16:9, HDV, CIF as on a video CD.
    @pytest.mark.parametrize(
        ("stored", "aspect", "displayed"),
        [
            ((720, 576), Fraction(16, 15), (768, 576)),
            ((720, 576), Fraction(64, 45), (1024, 576)),
            ((720, 480), Fraction(8, 9), (720, 540)),
            ((720, 480), Fraction(32, 27), (853, 480)),
            ((1440, 1080), Fraction(4, 3), (1920, 1080)),
            ((704, 240), Fraction(5, 11), (704, 528)),
            ((352, 288), Fraction(12, 11), (384, 288)),
        ],
    )
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
    def test_the_short_side_is_scaled_up(
        self, tmp_path: Path, stored: tuple[int, int], aspect: Fraction, displayed: tuple[int, int], suffix: str
    ) -> None:
        path = write_shaped(tmp_path / f"clip{suffix}", aspect, *stored)
        with VideoReader(path) as reader:
            assert (reader.width, reader.height) == displayed
            assert reader.warnings == []

    def test_the_picture_is_the_stored_one_stretched(self, tmp_path: Path) -> None:
        path = write_shaped(tmp_path / "clip.mp4", Fraction(1, 2), 192, 64)
        found = read(path)[0][1]
        stored = Image.fromarray(decode_everything(path)[1])
        expected = np.asarray(stored.resize((192, 128), Image.Resampling.BICUBIC)).astype(int)
        assert found.shape == (128, 192, 3)
        assert frame_number(found) == 1
        # The two differ in how they interpolate the colour, by a level or so on average.
        assert np.abs(found[40:] - expected[40:]).mean() < 2

    @pytest.mark.parametrize("aspect", [None, Fraction(1), Fraction(1281, 1280), Fraction(399, 400)])
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
    def test_square_unknown_and_rounded_shapes_leave_every_bit(
        self, tmp_path: Path, aspect: Fraction | None, suffix: str
    ) -> None:
        path = write_shaped(tmp_path / f"clip{suffix}", aspect)
        found, warnings = read(path)
        assert all(np.array_equal(a, b) for a, b in zip(found, decode_everything(path), strict=True))
        assert warnings == []

    @pytest.mark.parametrize("aspect", [(1, 100_000), (100_000, 1), (9, 2), (2**31 - 1, 1)])
    def test_an_absurd_shape_is_ignored_loudly(self, tmp_path: Path, aspect: tuple[int, int]) -> None:
        path = declare_shape(write_shaped(tmp_path / "clip.mp4", Fraction(2, 1)), *aspect)
        frames, warnings = read(path)
        assert frames[0].shape == (64, 96, 3)
        assert "is implausible: pixels were treated as square" in warnings[0]

    def test_the_limit_of_pixels_holds_for_the_stretched_picture(self, tmp_path: Path) -> None:
        path = write_shaped(tmp_path / "clip.mp4", Fraction(4, 1))
        height, width, _ = read(path, max_frame_pixels=96 * 64)[0][0].shape
        assert width * height <= 96 * 64
        assert width / height == pytest.approx(6, rel=0.03)

    def test_a_turned_picture_is_stretched_before_it_is_turned(self, tmp_path: Path) -> None:
        path = write_shaped(tmp_path / "clip.mp4", Fraction(2, 1), rotation=90)
        with VideoReader(path) as reader:
            assert (reader.width, reader.height) == (64, 192)
            upright = np.rot90(next(reader.frames([2]))[1], -1)
        assert frame_number(upright) == 2

    def test_the_shape_that_the_container_declares_counts_before_that_of_the_codec(self, tmp_path: Path) -> None:
        path = write_shaped(tmp_path / "clip.mp4", Fraction(2, 1))
        declare_shape(path, 1, 2)
        assert {frame.shape for frame in read(path)[0]} == {(128, 96, 3)}

    @pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_shape_that_changes_inside_the_stream_changes_with_its_frame(
        self, tmp_path: Path, codec: str, threads: int
    ) -> None:
        options = {"preset": "veryfast"} if codec == "libx264" else {}
        parts = []
        for number, aspect in enumerate([Fraction(1), Fraction(12, 11), Fraction(16, 11)]):
            part = tmp_path / f"{number}.ts"
            write_clip(part, codec=codec, num_frames=12, width=352, height=288, options=options,
                       max_b_frames=2, sample_aspect_ratio=aspect)  # fmt: skip
            parts.append(part.read_bytes())
        path = tmp_path / "joined.ts"
        path.write_bytes(b"".join(parts))
        frames, _ = read(path, decode_threads=threads)
        sizes = [(size, len(list(group))) for size, group in groupby(frame.shape[1] for frame in frames)]
        assert sizes == [(352, 12), (384, 12), (512, 12)]


def test_stretched_frames_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "large.mp4", num_frames=120, width=720, height=576, sample_aspect_ratio=Fraction(64, 45)
    )
    process = psutil.Process()
    gc.collect()
    gc.disable()
    try:
        with VideoReader(path) as reader:
            for _ in reader.frames(range(20), keep=False):
                pass
            before = process.memory_info().rss
            for _ in reader.frames(range(20, 120), keep=False):
                pass
            growth = process.memory_info().rss - before
    finally:
        gc.enable()
    assert growth < 40 << 20  # 100 pictures are 177 MB


def half_transparent(opacity: int) -> list[Image.Image]:
    """Red pictures whose upper half has this opacity."""
    pixels = np.zeros((3, 64, 96, 4), np.uint8)
    pixels[..., 0] = np.array([255, 250, 245])[:, None, None]
    pixels[..., 3] = 255
    pixels[:, :32, :, 3] = opacity
    return [Image.fromarray(picture) for picture in pixels]


# A pixel of a GIF is transparent or not.
@pytest.mark.parametrize(
    ("kind", "opacity"), [("png", 0), ("png", 128), ("png", 255), ("gif", 0), ("webp", 0), ("webp", 128)]
)
def test_transparent_parts_of_an_animated_picture_are_white(kind: str, opacity: int, tmp_path: Path) -> None:
    frames, path = half_transparent(opacity), tmp_path / f"moving.{kind}"
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, disposal=2, **options)
    with open_media(path) as reader:
        ((_, shown),) = reader.frames([1])
    # The second picture over white: opacity * colour + (1 - opacity) * 255.
    share = opacity / 255
    assert shown[10, 10] == pytest.approx([share * 250 + (1 - share) * 255, *[(1 - share) * 255] * 2], abs=1)
    assert shown[50, 10] == pytest.approx([250, 0, 0], abs=1)


def test_an_animated_picture_of_a_palette_is_put_on_white(tmp_path: Path) -> None:
    colors = [Image.new("P", (96, 64), number) for number in (0, 1)]
    for picture in colors:
        picture.putpalette([255, 0, 0, 0, 0, 255])
    options = {"duration": 100, "transparency": 1, "blend": 0}
    colors[0].save(tmp_path / "moving.png", save_all=True, append_images=colors[1:], **options)
    assert [frame[10, 10].tolist() for frame in read(tmp_path / "moving.png")[0]] == [[255, 0, 0], [255, 255, 255]]


def test_a_video_is_shown_without_its_opacity_as_by_players(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "bgra"
        for picture in half_transparent(0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgba")))
        container.mux(stream.encode(None))
    assert read(tmp_path / "clip.mkv")[0][1][10, 10].tolist() == [250, 0, 0]


def annotated(path: Path) -> Path:
    result = VideoResult(
        path=str(path), status="ok", label="real", fake_probability=0.1, threshold=0.5, settings={},
        model=ModelIdentity(id="x"),
    )  # fmt: skip
    annotate_video(path.with_name("copy.mp4"), result, [])
    return path.with_name("copy.mp4")


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_annotated_copy_shows_every_frame_as_long_as_the_original(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (96, 64), colour) for colour in ("red", "green", "blue")]
    path = tmp_path / f"animation.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 300, 700])
    with av.open(str(annotated(path))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        shown = sorted((float(p.pts * p.time_base), float(p.duration * p.time_base)) for p in packets)
    np.testing.assert_allclose(shown, [(0.0, 0.1), (0.1, 0.3), (0.4, 0.7)], atol=1e-4)


def test_an_annotated_copy_is_made_of_displayed_pictures(tmp_path: Path) -> None:
    annotated(write_shaped(tmp_path / "clip.mp4", Fraction(2, 1)))
    with av.open(str(tmp_path / "copy.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (192, 64)
        assert stream.sample_aspect_ratio in (None, 1)
        assert [frame_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)] == [0, 1, 2]
