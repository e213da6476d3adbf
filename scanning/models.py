# SPDX-License-Identifier: Apache-2.0
"""Load a checkpoint with the package's own classes: safetensors and JSON only, code in the folder is ignored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from ..common.text import one_line
from ..configuration_deepfake import DeepfakeConfig
from ..hub.checkpoint import ModelLoadError, read_checkpoint
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
        # A folder of one's own that is called like ours.
        name = f"./{name}"
    identity = ModelIdentity(id=name, revision=commit, weights_sha256=checkpoint.weights_sha256)
    return LoadedModel(checkpoint.network, checkpoint.processor, identity, folder)


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
            f"{name}: there is no such folder, and the Hub repository cannot be had, {one_line(error)}"
        ) from error
    return Path(snapshot), Path(snapshot).name


def _untrained_model() -> LoadedModel:
    config = DeepfakeConfig.from_preset("tiny", image_size=112, num_frames=20)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        network = DeepfakeForVideoClassification(config)
    processor = DeepfakeVideoProcessor.from_config(config)
    return LoadedModel(network.eval(), processor, ModelIdentity(id=UNTRAINED_ID))
