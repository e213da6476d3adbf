# SPDX-License-Identifier: Apache-2.0
"""Read a video from a store such as Amazon S3 through fsspec: in parts, as they are needed, within limits."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .video_addresses import STORE_SCHEMES, is_store_address, printable_name
from .video_deadlines import call_within
from .video_errors import (
    UnsupportedVideoError,
    VideoError,
    VideoLimits,
    VideoNotFoundError,
    VideoTimeoutError,
    VideoTooLargeError,
    VideoUnreadableError,
)


__all__ = [
    "Fetched",
    "StoreFile",
    "check_store_address",
    "explain_failure",
    "open_store",
    "open_store_file",
    "read_version",
]

# The package that each scheme needs beside fsspec, and the extra of this package that installs it.
STORE_PACKAGES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "hf": ("huggingface_hub", "")}
BLOCK_BYTES = 1 << 18
# A file of at most this size is fetched at once.
SMALL_BYTES = 4 << 20
# The further a file is read without a jump, the more blocks are fetched at once.
MAX_BLOCKS_AT_ONCE = 32
# Names under which the stores report what changes with the content of a file.
_VERSIONS = ("ETag", "etag", "generation", "blob_id", "md5Hash", "created", "mtime")


@dataclass
class Fetched:
    """What was fetched of a file in a store.

    Attributes:
        num_bytes: Number of bytes that were fetched so far.
        size_bytes: Size of the file.
        version: Size and version of the file as the store gives it; it changes with the content.
    """

    num_bytes: int
    size_bytes: int
    version: str


def open_store(address: str) -> tuple[Any, str]:
    """Return the file system of an address (`fsspec.AbstractFileSystem`) and the path of the file in it.

    Only the schemes of `STORE_SCHEMES` are opened, and addresses are not chained, whatever else fsspec supports.
    Credentials are those of the environment: what the command line tools of the store use.

    Raises:
        VideoUnreadableError: If [`check_store_address`] finds a problem.
    """
    if problem := check_store_address(address):
        raise VideoUnreadableError(address, problem)
    scheme, _, rest = address.partition("://")
    scheme = scheme.lower()
    fsspec = importlib.import_module("fsspec")
    # A cached listing may be out of date.
    file_system = fsspec.filesystem(scheme, use_listings_cache=False)
    return file_system, file_system._strip_protocol(f"{scheme}://{rest}")


def check_store_address(address: str) -> str | None:
    """Return why an address cannot be opened and what to do, or `None` if it looks right; no store is asked."""
    if not is_store_address(address):
        return f"the scheme must be one of {', '.join(STORE_SCHEMES)}"
    if "@" in address.partition("://")[2].partition("/")[0]:
        return "an address must not contain a user name or password; give credentials in the environment"
    package, extra = STORE_PACKAGES.get(address.partition("://")[0].lower(), ("fsspec", ""))
    if importlib.util.find_spec(package) is None:
        wanted = f"'deepfake-video[{extra}]'" if extra else package
        return f"this address needs {package}: pip install {wanted}"
    return None


def open_store_file(address: str, *, limits: VideoLimits) -> StoreFile:
    """Open a file in a store. Nothing but its size and version is fetched before it is read.

    Raises:
        VideoNotFoundError: If the file does not exist.
        UnsupportedVideoError: If the address is a folder, or the file is empty.
        VideoUnreadableError: If the store cannot be reached or denies access, or a package is missing.
        VideoTimeoutError: If the store does not answer in time.
    """
    file_system, key = open_store(address)
    try:
        info = call_within(limits.max_download_s, file_system.info, key)
    except Exception as error:
        raise explain_failure(error, address, limits) from None
    if info.get("type") != "file" or info.get("size") is None:
        raise UnsupportedVideoError(address, "this is a folder; give the address of a video file")
    if not info["size"]:
        raise UnsupportedVideoError(address, "the file is empty; copy it again")
    # Without a cache of its own, which would fetch more than is asked for and counted.
    options = {"cache_type": "none"} if address.lower().startswith("hf:") else {}
    return StoreFile(address, functools.partial(file_system.cat_file, **options), key, info, limits)


def read_version(address: str) -> str | None:
    """Return the present size and version of a file in a store as in [`Fetched`]; `None` if it cannot be read."""
    try:
        file_system, key = open_store(address)
        return _version(call_within(VideoLimits.from_environment().max_download_s, file_system.info, key))
    except Exception:  # Whatever the reason is, the video is read again, which reports it.
        return None


class StoreFile(io.RawIOBase):
    """A file in a store as a binary file whose parts are fetched when they are read, each of them once.

    The parts are kept in a sparse temporary file without a name.

    Args:
        address: Its address, for messages.
        fetch: `cat_file` of its file system, with the arguments path, start and end.
        key: Its path in the file system.
        info: What the store tells about the file.
        limits: Limits on the bytes that are fetched and on the seconds that this takes.

    Attributes:
        fetched: What was fetched so far.
        waited_s: Seconds that fetching took so far.
    """

    def __init__(
        self, address: str, fetch: Callable[..., bytes], key: str, info: Mapping[str, Any], limits: VideoLimits
    ) -> None:
        super().__init__()
        self.fetched = Fetched(num_bytes=0, size_bytes=int(info["size"]), version=_version(info))
        self.waited_s = 0.0
        self._address, self._fetch_range, self._key, self._limits = address, fetch, key, limits
        self._cache = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._cache.truncate(self.fetched.size_bytes)
        self._has_block = bytearray(-(-self.fetched.size_bytes // BLOCK_BYTES))
        self._position, self._blocks_at_once = 0, 0
        self._zeros: Sequence[tuple[int, int]] = ()

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, which fetches nothing, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.fetched.size_bytes}[whence]
        if start + offset < 0:
            raise ValueError("a position cannot be negative")
        if start + offset != self._position:
            self._position, self._blocks_at_once = start + offset, 0
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the position on, and return the number of bytes.

        Raises:
            VideoError: If a part that is missing cannot be fetched.
        """
        view = memoryview(buffer).cast("B")
        size = max(min(len(view), self.fetched.size_bytes - self._position), 0)
        end = self._position + size
        if size and not any(start <= self._position and end <= stop for start, stop in self._zeros):
            self._fetch_blocks(self._position // BLOCK_BYTES, -(-end // BLOCK_BYTES))
        # What was not fetched reads as zeros, because the file is sparse.
        self._cache.seek(self._position)
        view[:size] = self._cache.read(size)
        self._position = end
        return size

    @contextlib.contextmanager
    def without_fetching(self, spans: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Within the block, what lies in these spans (first byte, end) reads as zeros unless it was fetched before."""
        self._zeros = spans
        try:
            yield
        finally:
            self._zeros = ()

    def sha256(self) -> str | None:
        """Return the SHA-256 of the file in hexadecimal; `None` if it was not fetched whole."""
        if not all(self._has_block):
            return None
        digest = hashlib.sha256()
        self._cache.seek(0)
        while block := self._cache.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file and remove what was fetched."""
        self._cache.close()
        super().close()

    def _fetch_blocks(self, first: int, stop: int) -> None:
        while (first := self._has_block.find(0, first)) != -1 and first < stop:
            self._blocks_at_once = max(1, min(2 * self._blocks_at_once, MAX_BLOCKS_AT_ONCE))
            is_small = self.fetched.size_bytes <= SMALL_BYTES
            wanted = len(self._has_block) if is_small else max(stop, first + self._blocks_at_once)
            end = self._has_block.find(1, first, wanted)
            end = min(wanted, len(self._has_block)) if end == -1 else end
            self._fetch(first * BLOCK_BYTES, min(end * BLOCK_BYTES, self.fetched.size_bytes))
            self._has_block[first:end] = b"\1" * (end - first)
            first = end

    def _fetch(self, start: int, end: int) -> None:
        limits, begun_s = self._limits, time.monotonic()
        if self.fetched.num_bytes + end - start > limits.max_download_bytes:
            raise VideoTooLargeError(
                self._address,
                f"more than {limits.max_download_bytes:,} bytes of it would be fetched; download it first or raise "
                "DEEPFAKE_VIDEO_MAX_DOWNLOAD_BYTES",
            )
        try:
            left_s = limits.max_download_s - self.waited_s
            content = call_within(left_s, self._fetch_range, self._key, start=start, end=end)
        except Exception as error:
            raise explain_failure(error, self._address, limits) from None
        finally:
            self.waited_s += time.monotonic() - begun_s
        if len(content) != end - start:
            raise VideoUnreadableError(self._address, "the store sent more or fewer bytes than requested; try again")
        self.fetched.num_bytes += len(content)
        self._cache.seek(start)
        self._cache.write(content)


def explain_failure(error: Exception, address: str, limits: VideoLimits) -> VideoError:
    """Turn an error of a store into one of the video, without the words of the store: they may contain credentials."""
    if isinstance(error, VideoError):
        return error
    if isinstance(error, FileNotFoundError):
        return VideoNotFoundError(address, "there is no such file in the store")
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        scheme = printable_name(address).partition("://")[0]
        return VideoUnreadableError(address, f"access was denied; check the credentials for {scheme}:// addresses")
    if isinstance(error, TimeoutError):
        return VideoTimeoutError(
            address, f"fetching took longer than {limits.max_download_s:g} s; raise DEEPFAKE_VIDEO_MAX_DOWNLOAD_S"
        )
    return VideoUnreadableError(address, f"the store could not be read ({type(error).__name__}); try again")


def _version(info: Mapping[str, Any]) -> str:
    known = next((info[name] for name in _VERSIONS if info.get(name)), "")
    return f"{info['size']}-{str(known).strip(chr(34))}"
