# SPDX-License-Identifier: Apache-2.0
"""Load a checkpoint with the package's own classes: safetensors and JSON only, code in the folder is ignored."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import initialization as init

from ..configuration_deepfake import DeepfakeConfig
from ..hub.folder_type import describe_other_model
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForVideoClassification
from ..timm_backbones import fill_computed_buffers
from .inference import Dtype, Engine, prepare_for_inference
from .results import DEFAULT_ID, ModelIdentity
from .terms import CARD_NAME, TERMS_NAMES
from .weights import read_weights, weight_files


DEFAULT_CHECKPOINT = Path(__file__).resolve().parent.parent / "checkpoints" / "default"
LEGACY_EXTENSIONS = {".pt", ".pth", ".bin", ".ckpt", ".tar"}
UNTRAINED_ID = "untrained"
UNTRAINED_SEED = 0
# What Transformers raises where a value in a JSON file is of another kind than it thinks.
_WRONG_VALUES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


class ModelLoadError(ValueError):
    """A checkpoint cannot be used; the sentence names it, the reason and the way out."""

    reason = "model"


@dataclass(frozen=True)
class LoadedModel:
    """
    A network in evaluation mode with its preprocessing.

    Attributes:
        network: The network.
        processor: Its preprocessing.
        identity: Which weights it has.
        folder: Where its files lie: a local folder, the snapshot of a Hub repository, or the packaged checkpoint;
            `None` for random weights.
    """

    network: DeepfakeForVideoClassification
    processor: DeepfakeVideoProcessor
    identity: ModelIdentity
    folder: Path | None = None

    @property
    def fake_index(self) -> int:
        """Which logit means fake."""
        return int(self.network.config.label2id["fake"])

    def pixel_values(self, crops: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
        """Pictures `(h, w, 3)` uint8, cut out and sampled before, as one clip `(1, T, C, H, W)` for the network."""
        inputs = self.processor(
            np.asarray(crops),
            do_sample_frames=False,
            do_crop_faces=False,
            input_data_format="channels_last",
            return_tensors="pt",
        )
        pixels: torch.Tensor = inputs["pixel_values_videos"]
        if self.network.device.type == "cuda":
            # The next clip can be made while this one is on its way.
            return pixels.pin_memory().to(self.network.device, non_blocking=True)
        return pixels.to(self.network.device)


def load_model(
    name: str | None,
    *,
    device: str = "cpu",
    revision: str | None = None,
    dtype: Dtype = "float32",
    engine: Engine = "torch",
) -> LoadedModel:
    """
    Load a folder or Hub repository, made fast: the network computes what the checkpoint does, and cannot be saved.

    Args:
        name: Folder or Hub id; `None` for the packaged checkpoint, or random weights where there is none.
        device: Where the network runs.
        revision: Branch, tag or commit of a Hub repository.
        dtype: Of the frame encoder, see [`prepare_for_inference`].
        engine: What runs the frame encoder; "onnx" only on the CPU.

    Raises:
        ModelLoadError: If it cannot be had, is no checkpoint of this package, or is damaged.
        ValueError: If the engine is not installed, or does not go with the type or the device.
    """
    if engine == "onnx" and device != "cpu":
        raise ValueError(f"the engine onnx runs on the cpu, not on {device}: leave --engine out there.")

    def prepare(network: DeepfakeForVideoClassification) -> None:
        prepare_for_inference(network, dtype=dtype, engine=engine)
        network.to(device)

    return _load_stored(name, revision, prepare)


def load_stored_model(model: LoadedModel) -> LoadedModel:
    """
    The checkpoint of a loaded model with its network as it is stored, on the CPU: for saving it again.

    Raises:
        ModelLoadError: If it is gone or changed.
    """
    stored = _load_stored(None if model.folder is None else str(model.folder), None)
    if stored.identity.weights_sha256 != model.identity.weights_sha256:
        raise ModelLoadError(f"{model.identity.id}: the weights changed meanwhile.")
    return stored


def load_stored(folder: Path) -> LoadedModel:
    """
    The checkpoint of a folder with its network as it is stored, on the CPU.

    Raises:
        ModelLoadError: If it is no checkpoint of this package, or is damaged.
    """
    return _load_stored(str(folder), None)


def _load_stored(
    name: str | None,
    revision: str | None,
    prepare: Callable[[DeepfakeForVideoClassification], None] = lambda network: None,
) -> LoadedModel:
    if name is None:
        if not DEFAULT_CHECKPOINT.is_dir():
            model = _untrained_model()
            prepare(model.network)
            return model
        name = str(DEFAULT_CHECKPOINT)
    folder, commit = _local_folder(name, revision)
    config, processor = read_choices(name, folder)
    network, digest = _read_network(name, folder, config)
    prepare(network)
    if folder.resolve() == DEFAULT_CHECKPOINT:
        name = DEFAULT_ID
    elif name in (DEFAULT_ID, UNTRAINED_ID):
        # A folder of one's own that is called like ours.
        name = f"./{name}"
    identity = ModelIdentity(id=name, revision=commit, weights_sha256=digest)
    return LoadedModel(network, processor, identity, folder)


def _local_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    path = Path(name)
    if path.suffix.lower() in LEGACY_EXTENSIONS and (path.is_file() or not path.is_dir()):
        raise ModelLoadError(
            f"{name}: a legacy checkpoint is not loaded directly; convert it first: "
            f"deepfake-video convert {name} --output FOLDER"
        )
    if path.is_dir():
        return path, None
    if path.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise ModelLoadError(f"{name}: is no folder with a checkpoint; give one, or the id of a Hub repository.")
    try:
        patterns = ["*.json", "*.safetensors", *TERMS_NAMES, CARD_NAME]
        snapshot = snapshot_download(name, revision=revision, allow_patterns=patterns)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelLoadError(
            f"{name}: there is no such folder, and the Hub repository cannot be had, {_one_line(error)}"
        ) from error
    return Path(snapshot), Path(snapshot).name


def read_choices(name: str, folder: Path) -> tuple[DeepfakeConfig, DeepfakeVideoProcessor]:
    """
    What the JSON files of a folder say; the weights are not looked at.

    Args:
        name: Of the model in errors.
        folder: That holds the files.

    Raises:
        ModelLoadError: If one is missing or wrong.
    """
    config = _read_config(name, folder)
    try:
        return config, DeepfakeVideoProcessor.from_pretrained(folder)
    except (*_WRONG_VALUES, OSError) as error:
        raise ModelLoadError(f"{name}: the video processor's file cannot be used, {_one_line(error)}") from error


def _read_config(name: str, folder: Path) -> DeepfakeConfig:
    file = folder / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelLoadError(f"{name}: the folder holds no readable config.json ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{name}: config.json is not JSON.") from error
    if problem := describe_other_model(content):
        raise ModelLoadError(f"{name}: {problem}")
    try:
        config = DeepfakeConfig.from_dict(content)
    except _WRONG_VALUES as error:
        raise ModelLoadError(f"{name}: config.json is wrong, {_one_line(error)}") from error
    if "fake" not in config.label2id:
        raise ModelLoadError(f"{name}: none of the labels {', '.join(config.label2id)} is 'fake'; see id2label.")
    return config


def _read_network(name: str, folder: Path, config: DeepfakeConfig) -> tuple[DeepfakeForVideoClassification, str]:
    """The network in evaluation mode with the weights as they were read, and their hash: nothing is initialised."""
    try:
        files = weight_files(folder)
    except (ValueError, OSError) as error:
        raise ModelLoadError(f"{name}: {_one_line(error)}") from error

    def check(stored: Mapping[str, torch.Tensor]) -> None:
        problems = {
            "missing": expected.keys() - stored.keys(),
            "unexpected": stored.keys() - expected.keys(),
            "mismatched": {key for key in expected.keys() & stored.keys() if expected[key].shape != stored[key].shape},
        }
        for problem, keys in problems.items():
            if keys:
                listed = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
                raise ModelLoadError(f"{name}: the weights do not fit config.json, {problem} keys: {listed}.")

    try:
        with init.no_init_weights(), torch.device("meta"):
            network = DeepfakeForVideoClassification(config).eval()
        expected = network.state_dict()
        weights, digest = read_weights(files, check)
    except ModelLoadError:
        raise
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelLoadError(f"{name}: the weights cannot be loaded, {_one_line(error)}") from error
    for key, tensor in weights.items():
        # The smallest and the largest value tell, and unlike a mask take no memory.
        if not torch.isfinite(torch.stack(tensor.aminmax())).all():
            raise ModelLoadError(f"{name}: the weights hold NaN or infinity in {key}.")
    network.load_state_dict({key: tensor.to(expected[key].dtype) for key, tensor in weights.items()}, assign=True)
    fill_computed_buffers(network)
    return network, digest


def _untrained_model() -> LoadedModel:
    config = DeepfakeConfig.from_preset("tiny", image_size=112, num_frames=20)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        network = DeepfakeForVideoClassification(config)
    processor = DeepfakeVideoProcessor.from_config(config)
    return LoadedModel(network.eval(), processor, ModelIdentity(id=UNTRAINED_ID))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"
