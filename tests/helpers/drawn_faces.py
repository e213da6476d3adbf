# SPDX-License-Identifier: Apache-2.0
"""Videos of drawn people and a network whose answer is known, for tests of what a scan says."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import nn

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.device_batch import read_in_worker
from deepfake_video.scanning.evidence import Examination
from deepfake_video.scanning.models import LoadedModel
from deepfake_video.scanning.results import ModelIdentity
from deepfake_video.scanning.sample import draw_face
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.scanning.workers import examine_in_worker


FPS = 12


def write_people(
    path: Path,
    *,
    seconds: float = 4.0,
    people: int = 1,
    tinted: tuple[float, float] = (0.0, 0.0),
    fps: int = FPS,
    quarter_turns: int = 0,
    gap: tuple[float, float] = (0.0, 0.0),
) -> Path:
    """A video of one or two drawn people side by side, tinted red from one second to another, perhaps on its side.

    `gap` is after how many seconds of pictures there are none, and for how long.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "ultrafast"})
        sides = [640 if people == 1 else 560, 360]
        stream.width, stream.height = sides[::-1] if quarter_turns % 2 else sides
        stream.pix_fmt = "yuv420p"
        for number in range(round(seconds * fps)):
            second = number / fps
            picture = draw_face(second)
            if people == 2:
                picture = np.hstack([picture[:, 180:460], draw_face(second + 1.3)[:, 180:460]])
            if tinted[0] <= second < tinted[1]:
                picture = np.clip(picture * np.array([1.3, 0.7, 0.7]), 0, 255).astype(np.uint8)
            picture = np.ascontiguousarray(np.rot90(picture, quarter_turns))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number + round(gap[1] * fps) * (second >= gap[0]), Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_changing_size(path: Path, sizes: list[tuple[int, int]], *, seconds: float = 1.0) -> Path:
    """One drawn person, whose picture has one (width, height) after the other, each for some seconds.

    A wide picture is scaled. A square or tall one shows the middle of the wide one, as a camera that is turned does.
    """
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuvj420p"
        for number in range(round(seconds * FPS) * len(sizes)):
            width, height = sizes[number // round(seconds * FPS)]
            image = Image.fromarray(draw_face(number / FPS))
            if width > height:
                image = image.resize((width, height))
            else:
                screen = Image.new("RGB", (width, height), image.getpixel((5, 5)))
                screen.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
                image = screen
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
            encoder.time_base = Fraction(1, FPS)
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            for packet in [*encoder.encode(frame), *encoder.encode(None)]:
                packet.stream = stream
                container.mux(packet)
    return path


def write_seldom_seen(path: Path, *, seconds: float, on_s: float, every_s: float) -> Path:
    """A person who is always there, and beside them one in red who is there for a moment now and then."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 560, 360, "yuv420p"
        for number in range(round(seconds * FPS)):
            second = number / FPS
            one, other = draw_face(second)[:, 180:460], draw_face(second + 1.3)[:, 180:460]
            other = np.clip(other * np.array([1.3, 0.7, 0.7]), 0, 255).astype(np.uint8)
            if second % every_s >= on_s:
                other = np.full_like(other, 90)
            picture = np.ascontiguousarray(np.hstack([one, other]))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


class RednessMap(nn.Module):
    """Maps of which the first says how much redder than green each part of a picture is."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        redness = nn.functional.adaptive_avg_pool2d(frames[:, :1] - frames[:, 1:2], 4)
        return nn.functional.pad(redness, (0, 0, 0, 0, 0, self.num_features - 1))


class Redness(nn.Module):
    """A frame encoder with the parts of a real one, whose answer is known."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.features = RednessMap(num_features)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.backbone.features(frames).mean(dim=(2, 3))


def redness_detector(**settings: object) -> Detector:
    """A detector that calls red faces fake, sure of it, and drawn faces real."""
    config = DeepfakeConfig.from_preset(
        "tiny", rnn_type="none", num_hidden_layers=0, hidden_size=1024, frame_aggregation="mean-probability"
    )
    network = DeepfakeForVideoClassification(config)
    network.deepfake.frame_encoder = Redness(config.num_features)
    with torch.no_grad():
        network.classifier.out_proj.weight.zero_()
        network.classifier.out_proj.weight[1, 0] = 40.0
        network.classifier.out_proj.bias.copy_(torch.tensor([7.0, 0.0]))
    processor = DeepfakeVideoProcessor.from_config(config, image_mean=[0.0] * 3, image_std=[1.0] * 3)
    detector = Detector(device="cpu", settings=ScanSettings(**settings))  # type: ignore[arg-type]
    detector.models = [LoadedModel(network.eval(), processor, ModelIdentity(id="redness"))]
    detector.identity, detector.warnings = ModelIdentity(id="redness"), []
    return detector


def die(*_: object) -> None:
    """What happens to a process that runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_of_a(path: str) -> Examination:
    """What a worker does whose decoder one video kills."""
    if Path(path).name == "a.mp4":
        die()
    return examine_in_worker(path)


def die_while_reading_a(path: str) -> object:
    """What a worker that only reads does whose decoder one video kills."""
    if Path(path).name == "a.mp4":
        die()
    return read_in_worker(path)


def save_tiny_model(folder: Path, seed: int = 1, **changes: object) -> str:
    """A small network with random weights that answers decidedly, as a folder."""
    torch.manual_seed(seed)
    config = DeepfakeConfig.from_preset("tiny", **{"is_trained": True, **changes})
    model = DeepfakeForVideoClassification(config)
    nn.init.normal_(model.classifier.out_proj.weight, std=2.0)
    save_hub_folder(model, DeepfakeVideoProcessor.from_config(config), folder)
    return str(folder)
