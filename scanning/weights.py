# SPDX-License-Identifier: Apache-2.0
"""Read safetensors files once: into memory that the network then keeps, and hashed on the way."""

import hashlib
import mmap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import load_file


_CHUNK = 4 << 20


def read_weights(
    files: Sequence[Path], check: Callable[[Mapping[str, torch.Tensor]], None]
) -> tuple[dict[str, torch.Tensor], str]:
    """
    The tensors of a checkpoint, and what it is known by.

    A mapped file would do for the tensors, but each of its pages that is changed costs a page fault and a copy, which
    takes longer than reading it all; and what is hashed here is what is loaded, whoever writes to the file meanwhile.

    Args:
        files: Its files, ordered by name.
        check: Gets tensors of the same names, types and shapes before anything but the headers is read.

    Returns:
        The tensors, and the SHA-256 of one file, or of the concatenation of several.

    Raises:
        SafetensorError: If a file is damaged.
        OSError: If a file cannot be read.
        ValueError: If a file changes meanwhile; and what `check` raises.
    """
    headers = [load_file(file) for file in files]
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
    """A file in memory of its own; `follow` is given each part that is there."""
    with file.open("rb", buffering=0) as stream:
        content = _allocate(file.stat().st_size)
        whole = memoryview(content)
        for start in range(0, len(whole), _CHUNK):
            part = whole[start : start + _CHUNK]
            if stream.readinto(part) != len(part):
                raise ValueError(f"{file.name} became shorter while it was read.")
            follow(part)
    return content


def _allocate(size: int) -> mmap.mmap:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return mmap.mmap(-1, size)
    # 2 MB at a time instead of 4 kB; shared memory, the default, does not come that way.
    content = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    content.madvise(mmap.MADV_HUGEPAGE)
    return content


def _take(content: mmap.mmap, start: int, like: torch.Tensor) -> torch.Tensor:
    if not like.nbytes or start % like.element_size():
        return like.clone()
    return torch.frombuffer(content, dtype=like.dtype, count=like.numel(), offset=start).view(like.shape)
