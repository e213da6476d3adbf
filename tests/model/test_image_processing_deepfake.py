# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.video_utils import VideoMetadata

from clips import decode_everything, frame_number, write_clip
from deepfake_video import DeepfakeConfig, DeepfakeImageProcessor, DeepfakeVideoProcessor, NoFaceFoundError
from deepfake_video.face_cropping import FaceDetection, crop_face
from deepfake_video.scanning.sample import draw_face, write_sample_video
from deepfake_video.video_decoding import FrameArray, VideoDecodeError, VideoReader
from deepfake_video.video_errors import UnsupportedVideoError
from drawn_faces import write_changing_size
from face_tracks import track_from_boxes


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", num_frames=30)


@pytest.fixture(scope="module")
def face_file(tmp_path_factory) -> Path:
    return write_sample_video(tmp_path_factory.mktemp("clips") / "face.mp4", num_frames=30)


def make_processor(**kwargs) -> DeepfakeVideoProcessor:
    return DeepfakeVideoProcessor(**{"size": {"height": 32, "width": 32}, "num_frames": 4, **kwargs})


def unscaled(**kwargs) -> DeepfakeVideoProcessor:
    """Returns the frames as they were decoded, as floats."""
    return make_processor(do_resize=False, do_rescale=False, do_normalize=False, **kwargs)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_file_becomes_num_frames_evenly_spaced_frames(clip_file):
    values = unscaled()(str(clip_file), return_tensors="pt").pixel_values_videos
    expected = np.stack(decode_everything(clip_file))[[0, 9, 19, 29]]
    assert values.shape == (1, 4, 3, 64, 96)
    np.testing.assert_array_equal(values[0].permute(0, 2, 3, 1).numpy(), expected)


@pytest.mark.parametrize(
    ("choices", "numbers"),
    [
        ({"frame_sampling": "first"}, [0, 1, 2, 3]),
        ({"frame_sampling": "bursts", "burst_length": 2}, [0, 1, 28, 29]),
        ({"num_frames": 2}, [0, 29]),
    ],
    ids=str,
)
def test_frames_are_sampled_as_chosen(clip_file, choices, numbers):
    values = unscaled(**choices)(str(clip_file), return_tensors="pt").pixel_values_videos
    assert [frame_number(frame.permute(1, 2, 0).numpy()) for frame in values[0]] == numbers


def test_a_call_overrides_a_stored_choice(clip_file):
    values = unscaled()(str(clip_file), num_frames=3, frame_sampling="first", return_tensors="pt").pixel_values_videos
    assert [frame_number(frame.permute(1, 2, 0).numpy()) for frame in values[0]] == [0, 1, 2]


def test_a_file_can_be_sampled_by_rate(clip_file):
    values = make_processor()(str(clip_file), fps=5, return_tensors="pt").pixel_values_videos
    assert values.shape[1] == 6  # 1.2 s


def test_a_short_file_repeats_frames_evenly(tmp_path):
    path = write_clip(tmp_path / "short.mp4", num_frames=3)
    values = unscaled(num_frames=7)(str(path), return_tensors="pt").pixel_values_videos
    assert [frame_number(frame.permute(1, 2, 0).numpy()) for frame in values[0]] == [0, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("choice", [{"num_frames": 0}, {"fps": 0}, {"fps": -2.0}, {"fps": float("nan")}], ids=str)
def test_a_call_for_no_frames_is_refused(clip_file, choice):
    with pytest.raises(ValueError, match=r"must be (positive|at least 1), got"):
        make_processor()(str(clip_file), **choice)


def test_arrays_and_paths_form_a_batch_in_any_order(clip_file):
    clip, processor = noise(4, 64, 96, 3), make_processor()
    alone = [processor(video, return_tensors="pt").pixel_values_videos[0] for video in (clip, str(clip_file))]
    batch = processor([clip, str(clip_file)], return_tensors="pt").pixel_values_videos
    torch.testing.assert_close(batch, torch.stack(alone), atol=0, rtol=0)
    with pytest.raises(ValueError, match="list of videos is empty"):
        processor([])


def test_an_array_with_too_few_frames_is_refused():
    with pytest.raises(ValueError, match="5 frames were requested, but the clip has 3"):
        make_processor()(noise(3, 8, 8, 3), num_frames=5, do_sample_frames=True)


def test_an_array_is_used_as_it_is_by_default():
    assert make_processor()(noise(7, 8, 8, 3), return_tensors="pt").pixel_values_videos.shape == (1, 7, 3, 32, 32)


def test_resizing_stays_within_one_level_of_pillow():
    frames = noise(2, 90, 70, 3)
    values = make_processor(do_rescale=False, do_normalize=False)(frames, return_tensors="pt").pixel_values_videos
    for frame, value in zip(frames, values[0], strict=True):
        expected = np.asarray(Image.fromarray(frame).resize((32, 32), Image.Resampling.BILINEAR), dtype=int)
        assert abs(value.permute(1, 2, 0).numpy() - expected).max() <= 1


def test_normalisation_follows_its_definition():
    frames = noise(2, 32, 32, 3)
    values = make_processor()(frames, return_tensors="pt").pixel_values_videos
    expected = (frames / 255 - MEAN) / STD
    np.testing.assert_allclose(values[0].permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("processor_class", [DeepfakeVideoProcessor, DeepfakeImageProcessor])
def test_floats_between_0_and_1_are_not_rescaled_again(processor_class, convert):
    frames = noise(2, 32, 32, 3)
    processor = processor_class(**make_processor().choices())
    rescaled = convert(np.float32(frames / 255))
    with pytest.raises(ValueError, match=r"values already lie between 0 and 1: give uint8, or do_rescale=False"):
        processor(rescaled)
    expected = processor(frames, return_tensors="pt").pixel_values_videos
    for clip, choices in ((rescaled, {"do_rescale": False}), (convert(np.float32(frames)), {})):
        values = processor(clip, **choices, return_tensors="pt").pixel_values_videos
        torch.testing.assert_close(values, expected)


def test_a_black_clip_of_floats_is_as_black_as_one_of_integers():
    values = [
        make_processor()(np.zeros((2, 32, 32, 3), dtype), return_tensors="pt").pixel_values_videos
        for dtype in (np.uint8, np.float32)
    ]
    assert torch.equal(*values)


def test_a_rescale_factor_for_floats_is_followed():
    processor = make_processor(rescale_factor=2.0, image_mean=[1.0] * 3, image_std=[1.0] * 3)
    values = processor(np.full((1, 32, 32, 3), 0.75, np.float32), return_tensors="pt").pixel_values_videos
    assert (values == 0.5).all()


def test_bgr_swaps_channels_before_normalisation():
    frames = noise(2, 32, 32, 3)
    values = make_processor(channel_order="bgr")(frames, return_tensors="pt").pixel_values_videos
    expected = (frames[..., ::-1] / 255 - MEAN) / STD
    np.testing.assert_allclose(values[0].permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


def test_padding_keeps_the_aspect_and_centres_the_frame():
    frames = np.full((1, 20, 40, 3), 200, dtype=np.uint8)
    processor = make_processor(do_pad=True, do_rescale=False, do_normalize=False)
    image = processor(frames, return_tensors="pt").pixel_values_videos[0, 0, 0]
    assert (image[8:24] == 200).all()
    assert (image[:8] == 0).all()
    assert (image[24:] == 0).all()


def test_frames_of_a_file_are_resized_like_the_frames_of_an_array(clip_file):
    processor = make_processor()
    from_file = processor(str(clip_file), return_tensors="pt").pixel_values_videos
    frames = np.stack(decode_everything(clip_file))[[0, 9, 19, 29]]
    assert torch.equal(from_file, processor(frames, return_tensors="pt").pixel_values_videos)


def test_paths_in_a_list_are_a_batch(clip_file):
    values = make_processor()([str(clip_file), clip_file], return_tensors="pt").pixel_values_videos
    assert values.shape == (2, 4, 3, 32, 32)
    assert torch.equal(values[0], values[1])


class CentreDetector:
    """Finds one face in the middle of every frame."""

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        height, width = frames.shape[1:3]
        box = np.array([width / 2 - 10, height / 2 - 10, width / 2 + 10, height / 2 + 10])
        return [[FaceDetection(box, 0.99)] for _ in frames]


def test_a_clip_shows_the_face_that_was_found(clip_file):
    processor = make_processor(do_crop_faces=True, size={"height": 26, "width": 26})
    with VideoReader(clip_file) as reader:
        (clip,) = processor.read_clips(reader, np.array([0, 10]), detector=CentreDetector())
    frames = decode_everything(clip_file)
    for index, image in zip([0, 10], clip.frames, strict=True):
        expected = crop_face(frames[index], np.array([38.0, 22.0, 58.0, 42.0]), margin=1.3)
        np.testing.assert_array_equal(image, expected)
    assert clip.track.coverage(2) == 1.0


def test_every_clip_has_as_many_frames_as_were_asked_for():
    class Late(CentreDetector):
        """Sees the face in bright frames only."""

        def detect(self, frames):
            return [super(Late, self).detect(frame[None])[0] if frame.mean() > 100 else [] for frame in frames]

    frames = np.full((6, 64, 64, 3), 30, dtype=np.uint8)
    frames[3:] = 200
    processor = make_processor(do_crop_faces=True)
    (clip,) = processor.read_clips(FrameArray(frames), np.arange(6), detector=Late())
    assert len(clip.frames) == 6
    assert set(clip.frame_indices) <= {3, 4, 5}


def test_a_drawn_face_is_found_and_fills_its_crop(face_file):
    values = make_processor(do_crop_faces=True)(str(face_file), return_tensors="pt").pixel_values_videos
    skin = (np.array([214, 170, 140]) / 255 - MEAN) / STD
    centre = values[0, :, :, 12:14, 14:18].mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(centre, skin, atol=0.5)


def test_a_video_without_a_face_is_an_error_that_names_it(clip_file):
    with pytest.raises(NoFaceFoundError, match=r"clip\.mp4"):
        make_processor(do_crop_faces=True)(str(clip_file))


def test_faces_are_found_in_arrays_too():
    frames = np.stack([draw_face(0.0), draw_face(0.5)])
    values = make_processor(do_crop_faces=True)(frames, return_tensors="pt").pixel_values_videos
    assert values.shape == (1, 2, 3, 32, 32)


@pytest.mark.parametrize("do_crop_faces", [False, True])
@pytest.mark.parametrize("make_metadata", [VideoMetadata, dict], ids=["object", "dictionary"])
def test_the_rate_of_an_array_is_the_stated_one(make_metadata, do_crop_faces):
    frames = np.stack([draw_face(0.3)] * 12)
    stated = make_metadata(total_num_frames=12, fps=6.0, duration=2.0)
    made = make_processor(do_crop_faces=do_crop_faces)(
        frames, video_metadata=[stated], do_sample_frames=True, fps=3, return_tensors="pt", return_metadata=True
    )
    assert made["pixel_values_videos"].shape[1] == 6
    (metadata,) = made["video_metadata"]
    assert (metadata.fps, metadata.duration) == (6.0, 2.0)
    assert list(metadata.frames_indices) == [0, 2, 4, 6, 8, 11]


@pytest.mark.parametrize("do_crop_faces", [False, True])
def test_no_rate_is_assumed_for_an_array(do_crop_faces):
    frames, processor = np.stack([draw_face(0.3)] * 6), make_processor(do_crop_faces=do_crop_faces)
    made = processor(frames, return_metadata=True)
    assert (made["video_metadata"][0].fps, list(made["video_metadata"][0].frames_indices)) == (None, list(range(6)))
    with pytest.raises(ValueError, match="needs the clip's own rate: give `video_metadata`"):
        processor(frames, do_sample_frames=True, fps=3)


@pytest.mark.parametrize("do_crop_faces", [False, True])
def test_frames_of_an_array_keep_their_stated_numbers(do_crop_faces):
    stated = VideoMetadata(total_num_frames=100, fps=25.0, frames_indices=[0, 30, 60, 90])
    frames = np.stack([draw_face(0.3)] * 4)
    made = make_processor(do_crop_faces=do_crop_faces)(frames, video_metadata=[stated], return_metadata=True)
    assert made["video_metadata"][0].timestamps == [0.0, 1.2, 2.4, 3.6]


def test_faces_are_not_searched_in_floats():
    with pytest.raises(ValueError, match=r"uint8, or .* do_rescale=False if their values already lie between 0 and 1"):
        make_processor(do_crop_faces=True)(np.zeros((2, 64, 64, 3), dtype=np.float32))


def test_crops_need_no_face_backend(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "facenet_pytorch", None)
    values = make_processor(do_crop_faces=True)(
        noise(4, 40, 40, 3), do_crop_faces=False, return_tensors="pt"
    ).pixel_values_videos
    assert values.shape == (1, 4, 3, 32, 32)


def test_from_config_takes_size_and_frames_of_the_configuration():
    processor = DeepfakeVideoProcessor.from_config(DeepfakeConfig.from_preset("resnext50-lstm"))
    assert dict(processor.size) == {"height": 112, "width": 112}
    assert (processor.num_frames, processor.do_crop_faces) == (20, True)


def test_the_image_processor_makes_one_clip_of_its_frames():
    frames = noise(4, 40, 50, 3)
    choices = make_processor().choices()
    values = DeepfakeImageProcessor(**choices)([Image.fromarray(frame) for frame in frames], return_tensors="pt")
    expected = make_processor()(frames, return_tensors="pt")
    assert torch.equal(values.pixel_values_videos, expected.pixel_values_videos)


@pytest.mark.parametrize("processor_class", [DeepfakeVideoProcessor, DeepfakeImageProcessor])
def test_every_choice_survives_a_round_trip_as_json(processor_class, tmp_path):
    choices = {
        "size": {"height": 48, "width": 40},
        "num_frames": 7,
        "frame_sampling": "bursts",
        "burst_length": 7,
        "channel_order": "bgr",
        "antialias": False,
        "do_pad": True,
        "do_crop_faces": True,
        "face_margin": 1.0,
        "face_square": False,
        "face_padding": "zero",
        "face_min_size": 30,
        "face_min_score": 0.8,
    }
    processor_class(**choices).save_pretrained(tmp_path)
    again = processor_class.from_pretrained(tmp_path)
    assert {name: again.choices()[name] for name in choices} == {
        **choices,
        "size": {**dict(again.size), **choices["size"]},
    }


def test_security_limits_are_not_read_from_a_checkpoint(tmp_path, clip_file):
    make_processor().save_pretrained(tmp_path)
    file = tmp_path / "video_preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_frame_pixels": 1, "limits": {}}))
    processor = DeepfakeVideoProcessor.from_pretrained(tmp_path)
    assert processor(str(clip_file), return_tensors="pt").pixel_values_videos.shape[1] == 4


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        ({"size": {"height": -1, "width": 8}}, "size"),
        ({"size": {"height": 10**6, "width": 8}}, "size"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": "many"}, "num_frames"),
        ({"image_std": [0.0, 1.0, 1.0]}, "image_std"),
        ({"rescale_factor": float("nan")}, "rescale_factor"),
        ({"channel_order": "rbg"}, "channel_order"),
        ({"frame_sampling": "random"}, "frame_sampling"),
        ({"burst_length": 10**9}, "burst_length"),
        ({"fps": 5}, "Give each call fps=5 instead"),
        ({"face_margin": -1.0}, "margin"),
        ({"face_min_score": 2.0}, "min_score"),
        ({"do_pad": True, "size": {"shortest_edge": 20}}, "do_pad"),
        ({"size": {"longest_edge": 64}}, "size must have height and width"),
        ({"do_crop_faces": True, "do_resize": False}, "do_crop_faces requires do_resize"),
        (
            {"do_crop_faces": True, "face_square": False, "size": {"shortest_edge": 64}},
            "do_crop_faces requires do_resize",
        ),
    ],
    ids=str,
)
def test_a_wrong_choice_is_one_clear_sentence(choices, name):
    with pytest.raises(ValueError, match=name) as error:
        DeepfakeVideoProcessor(**choices)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("choices", [{"do_resize": False}, {"size": {"shortest_edge": 32}}], ids=str)
def test_frames_that_cannot_be_stacked_are_one_clear_sentence(choices, tmp_path):
    path = write_changing_size(tmp_path / "sizes.mkv", [(640, 360), (360, 640)], seconds=0.5)
    with pytest.raises(UnsupportedVideoError, match="the frame size changes within the video"):
        make_processor(**choices)(str(path))
    assert make_processor()(str(path), return_tensors="pt").pixel_values_videos.shape == (1, 4, 3, 32, 32)


def test_fetch_videos_returns_whole_frames_and_metadata(clip_file):
    frames, metadata = DeepfakeVideoProcessor().fetch_videos(str(clip_file))
    assert frames.shape == (30, 64, 96, 3)
    assert (metadata.total_num_frames, metadata.width, metadata.height) == (30, 96, 64)
    assert metadata.duration == pytest.approx(1.2)


def test_a_frame_that_does_not_decode_again_is_left_out():
    class Damaged(FrameArray):
        def frames(self, indices):
            return (item for item in super().frames(indices) if item[0] != 1)

    source = Damaged(np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(9, 1).repeat(9, 2).repeat(3, 3))
    track = track_from_boxes(np.array([0, 0, 4, 4]), range(3))
    processor = DeepfakeVideoProcessor(size={"height": 4, "width": 4}, num_frames=3)
    (clip,) = processor.crop_clips(source, [track], 3)
    assert clip.frame_indices.tolist() == [0, 0, 2]
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 0, 2]
    with pytest.raises(VideoDecodeError, match="frame 1"):
        processor.crop_clips(source, [track.on_frames(np.array([1]))], 3)
