# SPDX-License-Identifier: Apache-2.0
"""Row of the packaged checkpoint's frame encoder in int8: its speed, and its AUC on labelled videos, or nothing."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.numpy

from deepfake_video import default_checkpoint
from deepfake_video.common.logistic import sigmoid
from deepfake_video.hub.model_files import WEIGHTS_NAME
from deepfake_video.scanning.clip_reading import read_video
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.framewise import fake_margin
from deepfake_video.scanning.graphs import ENCODER_NAME, GRAPHS_FOLDER
from deepfake_video.scanning.onnx_model import OnnxModel, open_session
from deepfake_video.video_errors import VideoError

from .bench import Bench
from .measuring import Row, compare, interleave
from .peers import is_installed


# Every so many videos, one serves to choose the ranges of the activations, and not for the AUC.
CALIBRATION_EVERY, CALIBRATION_FRAMES = 8, 2
# A video has as many tasks of one frame encoder as faces; the main face is judged.
WHAT = "frame encoder of the packaged checkpoint, int8 ÷ float32, 20 frames"


def int8(bench: Bench) -> Iterator[Row]:
    """Static quantisation by onnxruntime, beside float32; without labelled videos there is no row with a figure."""
    missing = [name for name in ("onnx", "onnxruntime", "sklearn") if not is_installed(name)]
    if bench.labelled is None or missing:
        why = f"{', '.join(missing)} not installed" if missing else "its AUC needs --labelled FOLDER (real/, fake/)"
        yield Row("int8", WHAT, exactness=f"not measured: {why}")
        return
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

    detector = Detector([], device="cpu")
    model = detector.models[0]
    if not isinstance(model, OnnxModel):
        yield Row("int8", WHAT, exactness="not measured: the packaged checkpoint has no graphs")
        return
    clips, labels = _read_clips(bench.labelled, detector)
    calibration = [clip for number, clip in enumerate(clips) if number % CALIBRATION_EVERY == 0]
    judged = [number for number in range(len(clips)) if number % CALIBRATION_EVERY]
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        plain, quantized = _quantize(Path(name), calibration)
    models = {
        way: OnnxModel(model.description, open_session(graph, {}), model._head, model.identity, model.folder)
        for way, graph in (("float32", plain), ("int8", quantized))
    }
    first = clips[judged[0]][None]
    times, _ = interleave({way: partial(each.frame_features, first) for way, each in models.items()}, bench.rounds)
    scores = {way: np.array([_score(each, clips[i]) for i in judged]) for way, each in models.items()}
    truth = [labels[i] for i in judged]
    auc = {way: float(roc_auc_score(truth, values)) for way, values in scores.items()}
    apart = np.abs(scores["int8"] - scores["float32"])
    said = (
        f"AUC {auc['int8']:.3f} and {auc['float32']:.3f} on {len(truth)} videos, {sum(truth)} of them fake; "
        f"probabilities {apart.mean():.3f} apart on average, {apart.max():.3f} at most"
    )
    yield compare("int8", WHAT, times["int8"], times["float32"], clock="cpu", exactness=said)


def _read_clips(folder: Path, detector: Detector) -> tuple[list[np.ndarray], list[int]]:
    """The main face of each video of `real/` and `fake/` as (T, 3, H, W) float32, and 1 where it is fake."""
    clips, labels = [], []
    for label, name in enumerate(("real", "fake")):
        for path in sorted(path for path in (folder / name).iterdir() if path.is_file()):
            try:
                video = read_video(path, detector.processors, detector.settings)
            except VideoError:
                continue
            clips.append(detector.models[0].pixel_values(video.clips[0][0].frames)[0])
            labels.append(label)
    return clips, labels


def _quantize(folder: Path, calibration: list[np.ndarray]) -> tuple[bytes, bytes]:
    """The frame encoder with its weights in one file, and the same in int8."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static  # type: ignore[import-untyped]
    from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

    checkpoint = default_checkpoint()
    weights = safetensors.numpy.load_file(checkpoint / WEIGHTS_NAME)
    graph = onnx.load(str(checkpoint / GRAPHS_FOLDER / ENCODER_NAME), load_external_data=False)
    for tensor in graph.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            value = weights[tensor.name]
            value = value.astype(np.float32) if value.dtype.kind == "f" else value
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    plain, prepared, quantized = (folder / f"{name}.onnx" for name in ("plain", "prepared", "int8"))
    onnx.save(graph, str(plain))
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    # Products of unsigned activations and signed weights are those that processors have instructions for.
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(prepared), str(quantized), _Calibration(calibration), per_channel=True, **types)
    return plain.read_bytes(), quantized.read_bytes()


class _Calibration:
    """Frames of some clips, one after the other, as onnxruntime asks for them."""

    def __init__(self, clips: list[np.ndarray]) -> None:
        picked = [
            clip[len(clip) * number // CALIBRATION_FRAMES] for clip in clips for number in range(CALIBRATION_FRAMES)
        ]
        self._frames = iter([{"frames": frame[None]} for frame in picked])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._frames, None)


def _score(model: OnnxModel, frames: np.ndarray) -> float:
    logits = model.compute_logits(frames[None]).logits
    return float(sigmoid(fake_margin(logits, model.fake_index))[0])
