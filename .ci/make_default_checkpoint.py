# SPDX-License-Identifier: Apache-2.0
"""Make `checkpoints/default` of a trained model folder: `make_default_checkpoint.py RUN/model`.

Weights, JSON and graphs only: the convolutions in half precision, what is one-dimensional (batch norms, biases) as it
is. The card, the licence, and the three modules that import the package's classes are written by hand and stay.
Without an argument only the graphs are written anew, as every change of the JSON files, of the network's code or of
the format of the graphs asks for.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from deepfake_video.scanning.graph_export import write_graphs
from deepfake_video.scanning.graphs import GRAPHS_FOLDER


target = Path(__file__).resolve().parent.parent / "checkpoints" / "default"
if len(sys.argv) > 1:
    source = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)

    weights = load_file(source / "model.safetensors")
    halved = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in weights.items()}
    if not all(torch.isfinite(tensor).all() for tensor in halved.values()):
        sys.exit("a weight is too large for half precision")
    save_file(halved, target / "model.safetensors", metadata={"format": "pt"})

    for name in ("config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        values = json.loads((source / name).read_text(encoding="utf-8"))
        (target / name).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name in ("training.json", "known_videos.json"):
        shutil.copyfile(source / name, target / name)
write_graphs(target, target / GRAPHS_FOLDER)
for file in (target / "model.safetensors", *sorted((target / GRAPHS_FOLDER).iterdir())):
    print(f"{file}: {file.stat().st_size / 2**20:.2f} MiB")
