# SPDX-License-Identifier: Apache-2.0
"""Decoding on a GPU: the layouts of its frames, and machines that have none."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.hwaccel import HWAccel, HWDeviceType
from av.video.reformatter import VideoReformatter

from clips import write_clip
from deepfake_video import Recipe, ScanSettings, TrainingPlan, train
from deepfake_video.cli import main
from deepfake_video.common.errors import UsageError
from deepfake_video.scanning.detector import Detector
from deepfake_video.video_decoding import VideoLimits, VideoReader, VideoUnreadableError
from deepfake_video.video_hardware import DecodeDeviceError, as_planar, find_device


ON_GPU = VideoLimits(decode_device="cuda")


def has_gpu() -> bool:
    try:
        find_device("cuda")
    except DecodeDeviceError:
        return False
    return True


needs_gpu = pytest.mark.skipif("not has_gpu()", reason="needs an NVIDIA GPU")


@pytest.fixture
def without_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        def __init__(self, *_: object, **__: object) -> None: ...

        def create(self, _: object) -> None:
            raise av.error.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("deepfake_video.video_hardware.HWAccel", Absent)
    monkeypatch.setattr("deepfake_video.video_hardware._found", {})


def fill(frame: av.VideoFrame, planes: list[np.ndarray]) -> av.VideoFrame:
    """Write samples (rows, values) into the planes, whose lines may be longer."""
    for plane, values in zip(frame.planes, planes, strict=True):
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        lines[:, : values.shape[1] * values.itemsize] = values.view(np.uint8)
        plane.update(lines.tobytes())
    return frame


class TestLayouts:
    @pytest.mark.parametrize("size", [(96, 64), (1278, 718), (63, 47)])
    @pytest.mark.parametrize(
        ("interleaved", "planar", "bits"),
        [
            ("nv12", "yuv420p", 8),
            ("p010le", "yuv420p10le", 10),
            ("p012le", "yuv420p12le", 12),
            ("nv16", "yuv422p", 8),
            ("p210le", "yuv422p10le", 10),
        ],
    )
    def test_the_samples_are_those_of_the_planar_layout(
        self, interleaved: str, planar: str, bits: int, size: tuple[int, int]
    ) -> None:
        dtype = np.uint8 if bits == 8 else np.uint16
        random, (width, height) = np.random.default_rng(0), size
        chroma = (-(-height // 2) if "420" in planar else height, -(-width // 2))
        samples = [random.integers(0, 1 << bits, shape).astype(dtype) for shape in ((height, width), chroma, chroma)]
        # Both kinds of chroma alternate, and a sample of more than 8 bits fills the upper ones of 16.
        shift = 0 if bits == 8 else 16 - bits
        pairs = np.stack(samples[1:], axis=-1).reshape(chroma[0], -1)
        frame = fill(av.VideoFrame(width, height, interleaved), [samples[0] << shift, pairs << shift])
        found = as_planar(frame, VideoReformatter())
        assert found.format.name == planar
        for plane, expected in zip(found.planes, samples, strict=True):
            lines = np.frombuffer(plane, dtype).reshape(plane.height, -1)
            np.testing.assert_array_equal(lines[:, : expected.shape[1]], expected)

    def test_times_and_colours_are_kept(self) -> None:
        frame = av.VideoFrame(96, 64, "nv12")
        frame.pts, frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 7, 1, 2, 16, 9
        found = as_planar(frame, VideoReformatter())
        kept = (found.pts, found.colorspace, found.color_range, found.color_trc, found.color_primaries)
        assert kept == (7, 1, 2, 16, 9)

    @pytest.mark.parametrize("layout", ["yuv420p", "yuv420p10le", "rgb24", "gray"])
    def test_other_layouts_are_left_alone(self, layout: str) -> None:
        frame = av.VideoFrame(96, 64, layout)
        assert as_planar(frame, VideoReformatter()) is frame

    def test_a_file_in_either_layout_shows_the_same_pictures(self, tmp_path: Path) -> None:
        planar = write_clip(tmp_path / "planar.mkv", codec="rawvideo", num_frames=3, width=94, height=62)
        interleaved = tmp_path / "interleaved.mkv"
        with av.open(str(planar)) as source, av.open(str(interleaved), "w") as output:
            stream = output.add_stream("rawvideo", rate=25)
            stream.width, stream.height, stream.pix_fmt = 94, 62, "nv12"
            for frame in source.decode(video=0):
                luma, *chroma = (np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width] for p in frame.planes)
                pairs = np.stack(chroma, axis=-1).reshape(len(chroma[0]), -1)
                written = fill(av.VideoFrame(94, 62, "nv12"), [luma.copy(), pairs])
                written.pts, written.time_base = frame.pts, frame.time_base
                output.mux(stream.encode(written))
            output.mux(stream.encode(None))
        pictures = []
        for path in (planar, interleaved):
            with VideoReader(path) as reader:
                pictures.append([frame for _, frame in reader.frames(range(3))])
        np.testing.assert_array_equal(*pictures)


def test_what_the_device_does_not_decode_is_decoded_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "clip.mp4", num_frames=30, width=320, height=240)
    # libav has no H.264 decoder for this kind of device.
    monkeypatch.setattr("deepfake_video.video_containers.find_device", lambda _: HWAccel(HWDeviceType.drm))
    found = []
    for limits in (VideoLimits(), ON_GPU):
        with VideoReader(path, limits=limits) as reader:
            found.append((reader.timestamps_s.tolist(), [frame for _, frame in reader.frames(range(0, 30, 7))]))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


class TestWithoutGPU:
    def test_a_video_is_not_read(self, tmp_path: Path, without_driver: None) -> None:
        path = write_clip(tmp_path / "clip.mp4", num_frames=3)
        with pytest.raises(VideoUnreadableError, match="the NVIDIA driver cannot be loaded"):
            VideoReader(path, limits=ON_GPU)

    def test_codecs_that_only_the_cpu_decodes_are_read(self, tmp_path: Path, without_driver: None) -> None:
        path = write_clip(tmp_path / "clip.avi", codec="mpeg4", num_frames=3)
        with VideoReader(path, limits=ON_GPU) as reader:
            assert len(list(reader.frames(range(3)))) == 3

    def test_a_scan_does_not_begin(
        self, tmp_path: Path, without_driver: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write_clip(tmp_path / "clip.mp4", num_frames=3)
        assert main(["predict", str(path), "--decode-device", "cuda:1", "--output", str(tmp_path / "run")]) == 2
        printed = capsys.readouterr().err.strip().splitlines()[-1]
        assert "videos cannot be decoded on cuda:1" in printed
        assert "decode on the CPU" in printed
        assert not list(tmp_path.glob("run/results*"))

    def test_the_environment_is_checked_too(self, monkeypatch: pytest.MonkeyPatch, without_driver: None) -> None:
        monkeypatch.setenv("DEEPFAKE_VIDEO_DECODE_DEVICE", "cuda")
        with pytest.raises(UsageError, match="decode on the CPU"):
            Detector(settings=ScanSettings())

    def test_a_training_does_not_begin(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_driver: None
    ) -> None:
        monkeypatch.setenv("DEEPFAKE_VIDEO_DECODE_DEVICE", "cuda")
        plan = TrainingPlan(data=[tmp_path], recipe=Recipe.read("frames"), output=tmp_path / "run")
        with pytest.raises(UsageError, match="decode on the CPU"):
            train(plan)

    @pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CUDA", "", None, 0])
    def test_other_names_are_refused(self, device: object) -> None:
        with pytest.raises(ValueError, match="decode_device must be cpu, cuda or cuda:N"):
            VideoLimits(decode_device=device)  # type: ignore[arg-type]


@needs_gpu
@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("libx264", "yuv420p", ".mp4"),
        ("libx265", "yuv420p", ".mp4"),
        ("libx265", "yuv420p10le", ".mp4"),
        ("libvpx-vp9", "yuv420p", ".webm"),
    ],
)
def test_a_gpu_decodes_the_frames_of_the_cpu(tmp_path: Path, codec: str, pix_fmt: str, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip{suffix}", codec=codec, pix_fmt=pix_fmt, width=320, height=240)
    found = []
    for limits in (VideoLimits(), ON_GPU):
        with VideoReader(path, limits=limits) as reader:
            found.append((reader.timestamps_s.tolist(), reader.warnings, dict(reader.frames(range(0, 30, 4)))))
    (times, warnings, pictures), (gpu_times, gpu_warnings, gpu_pictures) = found
    assert (gpu_times, gpu_warnings) == (times, warnings)
    for index, picture in pictures.items():
        np.testing.assert_array_equal(gpu_pictures[index], picture)
