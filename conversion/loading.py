# SPDX-License-Identifier: Apache-2.0
"""Reads untrusted checkpoint files: returns tensors or raises an error of one sentence, and never executes code."""

import hashlib
import json
import pickle
import re
import stat
import struct
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..common.text import quoted
from .class_names import find_fake_index
from .containers import Container, find_container
from .errors import ConversionError
from .pickles import OversizedError, check_sizes
from .tensor_checks import check_keys, check_tensors
from .unwrapping import SAVE_AGAIN, find_state_dict, split_unused_keys


# What torch and its unpickler raise on damaged or malicious bytes.
_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.PickleError,
    struct.error,
    zipfile.BadZipFile,
)
_WRAPPED_MODULE = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


@dataclass(frozen=True)
class Checkpoint:
    """
    The tensors of a checkpoint file, finite and on the CPU.

    Attributes:
        path: The file.
        tensors: Tensors by key, without wrappers, without the prefix common to all keys and without the names that
            torch adds to those of compiled modules.
        prefix: This prefix, such as `"module."`.
        wrappers: Dictionary keys that lead to the tensors.
        beside: Names of other matrices and dictionaries of them, see [`find_state_dict`].
        set_aside: Keys that do not affect the output, such as weights of the loss; not in `tensors`.
        container: `"zip"`, `"stream"` (PyTorch before 1.6) or `"safetensors"`.
        num_bytes: Size of the file.
        sha256: Hash of the file.
        fake_index: Index of the class fake, if the file names its classes, see [`find_fake_index`].
        key: The `key` given to [`read_checkpoint`].
    """

    path: Path
    tensors: dict[str, torch.Tensor]
    prefix: str
    wrappers: tuple[str, ...]
    beside: tuple[str, ...]
    set_aside: tuple[str, ...]
    container: Container
    num_bytes: int
    sha256: str
    fake_index: int | None = None
    key: str | None = None

    @property
    def has_order(self) -> bool:
        """
        Whether the tensors are in the order in which the program created its layers.

        safetensors sorts them by name. A file converted from it keeps this order: a bias precedes its weight, which is
        the case in no layer of PyTorch.
        """
        places = {key: place for place, key in enumerate(self.tensors)}
        biases = [key for key in places if key.endswith(".bias")]
        return self.container != "safetensors" and all(
            places.get(f"{key.removesuffix('bias')}weight", -1) < places[key] for key in biases
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor by key."""
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


def read_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """
    Read a `.pt`, `.pth`, `.tar`, `.ckpt` or `.safetensors` file; its type is detected from its content.

    Args:
        path: The file.
        key: Set of weights to read, if the file contains several; see [`find_state_dict`].

    Returns:
        Its tensors: plain, finite and no larger than the file.

    Raises:
        ConversionError: If the file is unreadable, unsafe or damaged, or contains non-finite values.
        ConversionOptionError: If the file contains several sets of weights and `key` selects none.
    """
    num_bytes = _check_is_file(path)
    try:
        container = find_container(path, num_bytes)
        if container == "safetensors":
            content: Any = _read_safetensors(path, num_bytes)
        else:
            content = _read_pickle(path, container)
        state_dict, wrappers, beside = find_state_dict(content, path, key)
        check_keys(state_dict, path)
        state_dict, set_aside = split_unused_keys(state_dict)
        tensors = check_tensors(state_dict, path, num_bytes)
        fake_index = find_fake_index(content)
        sha256 = _hash(path)
    except OSError as error:
        raise ConversionError(f"{quoted(path)} cannot be read ({error.strerror}).", reason="file") from error
    tensors, prefix = _strip_common_prefix(tensors)
    tensors, inner = _strip_common_prefix(_unwrap_modules(tensors, path))
    prefix += inner
    return Checkpoint(
        path, tensors, prefix, wrappers, beside, set_aside, container, num_bytes, sha256, fake_index, key
    )


def _check_is_file(path: Path) -> int:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ConversionError(
            f"{quoted(path)} does not exist or cannot be read; check the path.", reason="file"
        ) from (error)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ConversionError(f"{quoted(path)} is {kind}; give the path of the checkpoint file.", reason="file")
    if not status.st_size:
        raise ConversionError(f"{quoted(path)} is empty; download it again.", reason="file")
    return status.st_size


def _read_pickle(path: Path, container: Container) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_sizes(path, container, path.stat().st_size)
            # weights_only is passed explicitly: environment variables change the default only.
            if container == "zip" and path.suffix != ".safetensors":
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            # An open file, because torch passes a path with this suffix to safetensors, whatever it contains.
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except OversizedError as error:
        raise ConversionError(
            f"{quoted(path)} claims more memory than its size allows ({error}); {SAVE_AGAIN}.", reason="unsafe"
        ) from error
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"the object {quoted(found[1])}" if found else "damaged data or something that is not a tensor"
        raise ConversionError(
            f"{quoted(path)} was refused without executing anything in it, because it contains {what} (for example a "
            f"whole pickled module, or settings stored with the weights); {SAVE_AGAIN}.",
            reason="unsafe",
        ) from error
    except _BROKEN as error:
        raise ConversionError(
            f"{quoted(path)} is truncated or damaged ({quoted(error)}); download it again.", reason="file"
        ) from error


def _read_safetensors(path: Path, num_bytes: int) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, *_BROKEN) as error:
        raise ConversionError(
            f"{quoted(path)} is a damaged safetensors file of {num_bytes} bytes ({quoted(error)}); download it again.",
            reason="file",
        ) from error


def _unwrap_modules(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """
    Remove what `torch.compile`, FSDP and activation checkpointing add to the name of a part of the network.

    The same network has other keys without them, by which a published system is recognised.
    """
    unwrapped: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        name = _WRAPPED_MODULE.sub("", key)
        if name in unwrapped:
            raise ConversionError(
                f"{quoted(path)} contains {quoted(name)} twice, as part of a compiled or wrapped module and of a "
                f"plain one; {SAVE_AGAIN}.",
                reason="weights",
            )
        unwrapped[name] = tensor
    return unwrapped


def _strip_common_prefix(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    """Strip `module.`, `_orig_mod.`, Lightning's `model.`, and every other prefix common to all keys."""
    prefix = ""
    while True:
        firsts = {key.partition(".")[0] for key in tensors}
        if len(firsts) != 1 or not all("." in key for key in tensors):
            return tensors, prefix
        first = firsts.pop()
        # The numbers of a network in an unnamed Sequential stay, as they identify the layout.
        if first.isdecimal():
            return tensors, prefix
        prefix += f"{first}."
        tensors = {key.partition(".")[2]: tensor for key, tensor in tensors.items()}


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
