# SPDX-License-Identifier: Apache-2.0
"""
The computation of a checkpoint as ONNX graphs beside it, and what ties them to its files.

A folder `onnx` holds two graphs without weights, which are read from the checkpoint itself: `frame_encoder.onnx`, from
frames `(N, C, H, W)` to features `(N, D)`, and `head.onnx`, from the features of clips `(B, T, D)` to calibrated
`logits` `(B, L)` and `frame_logits` `(B, T, L)`. Its `scoring.json` says what torch and Transformers made of the
configuration and the processor of the checkpoint when the graphs were written, and holds the SHA-256 of every file
that this rests on. Where each hash still fits, all that was checked then holds now, and neither library is needed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UsageError
from .results import FrameRule


GRAPHS_FOLDER = "onnx"
MANIFEST_NAME = "scoring.json"
ENCODER_NAME, HEAD_NAME = "frame_encoder.onnx", "head.onnx"
WEIGHTS_NAME = "model.safetensors"
# The files of a checkpoint that decide about a score.
SOURCE_NAMES = ("config.json", "video_preprocessor_config.json", WEIGHTS_NAME)
# Raised with every change of what the graphs compute or `scoring.json` holds.
GRAPHS_VERSION = 1


class GraphsError(UsageError):
    """A checkpoint has no graphs, or they do not belong to it; the sentence names the folder and the reason."""

    reason = "graphs"


@dataclass(frozen=True, kw_only=True)
class ScoringDescription:
    """
    What scoring needs to know of a checkpoint beside its weights.

    Attributes:
        labels: Their names in the order of the logits.
        num_features: Width of the features of one frame.
        image_size: Height and width of the frames that the checkpoint was made for, in pixels.
        is_trained: Whether scores mean anything.
        frame_aggregation: How frames become one answer, see [`DeepfakeConfig`].
        temperature: Calibrated temperature.
        fake_bias: Calibrated bias of the fake logit.
        configuration: `DeepfakeConfig.to_diff_dict()`, for the description of a run.
        preprocessing: Every choice of the processor by its name.
    """

    labels: Sequence[str]
    num_features: int
    image_size: int
    is_trained: bool
    frame_aggregation: str
    temperature: float
    fake_bias: float
    configuration: Mapping[str, Any]
    preprocessing: Mapping[str, Any]

    @property
    def fake_index(self) -> int:
        """Which logit means fake."""
        return list(self.labels).index("fake")

    @property
    def frame_rule(self) -> FrameRule:
        """How the score of a clip follows from its frames."""
        # Of more than two labels, the frames' fake probabilities alone are not enough.
        follows = self.frame_aggregation != "features" and len(self.labels) == 2
        return FrameRule(
            aggregation=self.frame_aggregation if follows else None,  # type: ignore[arg-type]
            temperature=float(self.temperature),
            fake_bias=float(self.fake_bias),
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """
    Content of `scoring.json`.

    Attributes:
        description: What scoring needs to know of the checkpoint.
        weights: By the name of each graph the keys of the weights that it reads.
        sha256: By the name of each file of the checkpoint and each graph the hash of its content.
    """

    description: ScoringDescription
    weights: Mapping[str, Sequence[str]]
    sha256: Mapping[str, str]

    def to_json(self) -> str:
        """The text of the file."""
        content = {"graphs_version": GRAPHS_VERSION, **asdict(self)}
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """
    What a folder of graphs says, before anything is compared.

    Args:
        folder: The folder `onnx`.

    Raises:
        GraphsError: If there is none, it is damaged, or of another version.
    """
    try:
        content = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        if (found := content.pop("graphs_version")) != GRAPHS_VERSION:
            raise GraphsError(f"{folder}: the graphs are of version {found}, and {GRAPHS_VERSION} is read here.")
        return Manifest(**{**content, "description": ScoringDescription(**content["description"])})
    except OSError as error:
        raise GraphsError(f"{folder}: there is no readable {MANIFEST_NAME} ({error.strerror}).") from error
    except (LookupError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise GraphsError(f"{folder}: {MANIFEST_NAME} is damaged.") from error


def read_sources(checkpoint: Path, graphs: Path, manifest: Manifest) -> dict[str, bytes]:
    """
    The content of every file that a score rests on, each read once and compared with its hash.

    Args:
        checkpoint: The folder of the checkpoint.
        graphs: The folder of the graphs.
        manifest: Of the graphs.

    Raises:
        GraphsError: If a file is missing or another than the one that the graphs were made of.
    """
    contents = {}
    for folder, names in ((checkpoint, SOURCE_NAMES), (graphs, (ENCODER_NAME, HEAD_NAME))):
        for name in names:
            try:
                contents[name] = (folder / name).read_bytes()
            except OSError as error:
                raise GraphsError(f"{folder}: {name} cannot be read ({error.strerror}).") from error
            if hashlib.sha256(contents[name]).hexdigest() != manifest.sha256.get(name):
                raise GraphsError(f"{folder}: {name} is not the one that {graphs / MANIFEST_NAME} was made of.")
    return contents


__all__ = ["GraphsError", "Manifest", "ScoringDescription", "read_manifest", "read_sources"]
