# SPDX-License-Identifier: Apache-2.0
"""How many images per second one GPU makes and learns from, on random crops: python bench_gpu.py DATA [PAIRS ...]"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import train_gpu as t
from on_device import MeshRegions, PairMaker


def main() -> None:
    data, sizes = Path(sys.argv[1]), [int(n) for n in sys.argv[2:]] or [64, 128, 256]
    random = np.random.default_rng(0)
    originals = t.Originals()
    for number in range(60):
        crops = random.integers(0, 255, (40, 288, 288, 3), dtype=np.uint8)
        meshes = (random.random((40, 148, 2)) * 120 + 80).astype(np.float32)
        name = ["FaceForensics++", "portraits", "utkface"][number % 3]
        entry = {
            "video": f"{number}",
            "fake": number % 6 == 3,
            "dataset": name,
            "original": f"{number - 3}",
            "method": "m",
        }
        originals.add(entry, crops, meshes, np.arange(0, 120, 3))
    originals.finish("cuda")
    copies = {kind: t.Copies(2000, "cuda") for kind in ("sb", "re")}
    for ring in copies.values():
        ring.size = 2000
    groups = {
        "oval": range(36),
        "eyes": range(36, 68),
        "brows": range(68, 88),
        "lips": range(88, 128),
        "nose": range(128, 148),
    }
    regions = MeshRegions(**{name: tuple(points) for name, points in groups.items()})
    maker = PairMaker(t.SIZE, t.FACE_SHARE, regions, torch.Generator("cuda").manual_seed(0))
    mix = {"self": 0.25, "cross": 0.08, "man": 0.17, "sb": 0.27, "re": 0.23}
    torch.backends.cudnn.benchmark = True
    for t.PAIRS in sizes:
        trainee = t.Trainee({"name": "A", "init": "imagenet.safetensors", "lr": 1e-4}, data, 1)
        for step in range(30):
            if step == 10:
                torch.cuda.synchronize()
                start, making = time.time(), 0.0
            began = time.time()
            images = t.make_batch(originals, copies, maker, mix, random)
            torch.cuda.synchronize()
            if step >= 10:
                making += time.time() - began
            trainee.learn(images, 0.1)
        torch.cuda.synchronize()
        spent = time.time() - start
        print(
            t.PAIRS,
            "pairs:",
            round(20 * 2 * t.PAIRS / spent),
            "images/s, making",
            round(making / spent, 2),
            flush=True,
        )


if __name__ == "__main__":
    main()
