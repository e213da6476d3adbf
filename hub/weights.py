# SPDX-License-Identifier: Apache-2.0
"""Read safetensors files once, into memory that the network keeps, hashing them at the same time."""

import hashlib
import mmap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..common.safetensors_headers import check_header


_CHUNK = 4 << 20


def read_weights(
    files: Sequence[Path], check: Callable[[Mapping[str, torch.Tensor]], None]
) -> tuple[dict[str, torch.Tensor], str]:
    """
    Read the tensors of a checkpoint and compute their hash.

    Memory-mapping the file would be slower, because each page that is changed later costs a page fault and a copy.
    Reading also ensures that the hash is that of the loaded bytes, even if another process changes the file.

    Args:
        files: The files, sorted by name.
        check: Called before the data are read, with placeholder tensors of the same names, types and shapes.

    Returns:
        The tensors, and the SHA-256 of one file, or of the concatenation of several.

    Raises:
        SafetensorError: If a file is damaged.
        OSError: If a file cannot be read.
        ValueError: If a key occurs twice, a tensor has an unsupported type, or a file changes while it is read; or an
            error raised by `check`.
    """
    for file in files:
        try:
            check_header(file)
        except ValueError as error:
            raise ValueError(f"{file.name} {error}") from error
    headers = [load_file(file) for file in files]
    owners: dict[str, Path] = {}
    for file, header in zip(files, headers, strict=True):
        for key in header:
            if key in owners:
                raise ValueError(f"{owners[key].name} and {file.name} both contain the key {key[:120]!r}.")
            owners[key] = file
    check({name: tensor for header in headers for name, tensor in header.items()})
    digest = hashlib.sha256()
    weights: dict[str, torch.Tensor] = {}
    with ThreadPoolExecutor(1) as pool:
        for file, header in zip(files, headers, strict=True):
            content = _read(file, lambda part: pool.submit(digest.update, part))
            # A file is its header and then the tensors without a gap, which was checked when the header was read.
            start = len(content) - sum(tensor.nbytes for tensor in header.values())
            for name, tensor in header.items():
                weights[name] = _take(content, start, tensor)
                start += tensor.nbytes
    return weights, digest.hexdigest()


def _read(file: Path, follow: Callable[[memoryview], object]) -> mmap.mmap:
    """Read a file into memory; `follow` is called with each part that was read."""
    with file.open("rb", buffering=0) as stream:
        content = _allocate(file.stat().st_size)
        whole = memoryview(content)
        for start in range(0, len(whole), _CHUNK):
            part = whole[start : start + _CHUNK]
            if stream.readinto(part) != len(part):
                raise ValueError(f"{file.name} was truncated while it was being read.")
            follow(part)
    return content


def _allocate(size: int) -> mmap.mmap:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return mmap.mmap(-1, size)
    # Private memory can use pages of 2 MB instead of 4 kB; shared memory, the default, cannot.
    content = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    content.madvise(mmap.MADV_HUGEPAGE)
    return content


def _take(content: mmap.mmap, start: int, like: torch.Tensor) -> torch.Tensor:
    if not like.nbytes or start % like.element_size():
        return like.clone()
    return torch.frombuffer(content, dtype=like.dtype, count=like.numel(), offset=start).view(like.shape)
