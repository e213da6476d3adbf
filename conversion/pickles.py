# SPDX-License-Identifier: Apache-2.0
"""
A look at a pickled checkpoint before torch reads it: how much memory would its tensors take?

The old stream format reserves what a file claims before it reads what the file holds, so a file of a kilobyte can ask
for gigabytes. Here the pickle runs with inert stand-ins for every class and function it names, and only counts.
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
# Pickles before the one with the tensors in the stream format: magic number, protocol, facts on the system.
_STREAM_PREAMBLE = 3
# Python's unpickler reserves room up to the number under which a file remembers an object; 20,000 keys need a tenth.
_MAX_MEMO = 1 << 20


class OversizedError(ValueError):
    """The tensors of a pickle claim more than the file holds."""


class _Storage:
    def __init__(self, numel: int) -> None:
        self.numel = numel


class _Inert(dict[Any, Any]):
    """Stands for any class, function or object of the pickle, takes anything, does nothing."""

    source = ""
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if self.source.startswith("_rebuild") and args and isinstance(args[0], _Storage):
            _check_view(*args[:4])

    def __setstate__(self, state: Any) -> None:
        """The state of an object is not of interest."""

    def append(self, item: Any) -> None:
        """Nor are its items."""

    def extend(self, items: Any) -> None:
        """Nor are these."""


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
            raise OversizedError("its storages claim more bytes than it has")
        return _Storage(numel)


def _count(file: IO[bytes], limit: int) -> None:
    """Runs the pickle at the file's position with inert stand-ins, after a look at its instructions."""
    start = file.tell()
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= _MAX_MEMO:
            raise OversizedError(f"it numbers its objects up to {argument}")
    file.seek(start)
    _Counter(file, limit).load()


def _check_view(storage: _Storage, offset: Any, size: Any, stride: Any) -> None:
    numbers = [offset, *size, *stride]
    if len(size) != len(stride) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise pickle.UnpicklingError("a tensor of no shape")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.numel:
        raise OversizedError("a tensor reaches beyond its storage")


def check_sizes(path: Path, container: str, num_bytes: int) -> None:
    """
    Count the memory that a checkpoint claims, without running or reserving anything.

    Args:
        path: The file.
        container: `"zip"` or `"stream"`.
        num_bytes: Size of the file.

    Raises:
        OversizedError: If it claims more than it holds.
        Exception: Whatever a damaged pickle raises in Python's own unpickler.
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
