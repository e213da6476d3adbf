# Copyright 2026 The deepfake-video authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Backbones from timm (https://github.com/huggingface/pytorch-image-models), imported only if one is used."""

import difflib
import functools
import importlib
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


PREFIX = "timm/"
# An architecture of timm's registry and, optionally, the tag of its weights. A name with a source such as "hf-hub:" or
# "local-dir:" does not match: a configuration is untrusted and must not start a download or read a folder.
_NAME = re.compile(r"[A-Za-z0-9_]{1,100}(\.[A-Za-z0-9_]{1,100})?")
# ViT-g/14 has 1.0e9; a configuration beyond it is a mistake or an attack on memory.
_MAX_PARAMETERS = 1_200_000_000
# Errors that timm's constructors raise for invalid arguments.
_BUILD_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class TimmInput:
    """
    The input that timm states for a network.

    Attributes:
        image_size: Height and width in pixels.
        is_fixed: Whether the network accepts only the size that it was built for.
        mean: Mean of the channels, of pixel values from 0 to 1.
        std: Standard deviation of the channels.
    """

    image_size: int
    is_fixed: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


def is_timm(backbone: str) -> bool:
    """Return whether a backbone is a timm network."""
    return backbone.startswith(PREFIX)


def check_timm_name(backbone: str) -> None:
    """
    Check that timm has a network of this name.

    Raises:
        ValueError: If timm is not installed, or has no network of this name.
    """
    name = backbone.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"backbone {backbone[:80]!r} must be {PREFIX!r} and the name of one of timm's architectures; a source "
            "such as 'hf-hub:' or a path is not accepted."
        )
    timm = _import_timm(backbone)
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        hint = f"; the nearest are {', '.join(PREFIX + found for found in nearest)}" if nearest else ""
        raise ValueError(f"backbone {backbone!r} is unknown to timm {timm.__version__}{hint}.")
    timm_input(backbone)


@functools.cache
def timm_input(backbone: str) -> TimmInput:
    """
    Return image size and normalisation from timm's configuration of a network, without building it.

    Raises:
        ValueError: If timm has no weights of the tag in the name.
    """
    timm = _import_timm(backbone)
    try:
        choices = timm.get_pretrained_cfg(backbone.removeprefix(PREFIX))
    except RuntimeError as error:
        raise ValueError(f"backbone {backbone!r}: timm reports: {error}") from error
    mean, std = tuple(map(float, choices.mean)), tuple(map(float, choices.std))
    return TimmInput(int(choices.input_size[-1]), bool(choices.fixed_input_size), mean, std)


@functools.cache
def timm_num_features(backbone: str) -> int:
    """
    Return the width of the pooled features; the network is built and run on the meta device.

    Raises:
        ValueError: If timm cannot build the network, it is too large, or it returns something else.
    """
    size = timm_input(backbone).image_size
    with torch.device("meta"), torch.no_grad():
        network = build_timm_backbone(backbone).eval()
        shape = tuple(getattr(network(torch.zeros(1, 3, size, size)), "shape", ()))
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    if num_parameters > _MAX_PARAMETERS:
        raise ValueError(f"backbone {backbone!r} has {num_parameters} parameters, more than {_MAX_PARAMETERS}.")
    if len(shape) != 2:
        raise ValueError(f"backbone {backbone!r} returns {shape} for a frame instead of one vector of features.")
    return int(shape[1])


def build_timm_backbone(
    backbone: str, *, image_size: int | None = None, drop_path_rate: float = 0.0, pretrained: bool = False
) -> Any:
    """
    Build a timm network without its classifier: from frames `(N, C, H, W)` to features `(N, num_features)`.

    Args:
        backbone: Name with the prefix `"timm/"`.
        image_size: Height and width of the frames; those of timm's configuration by default.
        drop_path_rate: Stochastic depth in training.
        pretrained: Whether to load timm's weights, which may download them.

    Raises:
        ValueError: If timm is not installed, does not know the network, or cannot build it with these arguments.
        OSError: If the weights are requested and cannot be downloaded.
    """
    check_timm_name(backbone)
    arguments: dict[str, Any] = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
    wanted = timm_input(backbone)
    if wanted.is_fixed and image_size not in (None, wanted.image_size):
        arguments["img_size"] = image_size
    timm = _import_timm(backbone)
    try:
        return timm.create_model(backbone.removeprefix(PREFIX), pretrained=pretrained, num_classes=0, **arguments)
    except OSError as error:
        # This comes first, because some errors of huggingface_hub belong to both classes.
        raise OSError(
            f"The pretrained weights of {backbone} could not be downloaded ({' '.join(str(error).split())[:200]}). "
            "Without a connection, put them into the cache of huggingface_hub on this machine."
        ) from error
    except _BUILD_ERRORS as error:
        given = "".join(f", {name}={value}" for name, value in arguments.items())
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"backbone {backbone!r} cannot be built by timm{given}: {reason}") from error


def fill_computed_buffers(network: nn.Module) -> None:
    """
    Compute the buffers that are not stored in checkpoints, after weights were assigned on the meta device.

    Raises:
        ValueError: If a module has such a buffer but no method to compute it.
    """
    for module in network.modules():
        empty = {name: buffer for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta}
        for name, buffer in empty.items():
            setattr(module, name, torch.empty_like(buffer, device="cpu"))
        if empty:
            compute = getattr(module, "init_non_persistent_buffers", None)
            if compute is None:
                raise ValueError(f"{type(module).__name__} has no method to compute its buffer {next(iter(empty))}.")
            compute()


def _import_timm(backbone: str) -> Any:
    # Transformers treats every import statement in this file as a requirement, but not those by importlib.
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ValueError(f"backbone {backbone!r} requires the package timm ({error}): pip install timm") from error


__all__ = [
    "TimmInput",
    "build_timm_backbone",
    "check_timm_name",
    "fill_computed_buffers",
    "is_timm",
    "timm_input",
    "timm_num_features",
]
