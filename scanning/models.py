# SPDX-License-Identifier: Apache-2.0
"""Load a model with the classes of this package: safetensors and JSON only; code in the model folder is never run."""

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

from ..common.errors import UsageError
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
# What Transformers raises if a value in a JSON file has an unexpected type.
_WRONG_VALUES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


class ModelLoadError(UsageError):
    """A model cannot be loaded; the message names the model, the reason and the solution."""

    reason = "model"


@dataclass(frozen=True)
class LoadedModel:
    """
    A network in evaluation mode with its preprocessing.

    Attributes:
        network: The network.
        processor: Its preprocessing.
        identity: Name and hash of its weights.
        folder: Folder of its files: a local folder, the snapshot of a Hub repository, or the packaged checkpoint.
            `None` for random weights.
    """

    network: DeepfakeForVideoClassification
    processor: DeepfakeVideoProcessor
    identity: ModelIdentity
    folder: Path | None = None

    @property
    def fake_index(self) -> int:
        """Index of the fake logit."""
        return int(self.network.config.label2id["fake"])

    def pixel_values(self, crops: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
        """
        Preprocess one clip and move it to the device of the network.

        Args:
            crops: T frames of shape (h, w, 3), uint8 RGB, already sampled and cropped.

        Returns:
            Tensor of shape (1, T, C, H, W).
        """
        pixels = pixel_values(self.processor, crops)
        if self.network.device.type == "cuda":
            # The next clip can be prepared while this one is transferred.
            return pixels.pin_memory().to(self.network.device, non_blocking=True)
        return pixels.to(self.network.device)


def pixel_values(processor: DeepfakeVideoProcessor, crops: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
    """
    Preprocess one clip.

    Args:
        processor: The preprocessing of a model.
        crops: T frames of shape (h, w, 3), uint8 RGB, already sampled and cropped.

    Returns:
        Tensor of shape (1, T, C, H, W), float32.
    """
    inputs = processor(
        np.asarray(crops),
        do_sample_frames=False,
        do_crop_faces=False,
        input_data_format="channels_last",
        return_tensors="pt",
    )
    pixels: torch.Tensor = inputs["pixel_values_videos"]
    return pixels


def load_model(
    name: str | None,
    *,
    device: str = "cpu",
    revision: str | None = None,
    dtype: Dtype = "float32",
    engine: Engine = "torch",
) -> LoadedModel:
    """
    Load a model folder or Hub repository for inference. The network is optimised and can no longer be saved.

    Args:
        name: Model folder or Hub id; `None` for the packaged checkpoint, or random weights if there is none.
        device: Device of the network.
        revision: Branch, tag or commit of a Hub repository.
        dtype: Precision of the frame encoder, see [`prepare_for_inference`].
        engine: Library that runs the frame encoder; "onnx" is available on the CPU only.

    Raises:
        ModelLoadError: If it cannot be found or downloaded, is not a model of this package, or is damaged.
        UsageError: If the engine is not installed, or does not support the precision or the device.
    """
    if engine == "onnx" and device != "cpu":
        raise UsageError(f"the engine onnx runs on the CPU only, not on {device}; use --engine torch there.")

    def prepare(network: DeepfakeForVideoClassification) -> None:
        prepare_for_inference(network, dtype=dtype, engine=engine)
        network.to(device)

    return _load_stored(name, revision, prepare)


def load_stored_model(model: LoadedModel) -> LoadedModel:
    """
    Load a model again as it is stored, on the CPU, so that it can be saved under another name.

    Args:
        model: The model, optimised for inference.

    Raises:
        ModelLoadError: If its files are missing or have changed.
    """
    stored = _load_stored(None if model.folder is None else str(model.folder), None)
    if stored.identity.weights_sha256 != model.identity.weights_sha256:
        raise ModelLoadError(f"{model.identity.id}: the weights changed since they were loaded.")
    return stored


def load_stored(folder: Path) -> LoadedModel:
    """
    Load the model of a folder as it is stored, on the CPU.

    Args:
        folder: The model folder.

    Raises:
        ModelLoadError: If it is not a model of this package, or is damaged.
    """
    return _load_stored(str(folder), None)


def load_processor(name: str | Path | None) -> DeepfakeVideoProcessor:
    """
    Load the preprocessing of a model without its weights.

    Args:
        name: Model folder or Hub id; `None` for the packaged checkpoint.

    Raises:
        ModelLoadError: If the folder or its JSON files cannot be read.
    """
    name = str(DEFAULT_CHECKPOINT if name is None else name)
    return read_choices(name, _local_folder(name, None)[0])[1]


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
        # A local folder that happens to have the name of the packaged checkpoint.
        name = f"./{name}"
    identity = ModelIdentity(id=name, revision=commit, weights_sha256=digest)
    return LoadedModel(network, processor, identity, folder)


def _local_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    path = Path(name)
    if path.suffix.lower() in LEGACY_EXTENSIONS and (path.is_file() or not path.is_dir()):
        raise ModelLoadError(
            f"{name}: legacy checkpoints cannot be loaded directly; convert it first: "
            f"deepfake-video convert {name} --output FOLDER"
        )
    if path.is_dir():
        return path, None
    if path.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise ModelLoadError(f"{name}: is not a model folder; give a model folder or the id of a Hub repository.")
    try:
        patterns = ["*.json", "*.safetensors", *TERMS_NAMES, CARD_NAME]
        snapshot = snapshot_download(name, revision=revision, allow_patterns=patterns)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelLoadError(
            f"{name}: there is no such folder, and the Hub repository could not be downloaded: {_one_line(error)}"
        ) from error
    return Path(snapshot), Path(snapshot).name


def read_choices(name: str, folder: Path) -> tuple[DeepfakeConfig, DeepfakeVideoProcessor]:
    """
    Read the configuration and the preprocessing of a model folder, but not its weights.

    Args:
        name: Name of the model in error messages.
        folder: Folder of the JSON files.

    Raises:
        ModelLoadError: If a file is missing or invalid.
    """
    config = _read_config(name, folder)
    try:
        return config, DeepfakeVideoProcessor.from_pretrained(folder)
    except (*_WRONG_VALUES, OSError) as error:
        raise ModelLoadError(f"{name}: the file of the video processor is invalid: {_one_line(error)}") from error


def _read_config(name: str, folder: Path) -> DeepfakeConfig:
    file = folder / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelLoadError(f"{name}: config.json in the folder cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{name}: config.json is not JSON.") from error
    if problem := describe_other_model(content):
        raise ModelLoadError(f"{name}: {problem}")
    try:
        config = DeepfakeConfig.from_dict(content)
    except _WRONG_VALUES as error:
        raise ModelLoadError(f"{name}: config.json is invalid: {_one_line(error)}") from error
    if "fake" not in config.label2id:
        raise ModelLoadError(
            f"{name}: the labels {', '.join(config.label2id)} do not include 'fake'; correct id2label."
        )
    return config


def _read_network(name: str, folder: Path, config: DeepfakeConfig) -> tuple[DeepfakeForVideoClassification, str]:
    """The network in evaluation mode with the stored weights, and their hash. No weight is initialised."""
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
        raise ModelLoadError(f"{name}: the weights cannot be loaded: {_one_line(error)}") from error
    for key, tensor in weights.items():
        # Unlike a mask, the minimum and the maximum take no memory.
        if not torch.isfinite(torch.stack(tensor.aminmax())).all():
            raise ModelLoadError(f"{name}: the weights contain NaN or infinity in {key}.")
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
