# SPDX-License-Identifier: Apache-2.0
"""Three inference scripts as they are commonly written, rebuilt: what users would run in place of this package."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .peers import PlainMTCNN


MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@torch.no_grad()
def plain_forward(network: Any, pixels: torch.Tensor, *, stepwise: bool = False) -> torch.Tensor:
    """The network as eager torch runs it: convolutions, norms and activations one by one, channels first."""
    features = network.deepfake.frame_encoder.backbone(pixels.flatten(0, 1))[None]
    if stepwise:  # one frame after the other through the recurrent network
        rnn = network.deepfake.temporal_encoder.rnn
        states = torch.cat([rnn(features[:, number : number + 1])[0] for number in range(features.shape[1])], 1)
        logits: torch.Tensor = network.calibrate(network.classifier(network.deepfake.pooler(states)))
        return logits
    logits = network.classify_features(features).logits
    return logits


def normalize(picture: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255 - MEAN) / STD


def read_all_then_judge(path: Path, network: Any, num_frames: int = 20) -> float:
    """ResNeXt50 + LSTM: OpenCV reads every frame, PIL resizes the chosen ones to 112 px."""
    import cv2

    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        is_read, frame = capture.read()
        if not is_read:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    chosen = np.linspace(0, len(frames) - 1, num_frames).astype(int)
    size = (network.config.image_size,) * 2
    pictures = [Image.fromarray(frames[index]).resize(size, Image.Resampling.BILINEAR) for index in chosen]
    pixels = torch.stack([normalize(np.asarray(picture)) for picture in pictures])[None]
    return float(plain_forward(network, pixels).softmax(-1)[0, 1])


def seek_then_judge(path: Path, network: Any, num_frames: int = 20) -> float:
    """EfficientNet + Bi-LSTM: OpenCV seeks each frame and resizes it to 224 px."""
    import cv2

    capture, pictures = cv2.VideoCapture(str(path)), []
    size = (network.config.image_size,) * 2
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    for index in np.linspace(0, total - 1, num_frames).astype(int):
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(index))
        picture = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        pictures.append(normalize(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)))
    return float(plain_forward(network, torch.stack(pictures)[None]).softmax(-1)[0, 1])


def face_by_face(path: Path, network: Any, num_frames: int = 20) -> float:
    """
    EfficientNet-B0 on one face at a time: OpenCV seeks, each whole frame is searched, each crop is judged alone.

    The published script searches by dlib's HOG, which has no wheel to install; MTCNN stands in for it.
    """
    import cv2

    capture, scores, detector = cv2.VideoCapture(str(path)), [], PlainMTCNN()
    size = (network.config.image_size,) * 2
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    for index in np.linspace(0, total - 1, num_frames, dtype=int):
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(index))
        frame = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        for face in detector.detect(frame[None])[0]:
            x0, y0, x1, y1 = face.box.round().astype(int).clip(0)
            pixels = normalize(cv2.resize(frame[y0:y1, x0:x1], size))[None, None]
            scores.append(float(plain_forward(network, pixels).softmax(-1)[0, 1]))
    return float(np.mean(scores))
