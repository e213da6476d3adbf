# SPDX-License-Identifier: Apache-2.0
"""Other ways from a file to frames, and from frames to features."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_video.video_decoding import VideoReader


Read = Callable[[Path, np.ndarray], np.ndarray]


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def read_ours(path: Path, indices: np.ndarray) -> np.ndarray:
    with VideoReader(path) as reader:
        return np.stack([frame for _, frame in reader.frames(indices)])


def read_floor(path: Path, indices: np.ndarray) -> np.ndarray:
    """The same packets, with pictures of 2x2 pixels: what decoding alone costs."""
    with VideoReader(path) as reader:
        convert = reader._reformatter.reformat

        class Tiny:
            def reformat(self, frame: Any, format: str, threads: int) -> Any:
                return convert(frame, width=2, height=2, format=format)

        reader._reformatter = Tiny()  # type: ignore[assignment]
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

    capture, frames = cv2.VideoCapture(str(path)), []
    for index in indices:
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(index))
        frames.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def read_decord(path: Path, indices: np.ndarray) -> np.ndarray:
    import decord  # type: ignore[import-untyped]

    frames: np.ndarray = decord.VideoReader(str(path)).get_batch(indices.tolist()).asnumpy()
    return frames


# What must be installed, and how it reads.
READERS: dict[str, tuple[str, Read]] = {
    "torchcodec exact": ("torchcodec", read_torchcodec),
    "Transformers pyav": ("transformers", read_transformers),
    "OpenCV seek": ("cv2", read_opencv),
    "decord": ("decord", read_decord),
}


def openvino_features(backbone: torch.nn.Module, frames: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The backbone compiled by OpenVINO in float32, with as many threads as torch."""
    import openvino  # type: ignore[import-untyped]

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    graph = openvino.compile_model(openvino.convert_model(backbone, example_input=frames), "CPU", settings)
    return lambda: torch.from_numpy(next(iter(graph(frames.numpy()).values())))
