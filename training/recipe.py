# SPDX-License-Identifier: Apache-2.0
"""A recipe: every choice of a training but the data, in one JSON file."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ..configuration_deepfake import DeepfakeConfig
from ..image_processing_deepfake import PRESET_CHOICES, DeepfakeVideoProcessor
from .crops import CropSettings


RECIPES = Path(__file__).parent / "recipes"
IMAGENET = "imagenet"
SELF_BLENDED, MANIPULATED, FAULTY = "self-blended", "manipulated", "faulty"
PERMUTED, STALLED = "permuted", "stalled"
# A training that goes on may become longer or shorter, and what is kept of it is decided at the end.
CHANGEABLE = {"steps", "validate_every", "patience", "initial_share"}
FAKES = (SELF_BLENDED, MANIPULATED, FAULTY, PERMUTED, STALLED)
# Fakes with a place: something was put into a real picture there, or, of manipulated ones, usually is.
WITH_REGION = (SELF_BLENDED, MANIPULATED)


class TrainingError(ValueError):
    """A training cannot be done as asked; the sentence says why and what to do."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_names(where: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its fields are {', '.join(known)}."
            raise TrainingError(f"{where}: there is no such field as {name!r}; {hint}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    What is trained, and how.

    Attributes:
        preset: A preset of [`DeepfakeConfig`].
        config: Fields of the configuration in place of the preset's.
        processor: Choices of [`DeepfakeVideoProcessor`] in place of its own.
        initial: Where the weights come from: `null` (random), `"imagenet"` (those that torchvision or timm publishes
            for the backbone, downloaded), the path of a model folder (all of a network of the same shape, else its
            backbone), or of a file with the weights of the backbone.
        initial_share: Of the initial weights in those that are kept; the rest is of the best trained ones. Half and
            half often holds up better on other data than either (Wortsman et al., 2022).
        trains: `"all"`, or `"head"` to keep the backbone as it is, batch statistics too, and train the rest: the
            second stage of the two-stage way, whose first is a frame classifier named by `initial`.
        keeps_statistics: Whether the statistics of the batch norms stay as they are while their weights are trained.
            Batches that mix still pictures with frames of video give those of neither.
        feature_pairs: With `trains="head"`: so many pairs are drawn, their features computed once, and trained on
            again and again; 0 draws each anew.
        feature_jitter: With those: how far the features of both clips of a pair are moved along the difference to
            another clip, and how much they swing about their mean; 0 leaves them as they are.
        fakes: How often each kind of fake is drawn: self-blended, manipulated (the fakes of the data), faulty (real
            clips with temporal faults), permuted (real clips in another order), stalled (real clips of which at least
            half stands still or goes missing).
        region_weight: Of the loss of a second head, for training only, that says where in a frame something was put.
        clip_frames: Frames of a training clip, from consecutive cached ones.
        cached_frames: Frames of each video that are cached.
        burst_length: Consecutive frames of the video among them; 1 spreads them evenly.
        crop_size: Side of the cached crops in pixels.
        crop_margin: Their side over the face's; beyond the network's own there is room to move and to grow.
        search_images: Whether the face is searched in face images too.
        copies: Re-encoded copies that are cached of each video.
        copy_share: Share of the pairs that is drawn from these copies, of the kinds "self-blended" and "manipulated".
        augment: Whether clips are moved, mirrored and degraded.
        batch_pairs: Pairs of a real and a fake clip in a batch.
        accumulation: Batches a step of the optimiser.
        steps: Steps of the optimiser.
        learning_rate: Its peak; it rises over `warmup_steps` and falls as a cosine to nothing.
        warmup_steps: See there.
        weight_decay: Of AdamW.
        label_smoothing: Of the cross entropy.
        average_decay: Of the moving average of the weights, which is what is validated and kept.
        validate_every: Steps between validations.
        patience: Validations without a better one after which it stops.
        validation_share: Of the identity groups, where the data have no split of their own.
        seed: Of everything that is drawn, but
        split_seed: Of which identities are held out: trainings that go on from one another must share it.
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
    search_images: bool = True
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
            self._check_type(known.name, getattr(self, known.name), known.default)
        for name in (
            "clip_frames",
            "cached_frames",
            "burst_length",
            "crop_size",
            "batch_pairs",
            "accumulation",
            "steps",
        ):
            if getattr(self, name) < 1:
                raise TrainingError(f"recipe: {name} must be at least 1, got {getattr(self, name)}.")
        if self.validate_every < 1 or self.patience < 1:
            raise TrainingError("recipe: validate_every and patience must be at least 1.")
        if unknown := sorted(set(self.fakes) - set(FAKES)):
            raise TrainingError(f"recipe: there are no fakes {unknown[0]!r}; choose from {', '.join(FAKES)}.")
        shares = list(self.fakes.values())
        if not all(_is_number(share) and share >= 0 for share in shares) or not any(shares):
            raise TrainingError("recipe: fakes must hold a share above 0, and none below.")
        unlocated = sorted(kind for kind, share in self.fakes.items() if share and kind not in WITH_REGION)
        if self.region_weight and (unlocated or self.trains == "head"):
            raise TrainingError(
                'recipe: region_weight goes with trains "all" and with fakes that have a place: '
                f"{', '.join(WITH_REGION)}."
            )
        if self.trains not in ("all", "head"):
            raise TrainingError(f'recipe: trains must be "all" or "head", got {self.trains!r}.')
        if self.feature_pairs and self.trains != "head":
            raise TrainingError(
                'recipe: feature_pairs goes with trains "head"; else the features change as it trains.'
            )
        if self.feature_jitter and not self.feature_pairs:
            raise TrainingError("recipe: feature_jitter goes with feature_pairs, whose features it moves.")
        if self.initial_share >= 1:
            raise TrainingError(f"recipe: initial_share must be below 1, got {self.initial_share}.")
        if self.initial_share and self.initial is None:
            raise TrainingError("recipe: initial_share goes with initial, whose weights it keeps a share of.")
        if not 0 <= self.copy_share <= 1 or bool(self.copies) != bool(self.copy_share):
            raise TrainingError(
                "recipe: copies goes with a copy_share above 0 and at most 1, and the other way round."
            )
        if self.copies and self.clip_frames > 1:
            raise TrainingError("recipe: copies goes with clip_frames 1; their frames do not follow one another.")
        if self.copies and self.region_weight:
            raise TrainingError("recipe: copies does not go with region_weight; their regions are not kept.")
        if self.clip_frames > self.cached_frames:
            raise TrainingError("recipe: clip_frames cannot be more than cached_frames.")

    def _check_type(self, name: str, value: Any, default: Any) -> None:
        if isinstance(default, bool):
            wanted = "" if isinstance(value, bool) else "true or false"
        elif isinstance(default, int):
            wanted = "" if _is_number(value) and isinstance(value, int) and value >= 0 else "a whole number from 0 on"
        elif isinstance(default, float):
            wanted = "" if _is_number(value) and 0 <= value < math.inf else "a number from 0 on"
        elif name in ("config", "processor", "fakes"):
            wanted = "" if isinstance(value, dict) else "names and values in braces"
        else:
            wanted = "" if isinstance(value, str) or (name == "initial" and value is None) else "a word"
        if wanted:
            raise TrainingError(f"recipe: {name} must be {wanted}, got {value!r}.")

    @classmethod
    def read(cls, name: str | Path) -> "Recipe":
        """
        A recipe by its file, or by its name among those that come with the package.

        Raises:
            TrainingError: If there is none, or it is damaged.
        """
        path = Path(name)
        if not path.is_file():
            path = RECIPES / f"{name}.json"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.json")))
            raise TrainingError(f"{name}: there is no such recipe, neither as a file nor here: {known}.")
        try:
            values = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path}: cannot be read as JSON ({error}).") from error
        if not isinstance(values, dict):
            raise TrainingError(f"{path}: a recipe must be a JSON object, got {type(values).__name__}.")
        try:
            if "preset" not in values:
                raise TrainingError("recipe: preset is missing.")
            return cls(**cls.check_names(values))
        except TrainingError as error:
            raise TrainingError(f"{path}: {error}") from error

    @classmethod
    def check_names(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        The same values.

        Raises:
            TrainingError: If a recipe has no field of one of these names.
        """
        known = [known.name for known in fields(cls)]
        _check_names("recipe", values, known)
        return values

    def check_model(self) -> None:
        """
        Find out before the data are prepared whether the network and its processor can be made.

        Raises:
            ValueError: If the backbone or another choice is unknown, or the initial weights are not found.
        """
        try:
            config, processor = self.make_config(), self.make_processor()
        except (ValueError, TypeError) as error:
            raise TrainingError(f"recipe: {' '.join(str(error).split())}") from error
        _check_names("recipe: config", self.config, [known.name for known in fields(config)])
        _check_names("recipe: processor", self.processor, list(processor.choices()))
        if self.initial not in (None, IMAGENET) and not Path(str(self.initial)).exists():
            raise TrainingError(f"recipe: initial: there is no such folder or file as {self.initial}.")

    @property
    def num_pairs(self) -> int:
        """All that are trained on, those that come again counted again."""
        return self.steps * self.accumulation * self.batch_pairs

    def make_config(self) -> DeepfakeConfig:
        """
        The configuration of the network, not trained yet.

        Raises:
            ValueError: If there is no such preset, or a field is wrong.
        """
        return DeepfakeConfig.from_preset(self.preset, **self.config)

    def make_processor(self) -> DeepfakeVideoProcessor:
        """The processor that is stored beside the network."""
        choices = {**PRESET_CHOICES.get(self.preset, {}), **self.processor}
        return DeepfakeVideoProcessor.from_config(self.make_config(), **choices)

    @cached_property
    def view(self) -> tuple[float, int]:
        """Side of what the network sees: over the side of a cached crop, and in pixels."""
        return self.make_processor().face_margin / self.crop_margin, self.make_config().image_size

    def crop_settings(self) -> CropSettings:
        """What is cut out of each video."""
        return CropSettings(
            size=self.crop_size,
            margin=self.crop_margin,
            num_frames=self.cached_frames,
            burst_length=self.burst_length,
            search_images=self.search_images,
            copies=self.copies,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)
