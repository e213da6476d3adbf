# SPDX-License-Identifier: Apache-2.0
"""The model card of a trained model: its data, its training and its validation metrics."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configuration_deepfake import DeepfakeConfig
from ..hub.card_text import LIMITS, snippet, write_card


def write_model_card(
    folder: Path,
    record: dict[str, Any],
    config: DeepfakeConfig,
    *,
    licence: Mapping[str, Any] | None = None,
    terms: Sequence[str] = (),
) -> None:
    """
    Write `README.md` into the folder.

    Args:
        folder: Model folder.
        record: Content of `training.json`.
        config: Configuration of the network.
        licence: Licence fields in the metadata of the card of the initial weights.
        terms: Names of the files in `folder` with the terms of the initial weights.
    """
    rnn = f" and a {config.rnn_type.upper()}" if config.rnn_type != "none" else ", frame by frame"
    metrics = "\n".join(
        f"| {name.replace('_', ' ')} | {value:.3f} | {_interval(low, high)} |"
        for name, (value, low, high) in record["validation"].items()
        if value is not None
    )
    together = "; a video and its re-encoded copy count together" if record["recipe"]["copies"] else ""
    sections = [
        "# Deepfake video detector",
        f"Scores a video for face manipulation: real or fake; {config.backbone}{rnn}, at {config.image_size} px.",
        f"## Use\n\n{snippet('<this folder or its Hub id>')}",
        "## Data\n\n"
        + _list("Trained on", record["training_data"])
        + "\n\n"
        + _list(
            "Validated on (nobody in these data is in both, as far as they identify people)", record["validation_data"]
        )
        + _seen_before(record)
        + "\n\nThe licences of these data may restrict the use of the weights; state them here before you publish "
        "the weights.",
        *_licence(record, licence, terms),
        f"## Training\n\n{record['steps']} steps, {record['seconds']} s, best at step {record['best_step']}; the "
        f"complete recipe:\n\n```json\n{json.dumps(record['recipe'], indent=2)}\n```",
        "## Metrics\n\nMeasured on the validation videos, by which the best step and the calibration were chosen "
        f"(temperature {config.temperature:.3g}, bias of the fake logit {config.fake_bias:.3g}). They are optimistic "
        "and do not estimate the performance on other data. The intervals are 95 % bootstrap confidence intervals "
        f"over {record['interval_unit']}{together}.\n\n"
        "| metric | value | interval |\n|---|---|---|\n" + metrics,
        "## Intended use and limits\n\n" + "\n".join(f"- {limit}" for limit in LIMITS),
    ]
    write_card(folder, sections, **(licence or {}))


def _seen_before(record: dict[str, Any]) -> str:
    """A paragraph on validation videos of people whom the initial weights know, if there are any."""
    seen, count = record["validation_videos_seen_by_initial"], len(record["validation_videos"])
    if not seen:
        return ""
    return (
        f"\n\n**{seen} of the {count} validation videos show people whom the initial weights "
        f"({record['recipe']['initial']}) were trained on.** The best step, the calibration and the metrics below "
        "include them, so the metrics are optimistic even for these data."
    )


def _licence(record: dict[str, Any], licence: Mapping[str, Any] | None, terms: Sequence[str]) -> list[str]:
    """The section on the licence, if the initial weights have a licence or terms."""
    if not licence and not terms:
        return []
    stated = (licence or {}).get("license_name") or (licence or {}).get("license")
    said = f" ({stated})" if stated else ""
    where = f": see {', '.join(terms)} in this folder" if terms else ""
    initial = record["recipe"]["initial"]
    return [
        f"## Licence\n\nThese weights were trained from those of {initial}, whose terms{said} apply to them too"
        f"{where}. The data above may impose additional terms."
    ]


def _list(title: str, groups: dict[str, int]) -> str:
    return f"{title}:\n\n" + "\n".join(
        f"- {name}: {count} {'video or image' if count == 1 else 'videos or images'}"
        for name, count in sorted(groups.items())
    )


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"
