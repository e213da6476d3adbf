# SPDX-License-Identifier: Apache-2.0
"""Recognise folders whose `config.json` describes a model of another package."""

from typing import Any

from ..common.text import printable


MODEL_TYPE = "deepfake_video"
_MAX_CHARACTERS = 80


def describe_other_model(config: Any) -> str | None:
    """
    Describe a `config.json` that belongs to another kind of model, and say what to do with it.

    Args:
        config: Content of the file.

    Returns:
        A clause that follows the name of the folder; `None` for a model of this package.

    Example:

        >>> from deepfake_video.hub.folder_type import describe_other_model
        >>> describe_other_model({"model_type": "deepfake_video"}) is None
        True
    """
    content = config if isinstance(config, dict) else {}
    model_type = content.get("model_type")
    if model_type == MODEL_TYPE:
        return None
    wanted = f"give a model folder of the type {MODEL_TYPE}, such as one written by deepfake-video convert or train"
    if model_type is not None:
        names = content.get("architectures")
        first = names[0] if isinstance(names, list) and names else None
        classes = f" ({_shown(first)})" if isinstance(first, str) else ""
        return (
            f"holds a Transformers model of the type {_shown(model_type)!r}{classes}, which this package cannot run; "
            f"use the pipeline of Transformers, or {wanted}."
        )
    if "pretrained_cfg" in content:
        return (
            f"holds a timm model ({_shown(content.get('architecture'))}), which this package cannot run; "
            f"try deepfake-video convert on its weights file, or {wanted}."
        )
    return f"holds a config.json without a model type; {wanted}."


def _shown(value: object) -> str:
    return printable(value, _MAX_CHARACTERS)
