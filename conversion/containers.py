# SPDX-License-Identifier: Apache-2.0
"""Detects the container of a checkpoint file from its content, and checks it before anything in it is parsed."""

import struct
import zipfile
from pathlib import Path
from typing import Literal

from ..common.safetensors_headers import MAX_HEADER_BYTES, check_header, looks_like_safetensors
from ..common.text import quoted
from .errors import ConversionError, first_duplicate
from .unwrapping import SAVE_AGAIN


Container = Literal["zip", "stream", "safetensors"]

# Limit of the structure of a file without its numbers: far above what these networks need.
MAX_STRUCTURE_BYTES = 16 * 2**20
_OTHER_FILES = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\x89HDF": "an HDF5 file (Keras); only PyTorch checkpoints can be converted",
    b"version https://git-lfs": "a Git LFS pointer instead of the weights; run `git lfs pull` first",
    b"<": "a web page; download the file itself",
    b"BZh": "a bzip2 archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
}


def find_container(path: Path, num_bytes: int) -> Container:
    """
    Detect the container of a checkpoint file and check its structure.

    Args:
        path: The file.
        num_bytes: Size of the file.

    Returns:
        `"zip"`, `"stream"` (PyTorch before 1.6) or `"safetensors"`.

    Raises:
        ConversionError: If the file is of another kind, damaged, or unsafe to parse.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    # First, because a safetensors file begins with the length of its header, which may equal any other mark.
    if looks_like_safetensors(head, num_bytes):
        _check_safetensors_header(path, num_bytes, int.from_bytes(head[:8], "little"))
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path, num_bytes)
        return "zip"
    for start, description in _OTHER_FILES.items():
        if head.startswith(start):
            raise ConversionError(f"{quoted(path)} is {description}.", reason="file")
    if head[257:262] == b"ustar" or b"sys_info" in head[:100]:
        raise ConversionError(
            f"{quoted(path)} is a tar archive: unpack it if it contains a checkpoint; if it was written by PyTorch "
            f"before 0.1.10, {SAVE_AGAIN}.",
            reason="file",
        )
    if head[:1] == b"\x80":
        return "stream"
    if len(head) > 9 and head[8:9] == b"{":
        _check_safetensors_header(path, num_bytes, int.from_bytes(head[:8], "little"))
    raise ConversionError(
        f"{quoted(path)} is neither a PyTorch checkpoint nor a safetensors file, or its beginning is damaged; "
        "download it again.",
        reason="file",
    )


def _check_safetensors_header(path: Path, num_bytes: int, header_bytes: int) -> None:
    if header_bytes > num_bytes - 8:
        raise ConversionError(
            f"{quoted(path)} is truncated: its safetensors header claims {header_bytes} bytes; download it again.",
            reason="file",
        )
    if header_bytes > MAX_HEADER_BYTES:
        raise ConversionError(
            f"{quoted(path)} has a safetensors header of {header_bytes} bytes, more than {MAX_HEADER_BYTES}; it is "
            "not a supported checkpoint.",
            reason="unsafe",
        )
    try:
        check_header(path)
    except ValueError as error:
        raise ConversionError(f"{quoted(path)} {error}", reason="weights") from error


def _check_zip(path: Path, num_bytes: int) -> None:
    directory = _zip_directory_bytes(path, num_bytes)
    if directory is None:
        raise ConversionError(f"{quoted(path)} is truncated or damaged; download it again.", reason="file")
    if directory > MAX_STRUCTURE_BYTES:
        raise _bomb(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise ConversionError(f"{quoted(path)} is truncated or damaged; download it again.", reason="file") from error
    _check_names([entry.filename for entry in entries], path)
    # `torch.save` does not compress, so an archive that unpacks to more than its size is a bomb.
    if (
        any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries)
        or sum(entry.file_size for entry in entries) > num_bytes
        or any(entry.filename.endswith(".pkl") and entry.file_size > MAX_STRUCTURE_BYTES for entry in entries)
    ):
        raise _bomb(path)


def _zip_directory_bytes(path: Path, num_bytes: int) -> int | None:
    """Return the size of the central directory, before anything parses it; `None` if there is none."""
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


def _check_names(names: list[str], path: Path) -> None:
    for name in names:
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise ConversionError(
                f"{quoted(path)} contains an entry {quoted(name)} that points outside the archive; do not use it.",
                reason="unsafe",
            )
    if (repeated := first_duplicate(names)) is not None:
        raise ConversionError(
            f"{quoted(path)} contains the entry {quoted(repeated)} twice, which is ambiguous; save it again.",
            reason="unsafe",
        )
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        raise ConversionError(
            f"{quoted(path)} is a TorchScript archive, which is a program; {SAVE_AGAIN}.", reason="unsafe"
        )
    if sum(name.split("/")[-1] == "data.pkl" for name in names) != 1:
        raise ConversionError(
            f"{quoted(path)} is a zip archive without a checkpoint; unpack it and convert the file inside.",
            reason="file",
        )


def _bomb(path: Path) -> ConversionError:
    return ConversionError(
        f"{quoted(path)} is a compressed or inflated archive, which torch.save never writes: {SAVE_AGAIN}.",
        reason="unsafe",
    )
