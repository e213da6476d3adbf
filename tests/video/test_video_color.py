# SPDX-License-Identifier: Apache-2.0
"""Colours: HDR and wide gamut against the closed formulas of ITU-R BT.2100, BT.2390 and BT.2087 in float64."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from clips import decode_everything, picture, write_clip
from deepfake_video.video_color import UnsupportedColorError, check_matrix, color_note, to_rgb
from deepfake_video.video_decoding import UnsupportedVideoError, VideoReader


BT709, UNSPECIFIED, PQ, BT2020_10, HLG = 1, 2, 16, 14, 18
BT2020, P3 = 9, 12
# BT.2087, table 2: linear BT.2020 to linear BT.709.
BT2020_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
# SMPTE EG 432-1 against BT.709, both with the white of D65.
P3_TO_BT709 = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
COLOURS = np.array([
    *([0.9, 0.9, 0.9], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [0.55, 0.42, 0.36], [0.45, 0.3, 0.25], [0.3, 0.5, 0.35]),
    *([0.35, 0.38, 0.6], [0.02, 0.02, 0.02], [0.7, 0.55, 0.4], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.6, 0.1, 0.1]),
])  # fmt: skip
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def pq_eotf(code: np.ndarray) -> np.ndarray:
    """BT.2100, table 4: cd/m2."""
    power = np.asarray(code, np.float64) ** (1 / M2)
    return 10_000 * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1)


def pq_inverse(light: np.ndarray | float) -> np.ndarray:
    power = (np.asarray(light, np.float64) / 10_000) ** M1
    return ((C1 + C2 * power) / (1 + C3 * power)) ** M2


def hlg_eotf(code: np.ndarray) -> np.ndarray:
    """BT.2100, table 5, for a display of 1,000 cd/m2: (N, 3) cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    luminance = scene @ [0.2627, 0.6780, 0.0593]
    return 1000 * luminance[:, None] ** 0.2 * scene


def eetf(light: np.ndarray) -> np.ndarray:
    """BT.2390, 5.4.1, from 1,000 to 100 cd/m2."""
    source = pq_inverse(1000)
    e1, max_lum = np.minimum(pq_inverse(light) / source, 1), pq_inverse(100) / source
    knee = 1.5 * max_lum - 0.5
    t = (e1 - knee) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * max_lum
    return pq_eotf(np.where(e1 < knee, e1, bent) * source)


def expected_sdr(light: np.ndarray, matrix: np.ndarray = BT2020_TO_BT709) -> np.ndarray:
    """(N, 3) cd/m2 to 8-bit codes of a BT.1886 display of 100 cd/m2."""
    largest = np.maximum(light.max(1, keepdims=True), 1e-9)
    return encode((light * eetf(largest) / largest / 100) @ matrix.T)


def encode(linear: np.ndarray) -> np.ndarray:
    return 255 * np.clip(linear, 0, 1) ** (1 / 2.4)


def rgb_frame(codes: np.ndarray, transfer: int, primaries: int) -> av.VideoFrame:
    """One pixel for each of the (N, 3) codes in [0, 1]."""
    frame = av.VideoFrame.from_ndarray(np.rint(codes[None] * 65535).astype(np.uint16), format="rgb48le")
    frame.color_trc, frame.color_primaries = transfer, primaries
    return frame


def write_patches(path: Path, codes: np.ndarray, **tags: int) -> Path:
    """A lossless 10-bit YCbCr clip with a patch of 16x16 pixels for each (N, 3) R'G'B' code, BT.2020 matrix."""
    y = codes @ [0.2627, 0.6780, 0.0593]
    planes = [64 + 876 * y, 512 + 896 * (codes[:, 2] - y) / 1.8814, 512 + 896 * (codes[:, 0] - y) / 1.4746]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16 * len(codes), 16, "yuv444p10le"
        frame = av.VideoFrame(stream.width, 16, "yuv444p10le")
        for plane, values in zip(frame.planes, planes, strict=True):
            row = np.zeros(plane.line_size // 2, np.uint16)
            row[: stream.width] = np.repeat(np.rint(values), 16)
            plane.update(np.tile(row, 16).tobytes())
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
            setattr(frame, name, value)
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def read_patches(path: Path) -> tuple[np.ndarray, list[str]]:
    with VideoReader(path) as reader:
        image = next(reader.frames([0]))[1]
        return image[8, 8::16], reader.warnings


class TestToneMapping:
    @pytest.mark.parametrize("primaries", [BT2020, UNSPECIFIED])
    def test_pq_follows_the_closed_formulas(self, primaries: int) -> None:
        found = to_rgb(rgb_frame(COLOURS, PQ, primaries), VideoReformatter())[0]
        assert np.abs(found - expected_sdr(np.minimum(pq_eotf(COLOURS), 1000))).max() <= 1

    def test_hlg_follows_the_closed_formulas(self) -> None:
        found = to_rgb(rgb_frame(COLOURS, HLG, BT2020), VideoReformatter())[0]
        assert np.abs(found - expected_sdr(hlg_eotf(COLOURS))).max() <= 1

    def test_shadows_and_mid_tones_keep_their_light(self) -> None:
        nits = np.array([0.0, 0.5, 5.0, 10.0, 25.0])
        grey = np.repeat(pq_inverse(nits)[:, None], 3, 1)
        found = to_rgb(rgb_frame(grey, PQ, BT2020), VideoReformatter())[0]
        assert np.abs(found - encode(np.repeat(nits[:, None] / 100, 3, 1))).max() <= 1

    def test_brighter_stays_brighter_up_to_white(self) -> None:
        grey = np.repeat(pq_inverse(np.array([50, 100, 203, 500, 1000, 4000.0]))[:, None], 3, 1)
        found = to_rgb(rgb_frame(grey, PQ, BT2020), VideoReformatter())[0, :, 0].astype(int)
        assert np.all(np.diff(found[:5]) > 0)
        assert found[4:].tolist() == [255, 255]

    def test_a_pq_file_is_mapped_and_says_so(self, tmp_path: Path) -> None:
        path = write_patches(tmp_path / "pq.mkv", COLOURS, color_trc=PQ, color_primaries=BT2020, colorspace=9)
        found, warnings = read_patches(path)
        assert np.abs(found - expected_sdr(np.minimum(pq_eotf(COLOURS), 1000))).max() <= 3
        assert warnings == ["the picture is HDR (PQ, BT.2020): it was tone-mapped to SDR before scoring"]

    def test_an_hlg_file_without_a_matrix_is_taken_as_bt2020(self, tmp_path: Path) -> None:
        found, warnings = read_patches(write_patches(tmp_path / "hlg.mkv", COLOURS, color_trc=HLG))
        assert np.abs(found - expected_sdr(hlg_eotf(COLOURS))).max() <= 3
        assert "HDR (HLG)" in warnings[0]


class TestWideGamut:
    @pytest.mark.parametrize(
        ("primaries", "matrix", "name"), [(BT2020, BT2020_TO_BT709, "BT.2020"), (P3, P3_TO_BT709, "Display P3")]
    )
    def test_sdr_is_converted_to_bt709(self, primaries: int, matrix: np.ndarray, name: str) -> None:
        frame = rgb_frame(COLOURS, BT2020_10, primaries)
        expected = encode(COLOURS**2.4 @ matrix.T)
        assert np.abs(to_rgb(frame, VideoReformatter())[0] - expected).max() <= 1
        assert (
            color_note(frame) == f"the colours are wide-gamut ({name}): they were converted to BT.709 before scoring"
        )

    @pytest.mark.parametrize("transfer", [BT709, PQ])
    @pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv420p12le"])
    @pytest.mark.parametrize("size", [(33, 32), (289, 64), (35, 33)])
    def test_a_single_colour_is_the_same_everywhere_at_an_odd_width(
        self, layout: str, transfer: int, size: tuple[int, int]
    ) -> None:
        shown = []
        for width, height in (size, (size[0] + 1, size[1])):
            frame = av.VideoFrame(width, height, layout)
            for value, plane in zip((60, 110, 150), frame.planes, strict=True):
                dtype, scale = (np.uint16, 16 if "12" in layout else 4) if "p1" in layout else (np.uint8, 1)
                samples = np.full(plane.buffer_size // np.dtype(dtype).itemsize, value * scale, dtype)
                plane.update(samples.tobytes())
            frame.colorspace, frame.color_trc, frame.color_primaries = 1, transfer, P3
            shown.append(to_rgb(frame, VideoReformatter()).astype(int))
        odd, even = shown
        assert (odd == odd[0, 0]).all()
        assert (odd[0, 0] == even[0, 0]).all()

    @pytest.mark.parametrize("primaries", [BT709, UNSPECIFIED, 5, 6])
    def test_ten_bits_alone_change_nothing(self, tmp_path: Path, primaries: int) -> None:
        path = write_patches(tmp_path / "sdr.mkv", COLOURS, color_primaries=primaries, color_trc=BT709, colorspace=1)
        with VideoReader(path) as reader:
            assert np.array_equal(next(reader.frames([0]))[1], decode_everything(path)[0])
            assert reader.warnings == []


class TestGrey:
    def test_grey_of_limited_range_is_stretched_to_full_range(self, tmp_path: Path) -> None:
        levels = np.repeat(np.array([16, 126, 235], np.uint8), 32)
        path = tmp_path / "grey.mkv"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "gray"
            stream.codec_context.color_range = 1
            frame = av.VideoFrame.from_ndarray(np.tile(levels, (64, 1)), format="gray")
            frame.color_range = 1
            output.mux([*stream.encode(frame), *stream.encode(None)])
        with VideoReader(path) as reader:
            ((_, image),) = reader.frames([0])
        # ITU-R BT.709, 5.6: black is 16, white is 235; 126 is half of the range and half a level.
        assert image[0, ::32].tolist() == [[0] * 3, [128] * 3, [255] * 3]


class TestMatrices:
    def test_a_matrix_without_conversion_is_refused_by_name(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "ictcp.mp4", num_frames=2, colorspace=14)
        with VideoReader(path) as reader, pytest.raises(UnsupportedVideoError, match=r"matrix \(ICtCp\)"):
            list(reader.frames([0]))

    def test_the_reserved_matrix_counts_as_unspecified(self) -> None:
        frame = av.VideoFrame.from_ndarray(picture(0), format="rgb24").reformat(format="yuv420p")
        expected = frame.to_ndarray(format="rgb24")
        frame.colorspace = 3
        check_matrix(frame)
        assert np.array_equal(to_rgb(frame, VideoReformatter()), expected)

    def test_constant_luminance_is_refused(self) -> None:
        frame = av.VideoFrame(16, 16, "yuv420p")
        frame.colorspace = 10
        with pytest.raises(UnsupportedColorError, match="constant luminance"):
            check_matrix(frame)
