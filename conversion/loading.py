# SPDX-License-Identifier: Apache-2.0
"""Reading a checkpoint file that nobody vouches for: tensors come out or a clear sentence, and no code ever runs."""

import hashlib
import json
import pickle
import re
import stat
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..common.safetensors_headers import check_header, looks_like_safetensors
from .errors import ConversionError, first_repeated, listed, shown
from .pickles import OversizedError, check_sizes
from .unwrapping import SAVE_AGAIN, find_state_dict, split_bystanders


# Far above what these networks need, far below what hurts: the structure of the file, without its numbers.
MAX_STRUCTURE_BYTES = 16 * 2**20
MAX_KEYS = 20_000
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)
# What torch and its unpickler raise on broken or hostile bytes.
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
_OTHER_FILES = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\x89HDF": "an HDF5 file (Keras); only PyTorch checkpoints can be converted",
    b"version https://git-lfs": "a Git LFS pointer instead of the weights; run `git lfs pull` first",
    b"<": "a web page; download the file itself",
    b"BZh": "a bzip2 archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
}


@dataclass(frozen=True)
class Checkpoint:
    """
    The tensors of a checkpoint file, finite and on the CPU.

    Attributes:
        path: The file.
        tensors: By key, without wrappers and without the prefix that all keys share.
        prefix: That prefix, such as `"module."`.
        wrappers: Dictionary keys that led to the tensors.
        set_aside: Keys of the file that no answer depends on, such as weights of the loss; not among the tensors.
        container: `"zip"`, `"stream"` (PyTorch before 1.6) or `"safetensors"`.
        num_bytes: Size of the file.
        sha256: Hash of the file.
        key: What was asked for with `read_checkpoint`.
    """

    path: Path
    tensors: dict[str, torch.Tensor]
    prefix: str
    wrappers: tuple[str, ...]
    set_aside: tuple[str, ...]
    container: str
    num_bytes: int
    sha256: str
    key: str | None = None

    @property
    def has_order(self) -> bool:
        """
        Whether the tensors come in the order in which the program made its layers.

        safetensors sorts them by name. So does a file that was made of one: there a bias stands before its weight,
        which no layer of PyTorch does.
        """
        places = {key: place for place, key in enumerate(self.tensors)}
        biases = [key for key in places if key.endswith(".bias")]
        return self.container != "safetensors" and all(
            places.get(f"{key.removesuffix('bias')}weight", -1) < places[key] for key in biases
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


def read_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """
    Read a `.pt`, `.pth`, `.tar` or `.safetensors` file; what it is decides its content, never its name.

    Args:
        path: The file.
        key: Which of several sets of weights to take, see [`find_state_dict`].

    Returns:
        Its tensors, checked to be plain, finite and no larger than the file.

    Raises:
        ConversionError: In one sentence, if the file is unreadable, unsafe, broken or not finite.
    """
    num_bytes = _check_is_file(path)
    try:
        container = _sniff(path, num_bytes)
        if container == "safetensors":
            content: Any = _read_safetensors(path, num_bytes)
        else:
            content = _read_pickle(path, container)
        state_dict, wrappers = find_state_dict(content, path, key)
        state_dict, set_aside = split_bystanders(state_dict)
        tensors = _check_tensors(state_dict, path, num_bytes)
        sha256 = _hash(path)
    except OSError as error:
        raise ConversionError(f"{shown(path)} cannot be read ({error.strerror}).", reason="file") from error
    tensors, prefix = _strip_common_prefix(tensors)
    return Checkpoint(path, tensors, prefix, wrappers, set_aside, container, num_bytes, sha256, key)


def _check_is_file(path: Path) -> int:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ConversionError(f"{shown(path)} does not exist or cannot be read; check the path.", reason="file") from (
            error
        )
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ConversionError(f"{shown(path)} is {kind}; give the checkpoint file itself.", reason="file")
    if not status.st_size:
        raise ConversionError(f"{shown(path)} is empty; download it again.", reason="file")
    return status.st_size


def _sniff(path: Path, num_bytes: int) -> str:
    with path.open("rb") as file:
        head = file.read(512)
    # First, because the length that such a file begins with can be the mark of any other kind.
    if looks_like_safetensors(head, num_bytes):
        _check_safetensors_header(path, num_bytes, int.from_bytes(head[:8], "little"))
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path, num_bytes)
        return "zip"
    for start, description in _OTHER_FILES.items():
        if head.startswith(start):
            raise ConversionError(f"{shown(path)} is {description}.", reason="file")
    if head[257:262] == b"ustar" or b"sys_info" in head[:100]:
        raise ConversionError(
            f"{shown(path)} is a tar archive: unpack it if it holds a checkpoint; if PyTorch before 0.1.10 wrote it, "
            f"{SAVE_AGAIN}.",
            reason="file",
        )
    if head[:1] == b"\x80":
        return "stream"
    if len(head) > 9 and head[8:9] == b"{":
        _check_safetensors_header(path, num_bytes, int.from_bytes(head[:8], "little"))
    raise ConversionError(
        f"{shown(path)} is neither a PyTorch checkpoint nor a safetensors file, or its beginning is damaged; "
        "download it again.",
        reason="file",
    )


def _check_safetensors_header(path: Path, num_bytes: int, header_bytes: int) -> None:
    if header_bytes > num_bytes - 8:
        raise ConversionError(
            f"{shown(path)} is truncated: its safetensors header claims {header_bytes} bytes; download it again.",
            reason="file",
        )
    if header_bytes > MAX_STRUCTURE_BYTES:
        raise ConversionError(
            f"{shown(path)} has a safetensors header of {header_bytes} bytes, more than {MAX_STRUCTURE_BYTES}: this "
            "is no checkpoint of this family.",
            reason="unsafe",
        )
    try:
        check_header(path)
    except ValueError as error:
        raise ConversionError(f"{shown(path)} {error}", reason="weights") from error


def _zip_directory_bytes(path: Path, num_bytes: int) -> int | None:
    """Size of the table of contents, read before anything parses that table; None if there is none."""
    with path.open("rb") as file:
        file.seek(max(0, num_bytes - 66_000))
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or len(tail) < end + 22:
            return None
        (size,) = struct.unpack_from("<I", tail, end + 12)
        if size != 0xFFFFFFFF:
            return int(size)
        if end < 20 or tail[end - 20 : end - 16] != b"PK\x06\x07":
            return None
        (offset,) = struct.unpack_from("<Q", tail, end - 12)
        if offset > num_bytes - 56:
            return None
        file.seek(offset + 40)
        return int(struct.unpack("<Q", file.read(8))[0])


def _check_zip(path: Path, num_bytes: int) -> None:
    directory = _zip_directory_bytes(path, num_bytes)
    if directory is None:
        raise ConversionError(f"{shown(path)} is truncated or damaged; download it again.", reason="file")
    if directory > MAX_STRUCTURE_BYTES:
        raise _bomb(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise ConversionError(f"{shown(path)} is truncated or damaged; download it again.", reason="file") from error
    names = [entry.filename for entry in entries]
    for name in names:
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise ConversionError(
                f"{shown(path)} holds an entry {shown(name)} that leads out of the archive; do not use this file.",
                reason="unsafe",
            )
    if (repeated := first_repeated(names)) is not None:
        raise ConversionError(
            f"{shown(path)} holds the entry {shown(repeated)} twice, so that it is open which one is meant; save it "
            "again.",
            reason="unsafe",
        )
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        raise ConversionError(
            f"{shown(path)} is a TorchScript archive, which is a program; {SAVE_AGAIN}.", reason="unsafe"
        )
    if sum(name.split("/")[-1] == "data.pkl" for name in names) != 1:
        raise ConversionError(
            f"{shown(path)} is a zip archive without a checkpoint in it; unpack it, and give the file inside.",
            reason="file",
        )
    # `torch.save` stores without compression, so whatever unpacks to more than the file is a bomb.
    if (
        any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries)
        or sum(entry.file_size for entry in entries) > num_bytes
        or any(entry.filename.endswith(".pkl") and entry.file_size > MAX_STRUCTURE_BYTES for entry in entries)
    ):
        raise _bomb(path)


def _bomb(path: Path) -> ConversionError:
    return ConversionError(
        f"{shown(path)} is a compressed or inflated archive, which torch.save never writes: {SAVE_AGAIN}.",
        reason="unsafe",
    )


def _read_pickle(path: Path, container: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_sizes(path, container, path.stat().st_size)
            # weights_only is passed explicitly: environment variables flip the default only.
            if container == "zip" and path.suffix != ".safetensors":
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            # An open file, because torch hands a path to safetensors that is called so, whatever it holds.
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except OversizedError as error:
        raise ConversionError(
            f"{shown(path)} claims more memory than it holds numbers for ({error}); {SAVE_AGAIN}.", reason="unsafe"
        ) from error
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"the object {shown(found[1])}" if found else "something that is not a tensor, or is damaged"
        raise ConversionError(
            f"{shown(path)} was refused without running anything in it, because it holds {what}: a whole pickled "
            f"module, or settings beside the weights; {SAVE_AGAIN}.",
            reason="unsafe",
        ) from error
    except _BROKEN as error:
        raise ConversionError(
            f"{shown(path)} is truncated or damaged ({shown(error)}); download it again.", reason="file"
        ) from error


def _read_safetensors(path: Path, num_bytes: int) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, *_BROKEN) as error:
        raise ConversionError(
            f"{shown(path)} is a damaged safetensors file of {num_bytes} bytes ({shown(error)}); download it again.",
            reason="file",
        ) from error


def _check_tensors(state_dict: Mapping[Any, Any], path: Path, num_bytes: int) -> dict[str, torch.Tensor]:
    if len(state_dict) > MAX_KEYS:
        raise ConversionError(
            f"{shown(path)} holds {len(state_dict)} keys, more than {MAX_KEYS}: this is no checkpoint of this family.",
            reason="unsafe",
        )
    tensors: dict[str, torch.Tensor] = {}
    total = 0
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ConversionError(
                f"{shown(path)} holds a {type(value).__name__} under the key {shown(key)} where only tensors belong; "
                "save the state dict alone, or in a dictionary beside such values.",
                reason="weights",
            )
        total += value.numel() * value.element_size()
        _check_is_plain(key, value, path)
        tensors[key] = value.detach()
    # Twice the file leaves room for tied weights; a view that repeats one number a billion times has none.
    if total > 2 * num_bytes:
        raise ConversionError(
            f"{shown(path)} has {num_bytes} bytes but its tensors claim {total}: this is no ordinary checkpoint; "
            f"{SAVE_AGAIN}.",
            reason="unsafe",
        )
    bad = [key for key, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if bad:
        raise ConversionError(
            f"{shown(path)} holds NaN or infinite numbers in {listed(bad)}; its training diverged or the file is "
            "damaged, so use an earlier checkpoint.",
            reason="weights",
        )
    return tensors


def _check_is_plain(key: str, value: torch.Tensor, path: Path) -> None:
    is_plain = type(value) in (torch.Tensor, torch.nn.Parameter) and value.layout == torch.strided
    if not is_plain or value.device.type != "cpu" or value.dtype not in (*FLOATS, *INTEGERS):
        raise ConversionError(
            f"{shown(path)} holds under the key {shown(key)} a tensor of another kind ({value.dtype}, {value.layout}, "
            f"device {value.device}); save plain float32 tensors.",
            reason="weights",
        )


def _is_finite(tensor: torch.Tensor) -> bool:
    # A sum is not finite if any part is not, and needs no memory; where the sum itself overflows, each part is asked.
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _strip_common_prefix(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    """Take off `module.`, `_orig_mod.`, Lightning's `model.`, or whatever else all keys begin with."""
    prefix = ""
    while True:
        firsts = {key.partition(".")[0] for key in tensors}
        if len(firsts) != 1 or not all("." in key for key in tensors):
            return tensors, prefix
        first = firsts.pop()
        # An unnamed network in a Sequential keeps its numbers: there they tell the layout.
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
