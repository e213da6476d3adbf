# SPDX-License-Identifier: Apache-2.0
"""Load a model with the classes of this package: safetensors and JSON only; code in the model folder is never run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from ..common.errors import UsageError
from ..common.text import one_line
from ..configuration_deepfake import DeepfakeConfig
from ..hub.checkpoint import ModelLoadError, read_checkpoint, read_choices
from ..hub.packaged import DEFAULT_CHECKPOINT
from ..hub.terms import CARD_NAME, TERMS_NAMES
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..modeling_deepfake import DeepfakeForVideoClassification
from .inference import Dtype, Engine, prepare_for_inference
from .results import DEFAULT_ID, ModelIdentity


LEGACY_EXTENSIONS = {".pt", ".pth", ".bin", ".ckpt", ".tar"}
UNTRAINED_ID = "untrained"
UNTRAINED_SEED = 0


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
    checkpoint = read_checkpoint(folder, name=name)
    prepare(checkpoint.network)
    if folder.resolve() == DEFAULT_CHECKPOINT:
        name = DEFAULT_ID
    elif name in (DEFAULT_ID, UNTRAINED_ID):
        # A local folder that happens to have the name of the packaged checkpoint.
        name = f"./{name}"
    identity = ModelIdentity(id=name, revision=commit, weights_sha256=checkpoint.weights_sha256)
    return LoadedModel(checkpoint.network, checkpoint.processor, identity, folder)


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
            f"{name}: there is no such folder, and the Hub repository could not be downloaded: {one_line(error)}"
        ) from error
    return Path(snapshot), Path(snapshot).name


def _untrained_model() -> LoadedModel:
    config = DeepfakeConfig.from_preset("tiny", image_size=112, num_frames=20)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        network = DeepfakeForVideoClassification(config)
    processor = DeepfakeVideoProcessor.from_config(config)
    return LoadedModel(network.eval(), processor, ModelIdentity(id=UNTRAINED_ID))
