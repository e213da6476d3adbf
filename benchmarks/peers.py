# SPDX-License-Identifier: Apache-2.0
"""Other ways from a file to frames, to faces and to features."""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from deepfake_video.face_detection import FaceDetection
from deepfake_video.video_decoding import VideoLimits, VideoReader


Read = Callable[[Path, np.ndarray], np.ndarray]


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def read_ours(path: Path, indices: np.ndarray, *, threads: int | None = None, device: str = "cpu") -> np.ndarray:
    with VideoReader(path, limits=VideoLimits(decode_threads=threads, decode_device=device)) as reader:
        return np.stack([frame for _, frame in reader.frames(indices)])


def read_floor(path: Path, indices: np.ndarray) -> np.ndarray:
    """The same packets in one thread, with pictures of 2x2 pixels: what decoding alone costs."""
    with VideoReader(path, limits=VideoLimits(decode_threads=1)) as reader:
        convert = reader._pictures._reformatter.reformat

        class Tiny:
            def reformat(self, frame: Any, format: str, threads: int) -> Any:
                return convert(frame, width=2, height=2, format=format)

        reader._pictures._reformatter = Tiny()  # type: ignore[assignment]
        return np.stack([frame for _, frame in reader.frames(indices)])


def read_transformers(path: Path, indices: np.ndarray) -> np.ndarray:
    from transformers.video_utils import load_video

    frames, _ = load_video(str(path), backend="pyav", sample_indices_fn=lambda metadata, **_: indices)
    return np.asarray(frames)


def read_torchcodec(path: Path, indices: np.ndarray) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder  # type: ignore[attr-defined]

    decoder = VideoDecoder(str(path), dimension_order="NHWC", seek_mode="exact")
    frames: np.ndarray = decoder.get_frames_at(indices.tolist()).data.numpy()
    return frames


def read_opencv(path: Path, indices: np.ndarray) -> np.ndarray:
    import cv2

    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]), []
    for index in indices:
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(index))
        frames.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def read_decord(path: Path, indices: np.ndarray) -> np.ndarray:
    import decord  # type: ignore[import-untyped]

    frames: np.ndarray = decord.VideoReader(str(path), num_threads=1).get_batch(indices.tolist()).asnumpy()
    return frames


# What must be installed, and how it reads in one thread (torchcodec and Transformers by default).
READERS: dict[str, tuple[str, Read]] = {
    "torchcodec exact": ("torchcodec", read_torchcodec),
    "Transformers pyav": ("transformers", read_transformers),
    "OpenCV seek": ("cv2", read_opencv),
    "decord": ("decord", read_decord),
}


class PlainMTCNN:
    """facenet-pytorch as its users call it, on each whole frame at 640 pixels: a detector of this package."""

    def __init__(self) -> None:
        from facenet_pytorch import MTCNN

        self.network = MTCNN(keep_all=True, min_face_size=40)

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> list[FaceDetection]:
        scale = max(frame.shape[:2]) / 640
        picture = Image.fromarray(frame)
        small = picture.resize((round(picture.width / scale), round(picture.height / scale)))
        boxes, scores = self.network.detect(np.asarray(small))
        if boxes is None:
            return []
        # It returns an array of objects.
        found = zip(np.asarray(boxes, np.float32), scores, strict=True)
        return [FaceDetection(box * scale, float(score)) for box, score in found]


def openvino_features(backbone: torch.nn.Module, frames: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The backbone compiled by OpenVINO in float32, with as many threads as torch."""
    import openvino  # type: ignore[import-untyped]

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces in a way that torch calls outdated
        graph = openvino.compile_model(openvino.convert_model(backbone, example_input=frames), "CPU", settings)
    return lambda: torch.from_numpy(next(iter(graph(frames.numpy()).values())))
