# SPDX-License-Identifier: Apache-2.0
"""The recipe of a training run: every setting except the data, in one JSON file."""

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..common.files import as_paths
from ..common.json_files import read_json
from ..common.text import one_line, printable
from ..configuration_deepfake import DeepfakeConfig
from ..hub.packaged import folder_named
from ..image_processing_deepfake import DeepfakeVideoProcessor
from ..model_presets import PRESET_CHOICES
from .crops import CropSettings, check_settings
from .errors import TrainingError
from .fakes import FAULTY, MANIPULATED, SELF_BLENDED, WITH_REGION, fake_kinds


RECIPES = Path(__file__).parent / "recipes"
IMAGENET = "imagenet"
# Where the pixels of training pairs are computed: by worker processes, or on the device of the network.
PairsOn: TypeAlias = Literal["cpu", "device"]
# Fields that may differ when a training is resumed: its length, and what is done with the result.
CHANGEABLE = {"steps", "validate_every", "patience", "initial_share"}
# Fields of the configuration that a training sets or does not use, with the reason.
_LABELS = "the labels are real and fake, in this order"
_CALIBRATED = "the training calibrates the model"
_NOT_CHOSEN = {
    "id2label": _LABELS,
    "label2id": _LABELS,
    "temperature": _CALIBRATED,
    "fake_bias": _CALIBRATED,
    "is_trained": "the training sets it",
    "class_weights": "the training pairs are balanced",
}
# Settings of the processor that the training follows; all others have the values of its own frames and crops.
_FOLLOWED = ("channel_order", "face_margin", "image_mean", "image_std")
# Errors of Transformers if a value of the network or processor has an unexpected type.
_WRONG_VALUES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
# Not infinity, and no integer that no float can hold. A sum of several of them is finite, too.
_LARGEST = sys.float_info.max / 16
_AT_LEAST_ONE = (
    "clip_frames",
    "cached_frames",
    "burst_length",
    "crop_size",
    "batch_pairs",
    "accumulation",
    "steps",
    "validate_every",
    "patience",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    All settings of a training run except the data.

    Attributes:
        preset: Name of a preset of [`DeepfakeConfig`].
        config: Fields of the configuration that replace those of the preset.
        processor: Settings of [`DeepfakeVideoProcessor`] that replace those of the preset.
        initial: Source of the initial weights: `None` (random), `"imagenet"` (weights that torchvision or timm
            publishes for the backbone; downloaded), the path of a model folder, or `"default"` for the packaged
            checkpoint (the whole network if the shapes agree, otherwise its backbone), or the path of a file with the
            weights of the backbone.
        initial_share: Share of the initial weights in the final weights; the best trained weights make up the rest.
            Equal shares often generalise better to other data than either alone (Wortsman et al., 2022,
            https://arxiv.org/abs/2109.01903).
        trains: `"all"`, or `"head"` to freeze the backbone with its batch statistics and train the remaining layers:
            the second stage of two-stage training, whose first stage is the frame classifier given in `initial`.
        keeps_statistics: Freeze the running statistics of the batch norms while their weights are trained. Useful if
            batches mix still images with video frames, whose statistics differ.
        feature_pairs: Number of pairs whose frame features are computed once and reused in every epoch; requires
            `trains="head"`. 0 draws new pairs in every step.
        feature_jitter: Strength of the augmentation of these features, see [`~training.features.jitter_features`];
            0 disables it.
        fakes: Relative frequency of each kind of fake: "self-blended", "manipulated" (the fakes of the data set) and
            "faulty" (real clips with temporal faults).
        region_weight: Weight of the loss of an auxiliary head, used in training only, that predicts the altered region
            of each frame. 0 trains without it.
        clip_frames: Number of frames per training clip, taken from consecutive cached frames.
        cached_frames: Number of frames cached per video.
        burst_length: Number of consecutive video frames among the cached ones; 1 spaces all of them evenly. With
            bursts, the processor of the model samples such bursts too: as many frames as are cached, unless `config`
            sets another `num_frames`.
        crop_size: Side of the cached crops in pixels.
        crop_margin: Side of the cached crops relative to the face box; larger than the margin of the network, so that
            augmentation can shift and scale the view.
        search_images: Detect the face in images too; otherwise, and where none is found, an image is taken whole, as
            `evaluate` takes it.
        copies: Number of re-encoded copies cached per video.
        copy_share: Fraction of the self-blended and manipulated pairs that is drawn from these copies.
        augment: Augment the clips: framing, mirroring and degradation.
        batch_pairs: Number of pairs (a real and a fake clip) per batch.
        accumulation: Batches per optimiser step.
        steps: Number of optimiser steps.
        learning_rate: Peak learning rate, reached after `warmup_steps` and followed by a cosine decay to 0.
        warmup_steps: Linear warm-up steps.
        weight_decay: Weight decay of AdamW; biases and norms are not decayed.
        label_smoothing: Label smoothing of the cross entropy.
        average_decay: Decay of the exponential moving average of the weights, which is validated and saved.
        validate_every: Steps between two validations.
        patience: Number of validations without improvement after which the training stops early.
        validation_share: Approximate share of the identity groups held out of data sets without a validation split.
        seed: Seed of the initial weights and of every random draw, except for the held-out groups.
        split_seed: Seed of the choice of the held-out identity groups; both stages of two-stage training must use the
            same value.

    Raises:
        TrainingError: If a value is of the wrong type or out of range, or two settings contradict each other.

    Example:

        >>> from deepfake_video.training.recipe import Recipe
        >>> recipe = Recipe.read("frames", steps=500)
        >>> recipe.steps, recipe.fakes
        (500, {'self-blended': 0.5, 'manipulated': 0.5})
    """

    preset: str
    config: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    initial: str | None = None
    initial_share: float = 0.0
    trains: str = "all"
    keeps_statistics: bool = False
    feature_pairs: int = 0
    feature_jitter: float = 0.0
    fakes: dict[str, float] = field(default_factory=lambda: {SELF_BLENDED: 0.5, MANIPULATED: 0.5})
    region_weight: float = 0.0
    clip_frames: int = 1
    cached_frames: int = 32
    burst_length: int = 1
    crop_size: int = 224
    crop_margin: float = 1.6
    search_images: bool = False
    copies: int = 0
    copy_share: float = 0.0
    augment: bool = True
    batch_pairs: int = 16
    accumulation: int = 1
    steps: int = 1000
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    average_decay: float = 0.99
    validate_every: int = 200
    patience: int = 10
    validation_share: float = 0.3
    seed: int = 0
    split_seed: int = 0

    def __post_init__(self) -> None:
        for known in fields(self):
            _check_type(known.name, getattr(self, known.name), known.default)
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        _require(self.clip_frames <= self.cached_frames, "clip_frames must not exceed cached_frames.")
        _require(
            self.cached_frames % self.burst_length == 0,
            f"cached_frames must be a multiple of burst_length, got {self.cached_frames} and {self.burst_length}.",
        )
        self._check_fakes()
        self._check_stage()
        self._check_copies()

    def _check_fakes(self) -> None:
        unknown = sorted(set(self.fakes) - set(fake_kinds()))
        _require(
            not unknown,
            f"unknown kind of fake: {', '.join(map(repr, unknown))}; choose from {', '.join(fake_kinds())}.",
        )
        shares = list(self.fakes.values())
        _require(
            all(_is_number(share) and 0 <= share <= _LARGEST for share in shares) and any(shares),
            "fakes must have at least one positive value and no negative values.",
        )
        _require(
            not self.fakes.get(FAULTY) or self.clip_frames >= 2,
            f'"{FAULTY}" fakes require clip_frames of at least 2: a single frame has no temporal fault.',
        )
        without_region = [kind for kind, share in self.fakes.items() if share and kind not in WITH_REGION]
        _require(
            not self.region_weight or (self.trains == "all" and not without_region),
            f'region_weight requires trains "all", and fakes of the kinds {", ".join(WITH_REGION)} only.',
        )

    def _check_stage(self) -> None:
        _require(self.trains in ("all", "head"), f'trains must be "all" or "head", got {self.trains!r}.')
        _require(
            not self.feature_pairs or self.trains == "head",
            'feature_pairs requires trains "head"; otherwise the features change during the training.',
        )
        _require(
            not self.feature_jitter or self.feature_pairs > 0,
            "feature_jitter requires feature_pairs, whose features it augments.",
        )
        _require(self.initial_share < 1, f"initial_share must be below 1, got {self.initial_share}.")
        _require(
            not self.initial_share or self.initial is not None,
            "initial_share requires initial, because it averages with those weights.",
        )

    def _check_copies(self) -> None:
        _require(
            0 <= self.copy_share <= 1 and bool(self.copies) == bool(self.copy_share),
            "copies and copy_share must be set together; copy_share must be above 0 and at most 1.",
        )
        _require(
            not self.copies or self.clip_frames == 1,
            "copies requires clip_frames 1, because the frames of a copy are not consecutive.",
        )
        _require(
            not self.copies or not self.region_weight,
            "copies cannot be combined with region_weight, because the altered regions of copies are not stored.",
        )

    @classmethod
    def read(cls, name: str | Path, /, **changes: Any) -> "Recipe":
        """
        Read a recipe from a JSON file, or one of the recipes of this package.

        Args:
            name: Path of the file, or name of a recipe of this package, such as "frames".
            changes: Fields that replace those of the file.

        Raises:
            TrainingError: If there is no such recipe, or it is invalid.
        """
        path = Path(*as_paths("recipe", [name]))
        if not path.is_file():
            path = RECIPES / f"{name}.json"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.json")))
            raise TrainingError(f"{name}: no such recipe; give the path of a JSON file, or one of {known}.")
        try:
            values = read_json(path, encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path}: cannot be read as JSON ({error}).") from error
        if not isinstance(values, dict):
            raise TrainingError(f"{path}: a recipe must be a JSON object, got {type(values).__name__}.")
        known_names = [known.name for known in fields(cls)]
        try:
            _check_names("recipe", values, known_names)
            _require("preset" in values, "preset is missing.")
            recipe = cls(**values)
        except TrainingError as error:
            raise TrainingError(f"{path}: {error}") from error
        _check_names("recipe", changes, known_names)
        return cls(**{**recipe.to_dict(), **changes})

    def check_model(self) -> None:
        """
        Check that the network and its processor can be created, before the data are prepared.

        Raises:
            TrainingError: If a field of the network or processor is invalid or contradicts the training, or the
                initial weights do not exist.
        """
        for name in self.config:
            _require(name not in _NOT_CHOSEN, f"config: {name} cannot be set ({_NOT_CHOSEN.get(name)}); remove it.")
        try:
            processor = self.make_processor()
        except _WRONG_VALUES as error:
            raise TrainingError(f"recipe: {one_line(error)}") from error
        # The other fields of a configuration are those of Transformers.
        _check_names("recipe: config", self.config, [*DeepfakeConfig.__annotations__])
        _check_names("recipe: processor", self.processor, [*processor.choices()])
        followed = {name: value for name, value in self.processor.items() if name in _FOLLOWED}
        check_settings("recipe: processor", processor, self._make_processor(followed), [*self.processor])
        _require(
            processor.face_margin <= self.crop_margin,
            f"processor: face_margin must not exceed crop_margin, got {processor.face_margin} and {self.crop_margin}.",
        )
        if self.initial_path is not None and not self.initial_path.exists():
            raise TrainingError(f"recipe: initial: no such file or folder: {self.initial}.")

    def check_pairs_on(self, pairs_on: PairsOn) -> None:
        """
        Check that the pixels of the training pairs can be computed on "cpu" or "device".

        Raises:
            TrainingError: If the recipe does not support it.
        """
        if pairs_on == "device" and self.feature_pairs:
            raise TrainingError(
                'pairs_on "device" cannot be combined with feature_pairs, whose pairs are drawn only once; use "cpu".'
            )

    @property
    def initial_path(self) -> Path | None:
        """Model folder or file of the initial weights; `None` if they are random or published for the backbone."""
        return None if self.initial in (None, IMAGENET) else folder_named(str(self.initial))

    @property
    def num_pairs(self) -> int:
        """Total number of pairs in a training run."""
        return self.steps * self.accumulation * self.batch_pairs

    def make_config(self) -> DeepfakeConfig:
        """
        Create the configuration of the untrained network.

        Raises:
            ValueError: If there is no such preset, or a field is invalid.
        """
        num_frames = {"num_frames": self.cached_frames} if self.burst_length > 1 else {}
        return DeepfakeConfig.from_preset(self.preset, **{**num_frames, **self.config})

    def make_processor(self) -> DeepfakeVideoProcessor:
        """Create the processor that is saved beside the network; it samples frames as training and validation do."""
        return self._make_processor(self.processor)

    def _make_processor(self, changes: Mapping[str, Any]) -> DeepfakeVideoProcessor:
        crops = self.crop_settings().processor()
        sampling = {name: getattr(crops, name) for name in ("frame_sampling", "burst_length")}
        choices = {**PRESET_CHOICES.get(self.preset, {}), **sampling, **changes}
        return DeepfakeVideoProcessor.from_config(self.make_config(), **choices)

    @cached_property
    def view(self) -> tuple[float, int]:
        """Side of the network's view: relative to the cached crop of a face, and in pixels."""
        return self.make_processor().face_margin / self.crop_margin, self.make_config().image_size

    def crop_settings(self) -> CropSettings:
        """Settings of the face crops that are cached for each video."""
        return CropSettings(
            size=self.crop_size,
            margin=self.crop_margin,
            num_frames=self.cached_frames,
            burst_length=self.burst_length,
            search_images=self.search_images,
            copies=self.copies,
        )

    def to_dict(self) -> dict[str, Any]:
        """The recipe as it is stored in JSON."""
        return asdict(self)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise TrainingError(f"recipe: {message}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_type(name: str, value: Any, default: Any) -> None:
    if isinstance(default, bool):
        valid, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        valid, wanted = _is_number(value) and isinstance(value, int) and value >= 0, "a non-negative integer"
    elif isinstance(default, float):
        valid, wanted = _is_number(value) and 0 <= value <= _LARGEST, "a non-negative number"
    elif name in ("config", "processor", "fakes"):
        valid, wanted = isinstance(value, dict), "an object of names and values"
    else:
        valid, wanted = isinstance(value, str) or (name == "initial" and value is None), "a string"
    _require(valid, f"{name} must be {wanted}, got {printable(repr(value), 80)}.")


def _check_names(where: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}."
            raise TrainingError(f"{where}: unknown field {name!r}; {hint}")
