# SPDX-License-Identifier: Apache-2.0
"""Miniature data sets in the folder layouts and with the names of the official downloads; the clips are generated."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clips import picture, write_clip
from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.hub.folder import save_hub_folder


# Written once, copied into every tree; gone with the process.
_CLIPS = tempfile.TemporaryDirectory(prefix="clips-")


@cache
def _clip(num_frames: int) -> Path:
    return write_clip(Path(_CLIPS.name) / f"{num_frames}.mp4", num_frames=num_frames)


def put_clip(path: Path, *, num_frames: int = 8) -> Path:
    """A clip at this path; clips of different lengths score differently."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_clip(num_frames), path)
    return path


def put_images(folder: Path, count: int = 4, *, shade: int = 0) -> list[Path]:
    """Numbered face images without leading zeros, as some tools write them; image 10 follows image 9."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i}.png" for i in range(count)]
    for i, file in enumerate(files):
        Image.fromarray(picture((7 * i + shade) % 256, 40, 40)).save(file)
    return files


def save_model(folder: Path, seed: int, *, do_crop_faces: bool = False, **changes) -> str:
    """A tiny model that is sure of itself, so that scores differ."""
    torch.manual_seed(seed)
    config = DeepfakeConfig.from_preset("tiny", **{"is_trained": True, **changes})
    model = DeepfakeForVideoClassification(config)
    torch.nn.init.normal_(model.classifier.out_proj.weight, std=3.0)
    save_hub_folder(model, DeepfakeVideoProcessor.from_config(config, do_crop_faces=do_crop_faces), folder)
    return str(folder)


FF_PAIRS = {"train": [["071", "054"]], "val": [["720", "672"]], "test": [["953", "974"], ["033", "097"]]}
FF_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def make_faceforensics(root: Path, *, compressions: tuple[str, ...] = ("c23",), has_splits: bool = True) -> Path:
    """Four methods, and the real videos that they were made from."""
    for compression in compressions:
        for pairs in FF_PAIRS.values():
            for first, second in pairs:
                for video in (first, second):
                    put_clip(root / "original_sequences/youtube" / compression / "videos" / f"{video}.mp4")
                for i, method in enumerate(FF_METHODS):
                    for video in (f"{first}_{second}", f"{second}_{first}"):
                        folder = root / "manipulated_sequences" / method / compression / "videos"
                        put_clip(folder / f"{video}.mp4", num_frames=9 + i)
    if has_splits:
        for name, pairs in FF_PAIRS.items():
            (root / f"{name}.json").write_text(json.dumps(pairs))
    return root


def make_dfd(root: Path) -> Path:
    """Two actors, beside FaceForensics++ or alone."""
    for actor in ("01", "02"):
        put_clip(root / "original_sequences/actors/c23/videos" / f"{actor}__walking_outside_cafe_disgusted.mp4")
    name = "01_02__walking_outside_cafe_disgusted__YVGY8LOK.mp4"
    put_clip(root / "manipulated_sequences/DeepFakeDetection/c23/videos" / name)
    return root


CELEB_TEST_LIST = """\
1 YouTube-real/00170.mp4
1 Celeb-real/id1_0007.mp4
0 Celeb-synthesis/id1_id0_0007.mp4
0 Celeb-synthesis/id0_id1_0000.mp4
"""


def make_celeb_df(root: Path, *, inner: str = "", youtube: str = "YouTube-real") -> Path:
    """Three real and three fake videos of which two each are for testing; `inner` is what some copies insert."""
    names = [
        *("Celeb-real/id0_0000.mp4", "Celeb-real/id1_0007.mp4", f"{youtube}/00170.mp4"),
        *("Celeb-synthesis/id1_id0_0007.mp4", "Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/id0_id2_0001.mp4"),
    ]
    for name in names:
        folder, file = name.split("/")
        put_clip(root / folder / inner / file)
    (root / "List_of_testing_videos.txt").write_text(CELEB_TEST_LIST)
    return root


def make_celeb_df_plus_plus(root: Path) -> Path:
    """Fakes by category and method."""
    put_clip(root / "Celeb-real/id0_0000.mp4")
    put_clip(root / "YouTube-real/00170.mp4")
    for method in ("FaceSwap/SimSwap", "FaceReenact/LIA", "TalkingFace/SadTalker"):
        put_clip(root / "Celeb-synthesis" / method / "id0_id1_0000.mp4")
    return root


def make_dfdc(root: Path) -> Path:
    """Two training parts, each with its list."""
    for part, (real, fake) in enumerate([("owxbbpjpch", "aagfhgtpmv"), ("eudeqjhdfd", "aapnvogymq")]):
        folder = root / f"dfdc_train_part_{part}"
        for name in (real, fake):
            put_clip(folder / f"{name}.mp4")
        metadata = {
            f"{real}.mp4": {"label": "REAL", "split": "train"},
            f"{fake}.mp4": {"label": "FAKE", "split": "train", "original": f"{real}.mp4"},
        }
        (folder / "metadata.json").write_text(json.dumps(metadata))
    return root


def make_dfdc_test(root: Path) -> Path:
    """The test set: a list beside the folder that holds the videos."""
    for name in ("aalscayrfi", "abhggqdift"):
        put_clip(root / "test" / f"{name}.mp4")
    (root / "labels.csv").write_text("filename,label\naalscayrfi.mp4,1\nabhggqdift.mp4,0\n")
    return root


def make_dfdc_preview(root: Path) -> Path:
    """Two methods, a list for all."""
    entries = {
        "original_videos/643621/643621_A_001.mp4": ("real", 643621, None, "train"),
        "original_videos/1224068/1224068_C_001.mp4": ("real", 1224068, None, "test"),
        "method_A/1224068/1224068_1055023_A_000.mp4": ("fake", 1224068, 1055023, "test"),
        "method_B/643621/643621_1055023_B_000.mp4": ("fake", 643621, 1055023, "train"),
    }
    for name in entries:
        put_clip(root / name)
    keys = ("label", "target_id", "swapped_id", "set")
    dataset = {name: {**dict(zip(keys, entry, strict=True)), "augmentations": []} for name, entry in entries.items()}
    (root / "dataset.json").write_text(json.dumps(dataset))
    return root


DEEPFAKEBENCH_LABELS = {"FF-real": None, "FF-DF": "Deepfakes", "FF-F2F": "Face2Face", "FF-NT": "NeuralTextures"}


def make_deepfakebench(root: Path, *, frames: int = 12) -> Path:
    """FaceForensics++ as DeepfakeBench lists it: the methods have videos, and so frame folders, of the same names."""
    content: dict[str, dict] = {}
    for number, (label, method) in enumerate(DEEPFAKEBENCH_LABELS.items()):
        place = f"manipulated_sequences/{method}" if method else "original_sequences/youtube"
        videos = {}
        for video in ("953_974", "974_953") if method else ("953", "974"):
            relative = f"FaceForensics++/{place}/c23/frames/{video}"
            files = put_images(root / "rgb" / relative, frames, shade=3 * number)
            # Some lists were written on Windows.
            names = [f"{relative}/{file.name}".replace("/", "\\") for file in files]
            videos[video] = {"label": label, "frames": names}
        content[label] = {"train": {"c23": {}}, "val": {"c23": {}}, "test": {"c23": videos}}
    folder = root / "dataset_json"
    folder.mkdir()
    file = folder / "FaceForensics++.json"
    file.write_text(json.dumps({"FaceForensics++": content}))
    return file


def make_folder(root: Path, *, reals: int = 3, fakes: int = 4) -> Path:
    """`real/` and `fake/` with videos of all lengths."""
    for i in range(reals):
        put_clip(root / "real" / f"{i}.mp4", num_frames=8 + i)
    for i in range(fakes):
        put_clip(root / "fake" / f"{i}.mp4", num_frames=12 + i)
    return root


def make_image_folder(root: Path) -> Path:
    """Face images: two videos of the same name by two methods, one real video, one single picture."""
    put_images(root / "real/000", 11)
    put_images(root / "fake/swap/000", 5, shade=20)
    put_images(root / "fake/morph/000", 3, shade=40)
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(root / "real/alone.jpg")
    return root
