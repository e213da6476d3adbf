# SPDX-License-Identifier: Apache-2.0
"""
ONNX graphs of a checkpoint, and the manifest that ties them to its files.

The folder `onnx` contains two graphs without weights, which are read from the checkpoint itself: `frame_encoder.onnx`,
from frames `(N, C, H, W)` to features `(N, D)`, and `head.onnx`, from the features of clips `(B, T, D)` to calibrated
`logits` `(B, L)` and `frame_logits` `(B, T, L)`. `scoring.json` contains the settings that torch and
Transformers derived from the configuration and the processor when the graphs were written, and the SHA-256 of every
file that they depend on. If all hashes match, these settings are still valid, and neither library is needed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UsageError
from ..common.json_files import as_dataclass, as_object, read_json
from ..hub.model_files import CONFIG_NAME, VIDEO_PROCESSOR_NAME, WEIGHTS_NAME
from .results import FakeBias, FrameRule, Temperature


GRAPHS_FOLDER = "onnx"
MANIFEST_NAME = "scoring.json"
ENCODER_NAME, HEAD_NAME = "frame_encoder.onnx", "head.onnx"
# Files of a checkpoint that determine a score.
SOURCE_NAMES = (CONFIG_NAME, VIDEO_PROCESSOR_NAME, WEIGHTS_NAME)
# Increased with every change of the graphs or of the content of `scoring.json`.
GRAPHS_VERSION = 1


class GraphsError(UsageError):
    """A checkpoint has no graphs, or they do not belong to it; the message names the folder and the reason."""

    reason = "graphs"


@dataclass(frozen=True, kw_only=True)
class ScoringDescription:
    """
    What scoring requires in addition to the weights of a checkpoint.

    Attributes:
        labels: Names of the labels in the order of the logits.
        num_features: Width of the features of one frame.
        image_size: Height and width of the frames that the checkpoint was made for, in pixels.
        is_trained: Whether the weights were trained.
        frame_aggregation: How frames are combined, see [`DeepfakeConfig`].
        temperature: Calibrated temperature.
        fake_bias: Calibrated bias of the fake logit.
        configuration: `DeepfakeConfig.to_diff_dict()`, for the description of a run.
        preprocessing: Every setting of the processor by name.
    """

    labels: Sequence[str]
    num_features: int
    image_size: int
    is_trained: bool
    frame_aggregation: str
    temperature: Temperature
    fake_bias: FakeBias
    configuration: Mapping[str, Any]
    preprocessing: Mapping[str, Any]

    @property
    def fake_index(self) -> int:
        """Index of the fake logit."""
        return list(self.labels).index("fake")

    @property
    def num_frames_differ(self) -> bool:
        """Whether the configuration, which `pipeline` follows, and the preprocessing name other numbers of frames."""
        # The configuration may list only what differs from the defaults of `DeepfakeConfig`.
        return bool(self.configuration.get("num_frames", 20) != self.preprocessing["num_frames"])

    @property
    def judges_sequences(self) -> bool:
        """Whether a recurrent network reads the frames in order, so that a single frame means nothing to it."""
        # The configuration lists only what differs from the defaults of `DeepfakeConfig`.
        is_recurrent = self.configuration.get("rnn_type", "lstm") != "none"
        return is_recurrent and self.configuration.get("recurrence", "sequence") == "sequence"

    @property
    def frame_rule(self) -> FrameRule:
        """The rule by which the score of a clip follows from its frames."""
        # With more than two labels, the fake probabilities of the frames do not determine the score.
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
        description: What scoring requires in addition to the weights.
        weights: Keys of the weights that each graph reads, by name of the graph.
        sha256: SHA-256 of each file of the checkpoint and each graph, by name.
    """

    description: ScoringDescription
    weights: Mapping[str, Sequence[str]]
    sha256: Mapping[str, str]

    def to_json(self) -> str:
        """Return the text of the file."""
        content = {"graphs_version": GRAPHS_VERSION, **asdict(self)}
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """
    Read the manifest of a folder of graphs, without comparing hashes.

    Args:
        folder: The folder `onnx`.

    Raises:
        GraphsError: If the manifest is missing, damaged, or of another version.
    """
    try:
        content = as_object(read_json(folder / MANIFEST_NAME), MANIFEST_NAME)
        if (found := content.pop("graphs_version", None)) == GRAPHS_VERSION:
            return as_dataclass(content, Manifest)
    except OSError as error:
        raise GraphsError(f"{folder}: contains no readable {MANIFEST_NAME} ({error.strerror}).") from error
    except ValueError as error:
        raise GraphsError(f"{folder}: {MANIFEST_NAME} is damaged ({error}).") from error
    raise GraphsError(f"{folder}: the graphs have version {found}, expected {GRAPHS_VERSION}.")


def read_sources(checkpoint: Path, graphs: Path, manifest: Manifest) -> dict[str, bytes]:
    """
    Read every file that determines a score once, and compare its hash.

    Args:
        checkpoint: The folder of the checkpoint.
        graphs: The folder of the graphs.
        manifest: The manifest of the graphs.

    Raises:
        GraphsError: If a file is missing or has changed since the graphs were written.
    """
    contents = {}
    for folder, names in ((checkpoint, SOURCE_NAMES), (graphs, (ENCODER_NAME, HEAD_NAME))):
        for name in names:
            try:
                contents[name] = (folder / name).read_bytes()
            except OSError as error:
                raise GraphsError(f"{folder}: {name} cannot be read ({error.strerror}).") from error
            if hashlib.sha256(contents[name]).hexdigest() != manifest.sha256.get(name):
                raise GraphsError(f"{folder}: {name} has changed since {graphs / MANIFEST_NAME} was written.")
    return contents
