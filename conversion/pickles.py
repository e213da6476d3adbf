# SPDX-License-Identifier: Apache-2.0
"""
Counts the memory that a pickled checkpoint claims, before torch reads it.

Torch's weights-only loader executes nothing, but allocates what a file asks for: the memory of storages in the old
stream format, `bytearray(10**9)`, or a million copies of one string. It also hashes tuples that hold each other so
often that this never ends. Here the pickle is read with inert placeholders for all classes and functions, and only
counted.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sized
from pathlib import Path
from typing import IO, Any, ClassVar


_ELEMENT_SIZES = {
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    "ComplexDoubleStorage": 16,
}
# Pickles before the one with the tensors in the stream format: magic number, protocol, system information.
_STREAM_PREAMBLE = 3
# The largest of these networks with the states of its optimizer needs a fifth of these steps. Each may make an object
# of two hundred bytes.
_MAX_STEPS = 1_000_000
# A legitimate tuple, such as the shape of a tensor, has a few elements.
_MAX_TUPLE = 1 << 20


class OversizedError(ValueError):
    """The content of a pickle claims more than the size of the file."""


class _Storage:
    def __init__(self, numel: int) -> None:
        self.numel = numel


class _Inert(dict[Any, Any]):
    """Placeholder for any class, function or object of the pickle: accepts everything and does nothing."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, *args: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Ignore the state of an object."""

    def append(self, item: Any) -> None:
        """Ignore an item."""

    def extend(self, items: Any) -> None:
        """Ignore items."""


class _Rebuilt(_Inert):
    """Placeholder for what makes a tensor, usually of a storage."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if args and isinstance(args[0], _Storage):
            _check_view(*args[:4])


class _FromType(_Inert):
    """Placeholder for the function that calls its first argument with its third."""

    def __init__(self, function: Any, kind: Any, arguments: Any, state: Any) -> None:
        super().__init__()
        if isinstance(function, type) and issubclass(function, _Inert):
            function(*arguments)


_STORAGE_TYPES = {name: type(name, (_Inert,), {"element_size": size}) for name, size in _ELEMENT_SIZES.items()}


class _Stepwise:
    """A file that is read in a limited number of steps."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.steps = 0

    def read(self, size: int) -> bytes:
        self._count()
        return self.file.read(size)

    def readline(self) -> bytes:
        self._count()
        return self.file.readline()

    def _count(self) -> None:
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise OversizedError("it consists of too many parts")


# Python's own unpickler in Python, because the steps of the one in C cannot be replaced; torch's is in Python, too.
_PythonUnpickler: Any = pickle._Unpickler


class _Counter(_PythonUnpickler):  # type: ignore[misc]
    """Reads a pickle and raises `OversizedError` if it claims more than `limit` bytes."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, file: IO[bytes], limit: int) -> None:
        super().__init__(_Stepwise(file))
        self.limit = limit
        self.storages: dict[str, int] = {}
        self.total = 0
        self.copied = 0
        # Elements of tuples that contain others, by identity; the tuples are kept, so that no identity is used again.
        self.elements: dict[int, tuple[int, Any]] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return OrderedDict
        if global_name == "_rebuild_from_type_v2":
            return _FromType
        return _Rebuilt if global_name.startswith("_rebuild") else _STORAGE_TYPES.get(global_name, _Inert)

    def persistent_load(self, pid: Any) -> Any:
        kind, storage_type, key, _, numel, *_ = pid
        is_storage = kind in ("storage", b"storage") and isinstance(key, str | int)
        if not is_storage or not isinstance(numel, int) or numel < 0:
            raise pickle.UnpicklingError("unknown persistent object")
        size = getattr(storage_type, "element_size", 1)
        known = self.storages.get(str(key), 0)
        self.storages[str(key)] = max(numel * size, known)
        self.total += self.storages[str(key)] - known
        if self.total > self.limit:
            raise OversizedError("its storages exceed the file")
        return _Storage(numel)

    def count_call(self) -> None:
        function, arguments = self.stack[-2:]
        if function is _FromType:
            self._count_copies(arguments)
            function, _, arguments, _ = arguments
            if function is _FromType:
                self.refuse()
        # What makes a tensor of a storage takes places in it; for other functions, a number may be a size.
        if function is not _Rebuilt:
            self.copied += sum(abs(value) for value in arguments if isinstance(value, int))
        self._count_copies(arguments)

    def count_state(self) -> None:
        self._count_copies(self.stack[-1:])

    def _count_copies(self, values: Iterable[Any]) -> None:
        self.copied += sum(len(value) for value in values if isinstance(value, Sized))
        if self.copied > self.limit:
            raise OversizedError("its objects exceed the file")

    def count_tuple(self) -> None:
        made = self.stack[-1]
        inner = [value for value in made if isinstance(value, tuple)]
        if inner:
            count = len(made) + sum(self.elements.get(id(value), (len(value),))[0] for value in inner)
            if count > _MAX_TUPLE:
                raise OversizedError("its tuples contain each other too often")
            self.elements[id(made)] = count, made

    def refuse(self) -> None:
        raise pickle.UnpicklingError("a step that torch does not support")


def _one_after_the_other(*steps: Callable[[Any], None]) -> Callable[[Any], None]:
    def run(counter: _Counter) -> None:
        for step in steps:
            step(counter)

    return run


_steps = _Counter.dispatch
for _code in (pickle.REDUCE, pickle.NEWOBJ):
    _steps[_code[0]] = _one_after_the_other(_Counter.count_call, _steps[_code[0]])
for _code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    _steps[_code[0]] = _one_after_the_other(_steps[_code[0]], _Counter.count_tuple)
_steps[pickle.BUILD[0]] = _one_after_the_other(_Counter.count_state, _steps[pickle.BUILD[0]])
# The steps within a frame are not counted.
_steps[pickle.FRAME[0]] = _Counter.refuse


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
                _Counter(io.BytesIO(file.read()), num_bytes).load()
        return
    with path.open("rb") as file:
        for _ in range(_STREAM_PREAMBLE + 1):
            _Counter(file, num_bytes).load()
