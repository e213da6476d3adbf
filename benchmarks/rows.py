# SPDX-License-Identifier: Apache-2.0
"""The rows of the table, by group."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from torch import nn

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.face_cropping import FaceCropSettings, find_face_tracks
from deepfake_video.face_detection import MTCNNDetector
from deepfake_video.hub_folder import save_hub_folder
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.inference import prepare_for_inference
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.video_decoding import VideoReader

from . import clips, scripts
from .measuring import Row, Times, compare, interleave
from .peers import READERS, Read, is_installed, openvino_features, read_floor, read_ours


NUM_FRAMES = 20


@dataclass(frozen=True)
class Bench:
    """Where clips and models are kept, how often each way runs, and whether only the short clips are made."""

    folder: Path
    rounds: int
    quick: bool

    def clip(self, name: str, make: Callable[[Path], Any]) -> Path:
        path = self.folder / name
        if not path.exists():
            make(path)
        return path

    def long_clip(self) -> Path:
        return self.clip("720p-10s-30.mp4", lambda path: clips.write_clip(path, keyframe_every=30))

    def face_clip(self) -> Path:
        return self.clip("face.mp4", clips.write_face)

    def model(self, preset: str, **changes: Any) -> tuple[str, DeepfakeForVideoClassification]:
        """A folder with random weights, and the network in it."""
        folder = self.folder / "-".join([preset, *map(str, changes.values())])
        torch.manual_seed(0)
        config = DeepfakeConfig.from_preset(preset, **changes)
        network = DeepfakeForVideoClassification(config).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # not near the identity, as trained ones are not
                nn.init.normal_(module.get_buffer("running_mean"), std=0.2)
                nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2.0)
        # OpenCV's resize does not average; in the row of that script ours does not either.
        antialias = preset != "efficientnet-b0-bilstm"
        save_hub_folder(network, DeepfakeVideoProcessor.from_config(config, antialias=antialias), folder)
        return str(folder), network


def _even(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return np.linspace(0, reader.num_frames - 1, NUM_FRAMES).astype(int)


def _agreement(frames: Any, truth: np.ndarray) -> str:
    if np.shape(frames) != truth.shape:
        return "other shape"
    difference = np.abs(np.asarray(frames).astype(np.int16) - truth)
    return "bit-equal" if not difference.any() else f"mean {difference.mean():.1f}, max {difference.max()} levels"


def decode(bench: Bench) -> Iterator[Row]:
    """20 evenly spaced frames, against other readers and the floor."""
    makers: dict[str, Callable[[Path], Any]] = {
        "720p-10s-30.mp4": lambda path: clips.write_clip(path, keyframe_every=30),
        "720p-10s-250.mp4": lambda path: clips.write_clip(path, keyframe_every=250),
        "720p-60s-30.mp4": lambda path: clips.repeat_clip(path, bench.long_clip(), 6),
        "720p-10s-hevc.mp4": lambda path: clips.write_clip(path, codec="libx265", keyframe_every=60),
        "720p-10s-vp9.webm": lambda path: clips.write_clip(path, codec="libvpx-vp9", keyframe_every=60),
    }
    for name in list(makers)[:1] if bench.quick else makers:
        path = bench.clip(name, makers[name])
        indices = _even(path)
        readers: dict[str, Read] = {"ours": read_ours, "floor": read_floor}
        for peer, (package, reader) in READERS.items():
            try:
                reader(path, indices[:1])
                readers[peer] = reader
            except Exception as error:  # whatever a peer misses, the others are measured
                why = " ".join(str(error).split())[:60] if is_installed(package) else "not installed"
                yield Row("decode", f"{name} ÷ {peer}", exactness=f"{package}: {why}")
        ways: dict[str, Callable[[], Any]] = {key: partial(read, path, indices) for key, read in readers.items()}
        times, answers = interleave(ways, bench.rounds)
        wanted = set(indices.tolist())
        with av.open(str(path)) as container:
            every = enumerate(container.decode(video=0))
            truth = np.stack([frame.to_ndarray(format="rgb24") for i, frame in every if i in wanted])
        ours = _agreement(answers["ours"], truth)
        yield compare("decode", f"{name} ÷ floor", times["ours"], times["floor"], clock="cpu", goal="≤1.10",
                      exactness=f"ours {ours}")  # fmt: skip
        goals = {"torchcodec exact": "≤1.05" if "vp9" in name else "≤.75"}
        for peer in readers.keys() & READERS.keys():
            said = f"ours {ours}; peer {_agreement(answers[peer], truth)}"
            yield compare("decode", f"{name} ÷ {peer}", times["ours"], times[peer], clock="cpu",
                          goal=goals.get(peer, ""), exactness=said)  # fmt: skip
            if peer == "Transformers pyav":
                goal = "≤.2" if "60s" in name else "≤.55" if name.startswith("720p-10s") else ""
                yield compare("decode", f"{name} ÷ {peer}", times["ours"], times[peer], goal=goal, exactness=said)


def memory(bench: Bench) -> Iterator[Row]:
    """Growth of the resident memory at 1080p."""
    path = bench.clip(
        "1080p.mp4", lambda path: clips.write_clip(path, size=(1920, 1080), seconds=4, keyframe_every=30)
    )
    growth = _child("reading", str(path))["bytes"] / 1e6
    yield Row("memory", "growth of the peak while reading 20 frames at 1080p, MB", growth, "≤65", f"{growth:.0f} MB")


def preprocess(bench: Bench) -> Iterator[Row]:
    """20 frames of 720p to the network's input, against PIL."""
    indices = _even(path := bench.long_clip())
    frames = read_ours(path, indices)
    processor = DeepfakeVideoProcessor(size={"height": 112, "width": 112})

    def ours() -> torch.Tensor:
        small = np.stack([processor.resize_frame(frame) for frame in frames])
        options: dict[str, Any] = {"do_sample_frames": False, "input_data_format": "channels_last"}
        pixels: torch.Tensor = processor(small, return_tensors="pt", **options)["pixel_values_videos"]
        return pixels[0]

    def by_pil() -> torch.Tensor:
        pictures = [Image.fromarray(frame).resize((112, 112), Image.Resampling.BILINEAR) for frame in frames]
        return torch.stack([scripts._normalize(np.asarray(picture)) for picture in pictures])

    times, answers = interleave({"ours": ours, "peer": by_pil}, max(bench.rounds, 5))
    levels = ((answers["ours"] - answers["peer"]).abs() * scripts.STD * 255).max().item()
    yield compare("preprocess", "20 frames of 720p to 112 px ÷ PIL", times["ours"], times["peer"], goal="≤.15",
                  exactness=f"at most {levels:.1f} levels apart")  # fmt: skip


def forward(bench: Bench) -> Iterator[Row]:
    """20 frames through the networks, against plain eager torch, onnxruntime and OpenVINO."""
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("resnext50-lstm", {"recurrence": "per-frame"}, "≤.65"),
        ("resnext50-lstm", {}, "≤.80"),
        ("efficientnet-b0-bilstm", {}, "≤.6"),
    ]
    for preset, changes, goal in cases[-1:] if bench.quick else cases:
        _, network = bench.model(preset, **changes)
        name = preset + (", per frame" if changes else "")
        size = network.config.image_size
        pixels = torch.randn(1, NUM_FRAMES, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            yield from _forward_rows(name, network, pixels, goal, bench, stepwise=bool(changes))


def _forward_rows(
    name: str, network: Any, pixels: torch.Tensor, goal: str, bench: Bench, *, stepwise: bool
) -> Iterator[Row]:
    fast, short, by_onnx = (copy.deepcopy(network) for _ in range(3))
    prepare_for_inference(fast)
    prepare_for_inference(short, dtype="bfloat16")
    ways: dict[str, Callable[[], Any]] = {
        "eager": lambda: scripts.plain_forward(network, pixels),
        "ours": lambda: fast(pixels).logits,
        "bfloat16": lambda: short(pixels).logits,
        "Transformers model as loaded": lambda: network(pixels).logits,
    }
    if stepwise:
        ways["eager, frame after frame"] = lambda: scripts.plain_forward(network, pixels, stepwise=True)
    if all(map(is_installed, ("onnx", "onnxscript", "onnxruntime"))):
        prepare_for_inference(by_onnx, engine="onnx")
        ways["onnx"] = lambda: by_onnx(pixels).logits
    else:
        yield Row("forward", f"{name}, engine onnx", exactness="onnxruntime is not installed")
    if is_installed("openvino"):
        with torch.inference_mode(False), torch.no_grad():
            example = pixels[0].clone()
            features = openvino_features(copy.deepcopy(network.deepfake.frame_encoder.backbone), example)
        ways["OpenVINO"] = lambda: network.classify_features(features()[None]).logits
    else:
        yield Row("forward", f"{name}, OpenVINO", exactness="openvino is not installed")
    times, answers = interleave(ways, bench.rounds)

    def agreement(way: str) -> str:
        apart = ((answers[way] - answers["eager"]).abs().max() / answers["eager"].abs().max()).item()
        return f"logits {apart:.0e} apart, relative"

    has_amx = "amx_bf16" in _cpu_flags()
    # The line of the recurrent system was drawn against eager torch that takes one frame after the other.
    yield compare("forward", f"{name} ÷ eager", times["ours"], times["eager"], goal="" if stepwise else goal,
                  exactness=agreement("ours"))  # fmt: skip
    if stepwise:
        peer = "eager, frame after frame"
        yield compare("forward", f"{name} ÷ {peer}", times["ours"], times[peer], goal=goal,
                      exactness=agreement("ours"))  # fmt: skip
    for way in ("Transformers model as loaded", "bfloat16", "onnx", "OpenVINO"):
        if way in times:
            note = agreement(way) + ("; no AMX here" if way == "bfloat16" and not has_amx else "")
            yield compare("forward", f"{name}, {way} ÷ eager", times[way], times["eager"],
                          goal="≤.3" if way == "bfloat16" and has_amx else "", exactness=note)  # fmt: skip


def _cpu_flags() -> str:
    file = Path("/proc/cpuinfo")
    return file.read_text() if file.exists() else ""


def faces(bench: Bench) -> Iterator[Row]:
    """Following faces, against a whole search of each frame."""
    indices, path = _even(bench.face_clip()), bench.face_clip()
    with VideoReader(path) as reader:
        held = dict(reader.frames(indices))  # decoded before: the search alone is timed
        found: dict[str, Any] = {}

        def follow() -> int:
            tracks = find_face_tracks(reader, indices, settings=FaceCropSettings())
            found["ours"] = tracks[0]
            return int(sum((~track.interpolated).sum() for track in tracks))

        def search() -> int:
            detector = MTCNNDetector()
            return sum(face.score >= 0.9 for i in indices for face in detector.detect(held[int(i)][None])[0])

        times, answers = interleave({"ours": follow, "peer": search}, bench.rounds)
    covered = f"faces found: ours {answers['ours']}, peer {answers['peer']}, in {NUM_FRAMES} frames; one drawn face"
    yield compare("faces", "a face followed ÷ MTCNN on each frame, 640x360", times["ours"], times["peer"],
                  goal="≤.4", exactness=covered)  # fmt: skip


def whole(bench: Bench) -> Iterator[Row]:
    """From a file to a score, against three scripts."""
    if not is_installed("cv2"):
        yield Row("whole", "the three scripts", exactness="opencv-python-headless is not installed")
        return
    cases: list[tuple[str, dict[str, Any], Callable[..., float], str, bool]] = [
        ("resnext50-lstm", {"recurrence": "per-frame"}, scripts.read_all_then_judge, "≤.65", False),
        ("efficientnet-b0-bilstm", {}, scripts.seek_then_judge, "≤.45", False),
        ("efficientnet-b0-frames", {}, scripts.face_by_face, "", True),
    ]
    for preset, changes, script, goal, with_faces in cases[1:2] if bench.quick else cases:
        folder, network = bench.model(preset, **changes)
        path = bench.face_clip() if with_faces else bench.long_clip()
        settings = ScanSettings(faces="auto" if with_faces else "none", num_frames=NUM_FRAMES)
        detector = Detector([folder], device="cpu", settings=settings)
        ways: dict[str, Callable[[], Any]] = {
            "ours": lambda detector=detector, path=path: detector.score(path).fake_probability,
            "peer": lambda script=script, path=path, network=network: script(path, network),
        }
        times, answers = interleave(ways, bench.rounds)
        scores = f"scores {answers['ours']:.5f} and {answers['peer']:.5f}"
        note = scores + ("; the crops differ by design" if with_faces else "")
        yield compare("whole", f"{preset} ÷ its script", times["ours"], times["peer"], goal=goal, exactness=note)


def loading(bench: Bench) -> Iterator[Row]:
    """From a folder to a network, after the imports."""
    folder, _ = bench.model("resnext50-lstm", recurrence="per-frame")
    runs = [_child("loading", folder) for _ in range(bench.rounds)]
    seconds, peak = (float(np.median([run[name] for run in runs])) for name in ("seconds", "peak"))
    yield Row("loading", "ResNeXt50 + LSTM after the imports, seconds", seconds, "≤0.3", f"{seconds:.2f} s")
    yield Row("loading", "growth of the peak ÷ the weights", peak, "≤1.3", f"{peak:.2f}")


def folder(bench: Bench) -> Iterator[Row]:
    """Throughput of two processes of one thread, against one."""
    model, _ = bench.model("efficientnet-b0-bilstm")
    names = [str(bench.long_clip())] * (2 if bench.quick else 4)
    single, double = Times(), Times()
    for _ in range(max(1, bench.rounds // 2)):
        single.wall.append(2 * _together(model, [names]))
        double.wall.append(_together(model, [names, names]))
    ratio = float(np.median(single.wall) / np.median(double.wall))
    yield Row("folder", "throughput of 2 processes of 1 thread ÷ 1 process", ratio, "≥1.8",
              f"{2 * len(names) / np.median(double.wall):.2f} videos/s",
              f"{2 * len(names) / np.median(single.wall):.2f} videos/s",
              samples={"one process": single.wall, "two processes": double.wall})  # fmt: skip


def gpu(bench: Bench) -> Iterator[Row]:
    """The networks on a CUDA GPU, where there is one."""
    if not torch.cuda.is_available():
        yield Row("gpu", "frames/s in float32 and bfloat16, in batches", exactness="not measured here: no CUDA")
        return
    for preset in ("resnext50-lstm", "efficientnet-b0-bilstm"):
        _, network = bench.model(preset)
        size = network.config.image_size
        for dtype in ("float32", "bfloat16"):
            fast = copy.deepcopy(network)
            prepare_for_inference(fast, dtype=dtype)  # type: ignore[arg-type]
            fast.to("cuda")
            for num_clips in (1, 8):
                pixels = torch.randn(num_clips, NUM_FRAMES, 3, size, size).pin_memory()

                def run(pixels: torch.Tensor = pixels, fast: Any = fast) -> torch.Tensor:
                    with torch.inference_mode():
                        logits: torch.Tensor = fast(pixels.to("cuda", non_blocking=True)).logits.cpu()
                    return logits

                def by_cpu(pixels: torch.Tensor = pixels, network: Any = network) -> torch.Tensor:
                    return torch.cat([scripts.plain_forward(network, clip[None]) for clip in pixels])

                times, answers = interleave({"ours": run, "peer": by_cpu}, bench.rounds)
                apart = (answers["ours"] - answers["peer"]).abs().max() / answers["peer"].abs().max()
                yield compare("gpu", f"{preset}, {dtype}, {num_clips} clips ÷ eager on the CPU", times["ours"],
                              times["peer"], exactness=f"logits {apart.item():.0e} apart, relative")  # fmt: skip


def _child(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.child", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _together(model: str, shares: list[list[str]]) -> float:
    """Seconds until all processes are done that start scanning at the same moment."""
    command = [sys.executable, "-m", "benchmarks.child", "scanning", model]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([*command, *share], text=True, **pipes) for share in shares]
    for process in processes:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("a scanning process did not start")
    for process in processes:
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    return max(json.loads(process.communicate()[0])["seconds"] for process in processes)


GROUPS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "decode": decode,
    "memory": memory,
    "preprocess": preprocess,
    "forward": forward,
    "faces": faces,
    "whole": whole,
    "loading": loading,
    "folder": folder,
    "gpu": gpu,
}
