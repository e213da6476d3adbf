# SPDX-License-Identifier: Apache-2.0
"""Rows of the networks: the forward pass on a CPU, and how they come into memory."""

import copy
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_video import DeepfakeVideoProcessor
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.scanning.graph_export import write_graphs
from deepfake_video.scanning.inference import prepare_for_inference
from deepfake_video.scanning.onnx_model import OnnxModel, load_onnx_model
from deepfake_video.scanning.results import ModelIdentity

from .bench import NUM_FRAMES, Bench, run_child
from .measuring import Row, compare, interleave
from .peers import is_installed, openvino_features
from .scripts import plain_forward


# Goals in float32, with and without a recurrence of one step a frame.
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("resnext50-lstm", {"recurrence": "per-frame"}, "≤.65"),
    ("resnext50-lstm", {}, "≤.80"),
    ("efficientnet-b0-bilstm", {}, "≤.6"),
]
ENGINES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "OpenVINO": ("openvino",)}


def forward(bench: Bench) -> Iterator[Row]:
    """20 frames through the networks, against plain eager torch, onnxruntime and OpenVINO."""
    for preset, changes, goal in CASES[-1:] if bench.quick else CASES:
        _, network = bench.model(preset, **changes)
        by_onnx = _with_onnx(bench, network) if all(map(is_installed, ENGINES["onnx"])) else None
        with torch.inference_mode():
            yield from _forward_rows(preset, network, by_onnx, goal, bench.rounds)


def _with_onnx(bench: Bench, network: Any) -> OnnxModel:
    """The network with graphs, which are not for the user's cache: its weights are random."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        save_hub_folder(network, DeepfakeVideoProcessor.from_config(network.config), folder / "model")
        write_graphs(folder / "model", folder / "graphs")
        options: dict[str, Any] = {"graphs": folder / "graphs", "threads": torch.get_num_threads()}
        return load_onnx_model(folder / "model", ModelIdentity(id="random weights"), **options)


def _forward_rows(preset: str, network: Any, by_onnx: OnnxModel | None, goal: str, rounds: int) -> Iterator[Row]:
    is_stepwise = network.config.recurrence == "per-frame"
    name = preset + (", per frame" if is_stepwise else "")
    pixels = random_pixels(network)
    fast, short = copy.deepcopy(network), copy.deepcopy(network)
    prepare_for_inference(fast)
    prepare_for_inference(short, dtype="bfloat16")
    ways: dict[str, Callable[[], Any]] = {
        "eager": partial(plain_forward, network, pixels),
        "ours": lambda: fast(pixels).logits,
        "bfloat16": lambda: short(pixels).logits,
        "Transformers model as loaded": lambda: network(pixels).logits,
    }
    if is_stepwise:
        ways["eager, frame after frame"] = partial(plain_forward, network, pixels, stepwise=True)
    if by_onnx is not None:
        array = pixels.numpy()
        ways["onnx"] = lambda: torch.from_numpy(by_onnx.compute_logits(array).logits)
    if all(map(is_installed, ENGINES["OpenVINO"])):
        with torch.inference_mode(False), torch.no_grad():
            backbone = copy.deepcopy(network.deepfake.frame_encoder.backbone)
            features = openvino_features(backbone, pixels[0].clone())
        ways["OpenVINO"] = lambda: network.classify_features(features()[None]).logits
    times, answers = interleave(ways, rounds)

    def row(way: str, peer: str = "eager", *, goal: str = "", note: str = "") -> Row:
        what = f"{name}{'' if way == 'ours' else f', {way}'} ÷ {peer}"
        apart = relative_difference(answers[way], answers[peer])
        return compare("forward", what, times[way], times[peer], goal=goal, exactness=f"{apart}{note}")

    # The line of the legacy system was drawn against a recurrence that takes one frame after the other.
    yield row("ours", goal="" if is_stepwise else goal)
    if is_stepwise:
        yield row("ours", "eager, frame after frame", goal=goal)
    has_amx = "amx_bf16" in _cpu_flags()
    yield row("bfloat16", goal="≤.3" if has_amx else "", note="" if has_amx else "; no goal: this CPU has no AMX")
    yield row("Transformers model as loaded")
    for engine, packages in ENGINES.items():
        if engine in ways:
            yield row(engine)
        else:
            why = ", ".join(package for package in packages if not is_installed(package))
            yield Row("forward", f"{name}, {engine} ÷ eager", exactness=f"not measured: {why} not installed")


def random_pixels(network: Any, num_clips: int = 1) -> torch.Tensor:
    size = network.config.image_size
    return torch.randn(num_clips, NUM_FRAMES, 3, size, size, generator=torch.Generator().manual_seed(0))


def relative_difference(logits: torch.Tensor, plain: torch.Tensor) -> str:
    return f"logits {((logits - plain).abs().max() / plain.abs().max()).item():.0e} apart, relative"


def _cpu_flags() -> str:
    file = Path("/proc/cpuinfo")
    return file.read_text() if file.exists() else ""


def loading(bench: Bench) -> Iterator[Row]:
    """From a folder to a network, after the imports; beside Transformers' own way, which hashes and checks nothing."""
    folder, _ = bench.model("resnext50-lstm", recurrence="per-frame")
    # In turns, each in a process of its own.
    pairs = [(run_child("loading", folder), run_child("loading_plain", folder)) for _ in range(bench.rounds)]

    def median(which: int, name: str) -> float:
        return float(np.median([pair[which][name] for pair in pairs]))

    yield Row("loading", "ResNeXt50 + LSTM after the imports, seconds", median(0, "seconds"), "≤0.3",
              f"{median(0, 'seconds'):.2f} s ({median(0, 'cpu'):.2f} s CPU)",
              f"{median(1, 'seconds'):.2f} s ({median(1, 'cpu'):.2f} s CPU)", "peer: from_pretrained")  # fmt: skip
    yield Row("loading", "growth of the peak ÷ the weights", median(0, "peak"), "≤1.3",
              f"{median(0, 'peak'):.2f}", f"{median(1, 'peak'):.2f}", "peer: from_pretrained")  # fmt: skip
