# SPDX-License-Identifier: Apache-2.0
"""
Counts the memory that a pickled checkpoint claims, before torch reads it.

With the old stream format, torch allocates the claimed memory before it reads the data, so a one-kilobyte file can
claim gigabytes. Here the pickle is read with inert placeholders for all classes and functions, and only counted.
"""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any


_ELEMENT_SIZES = {
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    "ComplexDoubleStorage": 16,
}
# Pickles before the one with the tensors in the stream format: magic number, protocol, system information.
_STREAM_PREAMBLE = 3
# Python's unpickler reserves memory up to the highest memo index of a file; 20,000 keys need a tenth of this.
_MAX_MEMO = 1 << 20


class OversizedError(ValueError):
    """The tensors of a pickle claim more than the size of the file."""


class _Storage:
    def __init__(self, numel: int) -> None:
        self.numel = numel


class _Inert(dict[Any, Any]):
    """Placeholder for any class, function or object of the pickle: accepts everything and does nothing."""

    source = ""
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if self.source.startswith("_rebuild") and args and isinstance(args[0], _Storage):
            _check_view(*args[:4])

    def __setstate__(self, state: Any) -> None:
        """Ignore the state of an object."""

    def append(self, item: Any) -> None:
        """Ignore an item."""

    def extend(self, items: Any) -> None:
        """Ignore items."""


class _Counter(pickle.Unpickler):
    def __init__(self, file: IO[bytes], limit: int) -> None:
        super().__init__(file)
        self.limit = limit
        self.storages: dict[str, int] = {}
        self.total = 0

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return OrderedDict
        return type("Inert", (_Inert,), {"source": global_name})

    def persistent_load(self, pid: Any) -> Any:
        kind, storage_type, key, _, numel, *_ = pid
        if kind not in ("storage", b"storage") or not isinstance(numel, int) or numel < 0:
            raise pickle.UnpicklingError(f"unknown persistent object {kind!r}")
        size = _ELEMENT_SIZES.get(getattr(storage_type, "source", ""), 1)
        known = self.storages.get(str(key), 0)
        self.storages[str(key)] = max(numel * size, known)
        self.total += self.storages[str(key)] - known
        if self.total > self.limit:
            raise OversizedError("its storages exceed the file")
        return _Storage(numel)


def _count(file: IO[bytes], limit: int) -> None:
    """Read the pickle at the position of the file with inert placeholders, after a check of its memo indices."""
    start = file.tell()
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= _MAX_MEMO:
            raise OversizedError(f"its memo index is {argument}")
    file.seek(start)
    _Counter(file, limit).load()


def _check_view(storage: _Storage, offset: Any, size: Any, stride: Any) -> None:
    numbers = [offset, *size, *stride]
    if len(size) != len(stride) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise pickle.UnpicklingError("a tensor without a valid shape")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.numel:
        raise OversizedError("a tensor reaches beyond its storage")


def check_sizes(path: Path, container: str, num_bytes: int) -> None:
    """
    Count the memory that a checkpoint claims, without executing or allocating anything.

    Args:
        path: The file.
        container: `"zip"` or `"stream"`.
        num_bytes: Size of the file.

    Raises:
        OversizedError: If it claims more than the size of the file.
        Exception: Any error that Python's unpickler raises on a damaged pickle.
    """
    if container == "zip":
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.split("/")[-1] == "data.pkl")
            with archive.open(name) as file:
                _count(io.BytesIO(file.read()), num_bytes)
        return
    with path.open("rb") as file:
        for _ in range(_STREAM_PREAMBLE + 1):
            _count(file, num_bytes)
