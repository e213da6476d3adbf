# SPDX-License-Identifier: Apache-2.0
"""Data for `transformers.Trainer`: the input of the network for each video, and a fine-tuning from end to end."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from deepfake_video import DeepfakeCollator, DeepfakeConfig, DeepfakeVideoProcessor, FaceClipDataset
from deepfake_video.evaluation.sample_reading import read_sample
from deepfake_video.evaluation.samples import Sample
from deepfake_video.scanning.sample import write_sample_video
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.training.errors import TrainingError
from drawn_faces import draw_face


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "finetune_with_trainer.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A real and a fake clip of four people each, in a CSV file that names the people."""
    root = tmp_path_factory.mktemp("data")
    clip = write_sample_video(root / "clip.mp4", num_frames=6).read_bytes()
    lines = ["path,label,group"]
    for person in range(4):
        for label in ("real", "fake"):
            # A box that players skip makes the content of each file unique.
            number = f"{label[0]}{person}".encode().rjust(4)
            (root / f"{label}-{person}.mp4").write_bytes(clip + b"\0\0\0\x0cfree" + number)
            lines.append(f"{label}-{person}.mp4,{label},{person}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root / "clips.csv"


def test_an_item_is_the_input_that_the_processor_makes_of_the_video(tmp_path):
    path = write_sample_video(tmp_path / "person.mp4", num_frames=8)
    processor = DeepfakeVideoProcessor.from_preset("tiny", num_frames=4, do_crop_faces=True)
    sample = Sample(key="person", path=path, is_fake=True, dataset="videos")
    (item,) = FaceClipDataset([sample], processor, cache=tmp_path / "crops")
    wanted = processor(str(path), return_tensors="pt")["pixel_values_videos"][0]
    assert int(item["labels"]) == 1
    torch.testing.assert_close(item["pixel_values_videos"], wanted)


def test_images_are_framed_as_in_an_evaluation(tmp_path):
    """A face fills a third of the picture, so a search for faces would cut it out."""
    path = tmp_path / "person.png"
    Image.fromarray(draw_face(0.0)).save(path)
    processor = DeepfakeVideoProcessor.from_preset("tiny", size={"height": 64, "width": 64})
    sample = Sample(key="person", path=path, is_fake=False, dataset="images", images=(path,))
    (item,) = FaceClipDataset([sample], processor, cache=tmp_path / "crops")
    evaluated = read_sample(sample, [processor], ScanSettings()).clips[0][0].frames[:1]
    wanted = processor([evaluated], do_crop_faces=False, do_sample_frames=False, return_tensors="pt")
    torch.testing.assert_close(item["pixel_values_videos"], wanted["pixel_values_videos"][0])
    (searched,) = FaceClipDataset([sample], processor, cache=tmp_path / "crops", search_images=True)
    assert (searched["pixel_values_videos"] - item["pixel_values_videos"]).abs().mean() > 0.1


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"frame_sampling": "first"}, "processor: frame_sampling must be 'even', as in the training, got 'first'"),
        ({"face_square": False}, "face_square must be True"),
        ({"face_detector": "mtcnn"}, "face_detector must be 'centerface'"),
        ({"do_crop_faces": False}, "do_crop_faces must be True"),
        ({"size": {"shortest_edge": 32}}, "size must have height and width"),
    ],
)
def test_a_processor_that_the_crops_do_not_follow_is_refused(tmp_path, choice, said):
    processor = DeepfakeVideoProcessor.from_preset("tiny", **choice)
    with pytest.raises(TrainingError, match=said):
        FaceClipDataset([], processor, cache=tmp_path)


def test_bursts_of_the_processor_are_followed(tmp_path):
    path = write_sample_video(tmp_path / "person.mp4", num_frames=12)
    processor = DeepfakeVideoProcessor.from_preset("tiny", frame_sampling="bursts", burst_length=2)
    sample = Sample(key="person", path=path, is_fake=False, dataset="videos")
    (video,) = FaceClipDataset([sample], processor, cache=tmp_path / "crops").videos
    assert video.crops.frame_indices == (0, 1, 10, 11)


@pytest.mark.parametrize("id2label", [{0: "real", 1: "fake"}, {0: "fake", 1: "real"}, {0: "x", 1: "real", 2: "fake"}])
def test_labels_are_the_ids_of_the_model(data, tmp_path, id2label):
    processor = DeepfakeVideoProcessor.from_preset("tiny", num_frames=2)
    config = DeepfakeConfig.from_preset("tiny", id2label=id2label)
    options = {"cache": tmp_path, "label2id": config.label2id}
    parts = FaceClipDataset.open_divided(data, processor, **options)
    for part in (*parts, FaceClipDataset.open(data, processor, **options)):
        for item, video in zip(part, part.videos, strict=True):
            assert config.id2label[int(item["labels"])] == ("fake" if video.sample.is_fake else "real")


def test_label_ids_without_real_or_fake_are_refused(tmp_path):
    processor = DeepfakeVideoProcessor.from_preset("tiny")
    with pytest.raises(TrainingError, match=r"label2id must name real and fake; fake is missing in \{'real': 0, 'FA"):
        FaceClipDataset([], processor, cache=tmp_path, label2id={"real": 0, "FAKE": 1})


def test_a_transform_changes_the_clip(tmp_path):
    path = write_sample_video(tmp_path / "person.mp4", num_frames=4)
    processor = DeepfakeVideoProcessor.from_preset("tiny", num_frames=2)
    sample = Sample(key="person", path=path, is_fake=False, dataset="videos")
    black = FaceClipDataset([sample], processor, cache=tmp_path, transform=np.zeros_like)[0]["pixel_values_videos"]
    mean, std = (torch.tensor(values) for values in (processor.image_mean, processor.image_std))
    torch.testing.assert_close(black.amax((0, 2, 3)), -mean / std)


def test_shorter_clips_are_padded_and_masked():
    clips = [torch.ones(length, 3, 4, 4) for length in (3, 1)]
    batch = DeepfakeCollator()([{"pixel_values_videos": clip, "labels": torch.tensor(1)} for clip in clips])
    assert batch["pixel_values_videos"].shape == (2, 3, 3, 4, 4)
    assert batch["frame_mask"].tolist() == [[True] * 3, [True, False, False]]
    assert not batch["pixel_values_videos"][1, 1:].any()


def test_clips_of_one_length_need_no_mask():
    batch = DeepfakeCollator()([{"pixel_values_videos": torch.ones(2, 3, 4, 4), "labels": torch.tensor(0)}] * 2)
    assert "frame_mask" not in batch


def test_nobody_is_in_both_parts(data, tmp_path):
    processor = DeepfakeVideoProcessor.from_preset("tiny", num_frames=4)
    parts = FaceClipDataset.open_divided(data, processor, cache=tmp_path)
    people = [{identity for video in part.videos for identity in video.sample.identities} for part in parts]
    assert not people[0] & people[1]
    assert [len(part) for part in parts] == [6, 2]
    assert len(FaceClipDataset.open(data, processor, cache=tmp_path)) == 8


def test_one_file_in_both_parts_is_refused(data, tmp_path):
    (tmp_path / "clips").mkdir()
    lines = ["path,label,group"]
    for file in (data.parent / "real-0.mp4", data.parent / "fake-0.mp4"):
        for person in "ab":
            copy = tmp_path / "clips" / f"{file.stem}-{person}.mp4"
            copy.write_bytes(file.read_bytes())
            lines.append(f"{copy.name},{file.stem.split('-')[0]},{person}")
    (tmp_path / "clips/list.csv").write_text("\n".join(lines) + "\n")
    processor = DeepfakeVideoProcessor.from_preset("tiny", num_frames=4)
    with pytest.raises(TrainingError, match="2 validation videos have the same content as training videos"):
        FaceClipDataset.open_divided(tmp_path / "clips/list.csv", processor, cache=tmp_path)


def test_the_example_fine_tunes_a_model_that_the_pipeline_loads(data, tmp_path):
    options = ["--preset", "tiny", "--num-frames", "4", "--steps", "2", "--random-weights", "--cpu"]
    metrics = runpy.run_path(str(EXAMPLE))["main"]([str(data), str(tmp_path), *options])
    assert 0 <= metrics["eval_auc"] <= 1
    clip = write_sample_video(tmp_path / "clip.mp4", num_frames=6)
    detector = pipeline("video-classification", model=str(tmp_path / "model"), trust_remote_code=True)
    assert {answer["label"] for answer in detector(str(clip))} == {"real", "fake"}
