# SPDX-License-Identifier: Apache-2.0
"""
From a clip to a score as a script usually gets there: `python -m benchmarks.usual_script CLIP MODEL`.

Transformers reads the frames, facenet-pytorch searches each of them as a whole, and the network in a model folder
judges the crops as `from_pretrained` loads it, all with the threads that torch chooses.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deepfake_video import DeepfakeForVideoClassification

from .bench import NUM_FRAMES
from .peers import PlainMTCNN, read_transformers
from .scripts import normalize


def main(path: str, folder: str) -> None:
    import av

    with av.open(path) as container:
        total = container.streams.video[0].frames
    frames = read_transformers(Path(path), np.linspace(0, total - 1, NUM_FRAMES).astype(int))
    network = DeepfakeForVideoClassification.from_pretrained(folder).eval()
    side, detector, crops = network.config.image_size, PlainMTCNN(), []
    for frame in frames:
        faces = detector.detect(frame[None])[0]
        if faces:
            picture = Image.fromarray(frame).crop(tuple(faces[0].box.tolist()))
            crops.append(normalize(np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))))
    with torch.no_grad():
        print(float(network(torch.stack(crops)[None]).logits.softmax(-1)[0, 1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
