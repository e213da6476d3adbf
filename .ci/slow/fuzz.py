# SPDX-License-Identifier: Apache-2.0
"""
Fuzz what reads files that nobody vouches for, with libFuzzer (`pip install atheris`) and guided by coverage of this
package. Anything but a result or the documented error is a finding, and so are 60 seconds or 2 GB for one input; its
bytes are kept in the folder, which also holds what was learnt for the next run.

    python .ci/slow/fuzz.py {video,checkpoint,configuration} [--minutes 30] [--folder DIR] [--only CLIP...]
"""

import argparse
import json
import logging
import os
import random
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import atheris


os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))
with atheris.instrument_imports(include=["deepfake_video"], enable_loader_override=False):
    from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
    from deepfake_video.conversion.backbones import backbone_shapes, legacy_names
    from deepfake_video.conversion.errors import ConversionError, ConversionOptionError
    from deepfake_video.conversion.inspection import inspect_checkpoint
    from deepfake_video.conversion.plan import ConversionPlan
    from deepfake_video.conversion.recognition import recognise
    from deepfake_video.hub.checkpoint import read_choices
    from deepfake_video.hub.finding import ModelLoadError
    from deepfake_video.hub.folder import save_hub_folder
    from deepfake_video.scanning.models import load_model
    from deepfake_video.video_decoding import VideoError, VideoLimits, VideoReader, select_frames

import numpy as np
import torch

from clips import write_clip


Target = Callable[[bytes], None]
CONTAINERS = {".apng": "apng", ".y4m": "yuv4mpegpipe"}
LIMITS = VideoLimits(max_frame_pixels=4_000_000, max_read_s=10, decode_threads=1)


def fuzz_video(work: Path, seeds: Path, only: Sequence[str] = ()) -> Target:
    """Opens and reads twice: the same error, or the same pictures and ascending times.

    `only` are the names of the clips to start from; all without it.
    """
    kinds: dict[str, dict[str, Any]] = {
        "h264.mp4": {"options": {"preset": "veryfast"}},
        "turned.mp4": {"rotation": 90},
        "hevc.mkv": {"codec": "libx265"},
        "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "8"}},
        "vp9.webm": {"codec": "libvpx-vp9"},
        "h264.ts": {},
        "mpeg4.avi": {"codec": "mpeg4", "max_b_frames": 2},
        "mpeg1.mpg": {"codec": "mpeg1video"},
        "h264.flv": {},
        "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
        "moving.gif": {"codec": "gif", "pix_fmt": "rgb8", "fps": 10},
        "moving.apng": {"codec": "apng", "pix_fmt": "rgb24", "fps": 10},
        "huffyuv.avi": {"codec": "huffyuv", "pix_fmt": "yuv422p"},
        "ffvhuff.avi": {"codec": "ffvhuff"},
        "ffv1.avi": {"codec": "ffv1"},
        "ffv1.mkv": {"codec": "ffv1", "options": {"level": "3", "slicecrc": "1"}},
        "raw.avi": {"codec": "rawvideo", "pix_fmt": "bgr24"},
        "raw.mkv": {"codec": "rawvideo"},
        "v210.mov": {"codec": "v210", "pix_fmt": "yuv422p10le"},
        "utvideo.avi": {"codec": "utvideo"},
        "magicyuv.avi": {"codec": "magicyuv"},
        "jpeg2000.mov": {"codec": "jpeg2000"},
        "pal.dv": {"codec": "dvvideo", "width": 720, "height": 576, "num_frames": 2},
        "raw.y4m": {"codec": "rawvideo"},
        "stream.h264": {"options": {"preset": "veryfast"}},
        "stream.hevc": {"codec": "libx265"},
        "wide.mp4": {"sample_aspect_ratio": Fraction(5, 11)},
        "hlg.mp4": {"codec": "libx265", "pix_fmt": "yuv420p10le", "colorspace": 9, "color_trc": 18},
    }
    for name in only or kinds:
        settings = {"num_frames": 8, "width": 32, "height": 32, "keyframe_every": 4, **kinds[name]}
        write_clip(seeds / name, container=CONTAINERS.get(Path(name).suffix), **settings)
    file = work / "input"

    def read() -> tuple[str, list[np.ndarray]]:
        try:
            with VideoReader(file, limits=LIMITS) as reader:
                if not np.all(np.diff(reader.timestamps_s) >= 0) or not np.isfinite(reader.duration_s):
                    raise RuntimeError(f"times run backwards or are no numbers: {reader.timestamps_s}")
                return "", [frame for _, frame in reader.frames(select_frames(reader.num_frames, 5))]
        except VideoError as error:
            return _sentence(error), []

    def target(data: bytes) -> None:
        file.write_bytes(data)
        (error, frames), (error_again, frames_again) = read(), read()
        same = len(frames) == len(frames_again) and all(map(np.array_equal, frames, frames_again))
        if (error != error_again or not same) and "longer than" not in error + error_again:
            raise RuntimeError(f"two readings differ: {error!r}, {error_again!r}")

    return target


def fuzz_checkpoint(work: Path, seeds: Path) -> Target:
    """Reads and recognises the bytes; then recognises the keys of a real network, damaged by chance."""
    state = {"cnn.weight": torch.arange(12.0).view(3, 4), "cnn.steps": torch.tensor(7), "fc.bias": torch.ones(2)}
    for name, content in {"plain": state, "wrapped": {"state_dict": state, "epoch": 3}}.items():
        torch.save(content, seeds / f"{name}.pt")
        torch.save(content, seeds / f"{name}.tar", _use_new_zipfile_serialization=False)
    header = {key: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for key in state}
    text = json.dumps(header).encode()
    (seeds / "empty.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    shapes = backbone_shapes("efficientnet_b0")
    names = legacy_names("efficientnet_b0", "efficientnet_pytorch")
    known = {names[key]: shape for key, shape in shapes.items()} | {"_fc.weight": (2, 1280), "_fc.bias": (2,)}
    file = work / "input.pt"

    def target(data: bytes) -> None:
        file.write_bytes(data)
        try:
            inspect_checkpoint(ConversionPlan(checkpoint=file))
        except (ConversionError, ConversionOptionError) as error:
            _sentence(error)
        chance = random.Random(data)
        damaged = dict(known)
        for _ in range(chance.randrange(4)):
            key = chance.choice(list(damaged))
            shape = damaged.pop(key)
            size = chance.choice([0, 1, 2, 3, 40, 1280, 2**40])
            damaged[chance.choice([key, data[:40].decode("latin1"), f"lstm.{key}", key.replace(".", "", 1)])] = (
                chance.choice([(), (size,), (size, *shape[1:]), (*shape, size), shape])
            )
        try:
            recognise(damaged, file="x.pt")
        except (ConversionError, ConversionOptionError) as error:
            _sentence(error)

    return target


def fuzz_configuration(work: Path, seeds: Path) -> Target:
    """Reads and uses a folder whose config.json or processor file is the input, as the first byte decides.

    One in 25 is loaded with its weights: that takes thirty times as long, nearly all of it in torchvision and torch.
    """
    config = DeepfakeConfig.from_preset("tiny")
    folder = save_hub_folder(
        DeepfakeForVideoClassification(config), DeepfakeVideoProcessor.from_config(config), work / "model"
    )
    files = [folder / "config.json", folder / "video_preprocessor_config.json"]
    if not files[1].exists():
        files[1] = folder / "processor_config.json"
    originals = [file.read_bytes() for file in files]
    for number, content in enumerate(originals):
        (seeds / f"{number}.json").write_bytes(bytes([number]) + content)

    ORIGINALS[:] = [json.loads(content) for content in originals]
    frames = np.zeros((2, 24, 32, 3), np.uint8)
    written = 0

    def use(config: DeepfakeConfig, processor: DeepfakeVideoProcessor) -> None:
        if DeepfakeConfig.from_dict(json.loads(config.to_json_string())).to_dict() != config.to_dict():
            raise RuntimeError("the configuration does not survive being saved")
        sides = [side for size in (processor.size, processor.crop_size) for side in dict(size or {}).values()]
        if any(side is not None and side > 512 for side in sides):
            return  # allowed, and slow
        processor.frame_indices(10)
        processor.face_settings()
        options = {"do_sample_frames": False, "do_crop_faces": False, "input_data_format": "channels_last"}
        pixels = processor(frames, **options, return_tensors="pt")["pixel_values_videos"]
        if pixels.shape[:3] != (1, 2, 3):
            raise RuntimeError(f"the clip became {tuple(pixels.shape)}")

    def target(data: bytes) -> None:
        nonlocal written
        files[written].write_bytes(originals[written])
        written = data[0] % 2
        files[written].write_bytes(data[1:])
        try:
            if random.Random(data).random() < 0.04:
                load_model(str(folder))
            else:
                config, processor = read_choices("model", folder)
                use(config, processor)
        except ModelLoadError as error:
            _sentence(error)

    def guarded(data: bytes) -> None:
        if data:
            target(data)

    return guarded


ORIGINALS: list[dict[str, Any]] = []
ODD_VALUES = [None, True, 0, 1, -1, 2, 8192, 10**30, 0.5, -0.0, 1e308, "", "1", "torch", "eval", [], [0], [[]], {}]


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes:
    """Most inputs are JSON, with a few values replaced, removed or renamed; the rest are libFuzzer's own."""
    chance = random.Random(seed)
    if chance.random() < 0.2:
        return atheris.Mutate(data, max_size)
    try:
        content = json.loads(data[1:])
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or len(content) < 5:
        number = chance.randrange(len(ORIGINALS))
        data, content = bytes([number]), ORIGINALS[number]
    for _ in range(chance.randint(1, 3)):
        key = chance.choice(list(content))
        values = [*ODD_VALUES, *content.values(), [content[key]] * 3, {key: content[key]}]
        replaced = {chance.choice([key, key, key, f"{key}_", "x"]): chance.choice(values)}
        content = {**{name: value for name, value in content.items() if name != key}, **replaced}
    return (data[:1] + json.dumps(content).encode())[:max_size]


def _sentence(error: ValueError) -> str:
    text = str(error)
    if not text or "\n" in text or len(text) > 2000:
        raise RuntimeError(f"this is no single sentence: {text[:500]!r}")
    return text


TARGETS: dict[str, Callable[..., Target]] = {
    "video": fuzz_video,
    "checkpoint": fuzz_checkpoint,
    "configuration": fuzz_configuration,
}


def main() -> None:
    """Run one target; libFuzzer ends the process, with an exit status other than 0 for a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--folder", type=Path, help="learnt inputs and findings (default: a new folder in /tmp)")
    parser.add_argument("--input", type=Path, help="run one kept input and nothing else")
    parser.add_argument("--only", nargs="*", default=[], help="clips that `video` starts from, such as ffv1.mkv")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix=f"fuzz-{arguments.target}-"))
    work, seeds, learnt = (folder / name for name in ("work", "seeds", "learnt"))
    for part in (work, seeds, learnt):
        part.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What a warning says of each input would fill the terminal.
    logging.disable()
    only = {"only": arguments.only} if arguments.target == "video" else {}
    target = TARGETS[arguments.target](work, seeds, **only)
    if arguments.input:
        target(arguments.input.read_bytes())
        return
    # A frame of DV alone has 144,000 bytes.
    max_len = max(65536, *(2 * seed.stat().st_size for seed in seeds.iterdir()))
    options = [
        *(f"-max_total_time={round(60 * arguments.minutes)}", "-timeout=60", "-rss_limit_mb=2048"),
        *(f"-max_len={max_len}", "-print_final_stats=1", f"-artifact_prefix={folder}/finding-"),
    ]
    mutator = {"custom_mutator": mutate_json} if arguments.target == "configuration" else {}
    atheris.Setup([sys.argv[0], *options, str(learnt), str(seeds)], target, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
