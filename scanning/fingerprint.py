# SPDX-License-Identifier: Apache-2.0
"""
The description of the scoring setup that produced the results in a folder.

An output folder holds results of one scoring setup only. `run.json` describes it: weights, configuration,
preprocessing, labels and settings of every model, and the result version of this package. It omits everything that
cannot change a score: the name of a model, the device, the batch size and the limits on reading.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.errors import UsageError
from ..common.files import write_atomically
from ..common.json_files import as_object, read_json
from .results import RESULT_VERSION
from .settings import ScanSettings


if TYPE_CHECKING:
    from .graphs import ScoringDescription
    from .scoring_model import ScoringModel

RUN_NAME = "run.json"
# Entries of a configuration that do not affect what the network computes, or repeat another one.
_NO_CHOICES = {"_name_or_path", "architectures", "auto_map", "dtype", "label2id", "model_type", "transformers_version"}
# Entries of a description that name a model but do not identify it.
_NAMES = {"id", "revision"}
_MAX_DIFFERENCES, _MAX_SHOWN = 3, 60


class RunMismatchError(UsageError):
    """An output folder holds results of a different scoring setup; the message names the folder and the difference."""


def describe_setup(models: Sequence["ScoringModel"], settings: ScanSettings) -> dict[str, Any]:
    """
    Describe everything that determines a score, as plain values for JSON.

    Args:
        models: The models of the scan.
        settings: The settings of the scan.
    """
    described = {
        "result_version": RESULT_VERSION,
        "settings": {name: value for name, value in settings.to_dict().items() if name != "num_frames"},
        "models": [_describe_model(model, settings) for model in models],
    }
    plain: dict[str, Any] = json.loads(json.dumps(described, default=str))
    return plain


def function_of(setup: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the first model of a setup computes apart from its weights: configuration and preprocessing."""
    return {name: setup["models"][0][name] for name in ("configuration", "preprocessing")}


def describe_function(description: "ScoringDescription", num_frames: int) -> dict[str, dict[str, Any]]:
    """
    Describe what a model computes apart from its weights.

    Args:
        description: The model's files.
        num_frames: Number of frames that are scored.

    Returns:
        The entries of `configuration` and `preprocessing` that affect a score.
    """
    choices = {**description.preprocessing, "num_frames": num_frames}
    return {
        "configuration": {n: value for n, value in description.configuration.items() if n not in _NO_CHOICES},
        # Entries that Transformers adds to every processor are unset in ours.
        "preprocessing": {name: value for name, value in sorted(choices.items()) if value is not None},
    }


def _describe_model(model: "ScoringModel", settings: ScanSettings) -> dict[str, Any]:
    return {
        "id": model.identity.id,
        "revision": model.identity.revision,
        "weights": model.identity.weights_sha256,
        **describe_function(model.description, settings.num_frames or model.processor.num_frames),
    }


def with_engine_of(settings: ScanSettings, folders: Sequence[Path], device: str) -> ScanSettings:
    """
    Resolve the engine "auto" to the one that made the results of an output folder, so that a run can be resumed.

    On another machine, or once graphs of a model have been written, "auto" would choose another engine.

    Args:
        settings: The settings of the new scan.
        folders: The output folder, or several that belong together; the first one with a description is used.
        device: Device as it was given; the engine "onnx" runs on the CPU only.
    """
    if settings.engine != "auto":
        return settings
    for folder in folders:
        try:
            known = read_json(folder / RUN_NAME)
            # An evaluation describes the function inside its own description.
            engine = known.get("function", known)["settings"]["engine"]
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        if engine == "torch" or (engine == "onnx" and device in ("auto", "cpu") and settings.dtype == "float32"):
            return replace(settings, engine=engine)
    return settings


def claim_folder(
    folder: Path,
    description: Mapping[str, Any],
    *,
    has_results: bool,
    compared: Sequence[str] | None = None,
    wait: Callable[[], None] = lambda: None,
) -> None:
    """
    Store the description of the scoring setup in an output folder, or check that it matches the stored one.

    The folder must be locked, see [`lock_folder`].

    Args:
        folder: The output folder.
        description: The description, see [`describe_setup`].
        has_results: Whether the folder already holds results.
        compared: Entries of the description to compare; all by default.
        wait: Returns when every process of the run has called it.

    Raises:
        RunMismatchError: If the folder holds results of a different or an unknown scoring setup.
        OutputError: If the description cannot be written.
    """
    _claim(folder, description, has_results, compared)
    wait()
    # If several processes found no description, each has written its own; now all of them see the same one.
    _claim(folder, description, has_results, compared)


def store_description(folder: Path, description: Mapping[str, Any]) -> None:
    """
    Store the description of the scoring setup in an output folder, in place of one that is there.

    Args:
        folder: The output folder.
        description: The description, see [`describe_setup`].

    Raises:
        OutputError: If it cannot be written.
    """
    write_atomically(folder / RUN_NAME, json.dumps(description, indent=2).encode() + b"\n")


def _claim(folder: Path, description: Mapping[str, Any], has_results: bool, compared: Sequence[str] | None) -> None:
    file = folder / RUN_NAME
    wanted = json.loads(json.dumps(description))
    try:
        known = as_object(read_json(file), RUN_NAME)
        names = {**known, **wanted} if compared is None else compared
        differences = [
            difference for name in names for difference in _differences(known.get(name), wanted.get(name), name)
        ]
    except FileNotFoundError:
        if has_results:
            raise RunMismatchError(
                f"{folder}: contains results or files of another program, but no {RUN_NAME} that describes how they "
                "were made; choose another --output."
            ) from None
        store_description(folder, wanted)
        return
    except (OSError, ValueError) as error:
        raise RunMismatchError(f"{file}: damaged ({error}); choose another --output.") from error
    if differences:
        more = len(differences) - _MAX_DIFFERENCES
        listed = ", ".join(differences[:_MAX_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")
        raise RunMismatchError(f"{folder} was made with different settings: {listed}; choose another --output.")


def _differences(known: Any, wanted: Any, name: str = "", model: str = "") -> Iterator[str]:
    """Each value that differs, with its name: `face_margin (1.3, now 1.15)`."""
    if name == "models" and isinstance(known, list) and isinstance(wanted, list):
        if len(known) != len(wanted):
            yield f"number of models ({len(known)}, now {len(wanted)})"
            return
        for number, pair in enumerate(zip(known, wanted, strict=True), 1):
            yield from _differences(*pair, model=f" of model {number}" if len(wanted) > 1 else "")
    elif isinstance(known, dict) and isinstance(wanted, dict):
        for key in {**known, **wanted}:
            if key not in _NAMES:
                shown = f"{name}[{key}]" if key.isdecimal() else key
                yield from _differences(known.get(key), wanted.get(key), shown, model)
    elif known != wanted:
        plain = name.replace("result_version", "version of the results")
        yield f"{plain}{model} ({_shown(known)}, now {_shown(wanted)})"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) == 64 and all(character in "0123456789abcdef" for character in text):
        return text[:12]
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
