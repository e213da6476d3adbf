# SPDX-License-Identifier: Apache-2.0
"""From the name of a video to an open, readable file: checked local files, and guarded downloads.

The errors and limits of all video reading live here too, at the bottom of the import order.
"""

from __future__ import annotations

import errno
import http.client
import ipaddress
import math
import os
import queue
import re
import socket
import ssl
import stat
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import IO, Any, ClassVar, Literal
from urllib.parse import quote, urljoin, urlsplit


__all__ = [
    "UnsupportedVideoError",
    "VideoDecodeError",
    "VideoError",
    "VideoLimits",
    "VideoNotFoundError",
    "VideoTimeoutError",
    "VideoTooLargeError",
    "VideoUnreadableError",
    "fetch_video",
    "is_url",
    "open_video_file",
    "printable_name",
]

MAX_REDIRECTS = 5
STALL_S = 15.0
CHUNK_BYTES = 1 << 18
HEAD_BYTES = 1024
_NO_SUCH_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
_STILL_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\x00", b"MM\x00*", b"\x00\x00\x01\x00", b"8BPS")
_MAX_PNG_CHUNKS = 1000
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif")
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
_URL_SAFE = "/%:=&?~+!$,;'@()*[]|"


# Why a video could not be judged, for programs.
FailureReason = Literal["no_face", "decode_error", "unsupported", "too_large", "not_found", "unreadable", "timeout"]


class VideoError(ValueError):
    """A video that cannot be judged: `str(error)` is one line that names the file, the reason and the way out.

    `reason` is the machine-readable status; the pair (name, message) survives pickling between processes.
    """

    reason: ClassVar[FailureReason] = "decode_error"

    def __init__(self, source: object, message: str) -> None:
        self.name = printable_name(source)
        self.message = " ".join(message.split())
        super().__init__(self.name, self.message)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


class VideoNotFoundError(VideoError):
    """There is no such file."""

    reason = "not_found"


class VideoUnreadableError(VideoError):
    """The file or address exists but cannot be read: permission, input/output, network."""

    reason = "unreadable"


class UnsupportedVideoError(VideoError):
    """Not a video, or of a kind that is not read here."""

    reason = "unsupported"


class VideoDecodeError(VideoError):
    """A video of which nothing decodes."""

    reason = "decode_error"


class VideoTooLargeError(VideoError):
    """The video exceeds a limit in pixels, packets or bytes."""

    reason = "too_large"


class VideoTimeoutError(VideoError):
    """Reading the video took longer than allowed."""

    reason = "timeout"


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """What reading one video may cost. A matter of the machine's owner: never stored in a checkpoint.

    Args:
        max_frame_pixels: Largest width times height of a frame.
        max_read_s: Seconds for reading and decoding one video; `None` allows 25 s for up to 32 frames and a
            second more for every further four.
        max_download_bytes: Largest file fetched from a URL.
        max_download_s: Seconds for fetching it, redirects included.
        allow_private_addresses: Whether URLs may lead to loopback, private and link-local addresses.
        decode_threads: Threads of the decoder; `None` takes one a core, up to 8.

    Raises:
        ValueError: if a limit is not a positive number.
    """

    max_frame_pixels: int = 40_000_000
    max_read_s: float | None = None
    max_download_bytes: int = 2_000_000_000
    max_download_s: float = 300.0
    allow_private_addresses: bool = False
    decode_threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_frame_pixels", "max_download_bytes", "decode_threads"):
            value = getattr(self, name)
            optional = name == "decode_threads" and value is None
            if not optional and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        for name in ("max_read_s", "max_download_s"):
            value = getattr(self, name)
            optional = name == "max_read_s" and value is None
            if not optional and not (type(value) in (int, float) and 0 < value < math.inf):
                raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")
        if type(self.allow_private_addresses) is not bool:
            raise ValueError(f"allow_private_addresses must be true or false, got {self.allow_private_addresses!r}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> VideoLimits:
        """Reads DEEPFAKE_VIDEO_MAX_FRAME_PIXELS and so on, one variable a field; unset or empty means the default.

        Raises:
            ValueError: if a variable does not hold a fitting value.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, int | float | bool] = {}
        for field in fields(cls):
            variable = f"DEEPFAKE_VIDEO_{field.name.upper()}"
            text = environment.get(variable, "").strip()
            if not text:
                continue
            try:
                values[field.name] = _parse_limit(field.name, text)
                cls(**{field.name: values[field.name]})  # type: ignore[arg-type]
            except ValueError as error:
                raise ValueError(f"the environment variable {variable}={text!r} is no good: {error}") from None
        return cls(**values)  # type: ignore[arg-type]

    def read_allowance_s(self, num_frames: int) -> float:
        """Seconds allowed for reading `num_frames` frames of one video."""
        if self.max_read_s is not None:
            return float(self.max_read_s)
        return 25.0 + max(num_frames - 32, 0) / 4


def _parse_limit(name: str, text: str) -> int | float | bool:
    if name == "allow_private_addresses":
        choices = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in choices:
            raise ValueError("it must be 1 or 0")
        return choices[text.lower()]
    try:
        return float(text) if name.endswith("_s") else int(text.replace("_", ""))
    except ValueError:
        raise ValueError("it must be a number") from None


def is_url(source: object) -> bool:
    """Whether a source is a string that starts like a web address."""
    return isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE) is not None


def printable_name(source: object) -> str:
    """A name for messages: one printable line; of a URL without user name, password and query."""
    text = os.fsdecode(source) if isinstance(source, (str, bytes, os.PathLike)) else str(source)
    if is_url(text):
        try:
            parts = urlsplit(text)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
            text = f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
        except ValueError:
            text = text.partition(":")[0] + "://…"
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return text if len(text) <= 300 else f"{text[:140]}…{text[-140:]}"


def open_video_file(source: str | os.PathLike[str], *, limits: VideoLimits) -> IO[bytes]:
    """Opens a video as an unbuffered binary file at position 0, which the caller closes.

    An existing path is always itself, whatever it looks like (`http:clip.mp4`); only a name that no file has is
    taken for a URL, and only http and https are.

    Raises:
        VideoNotFoundError: if there is no such file.
        UnsupportedVideoError: if it is no regular file, is empty, or its first bytes are text or a still picture.
        VideoUnreadableError: if it cannot be read or fetched.
        VideoTooLargeError, VideoTimeoutError: if a download exceeds its limits.
    """
    if is_url(source) and not os.path.lexists(source):
        file = fetch_video(str(source), limits=limits)
    else:
        file = _open_regular_file(source)
    try:
        _refuse_lookalikes(file, source)
    except BaseException:
        file.close()
        raise
    return file


def _open_regular_file(source: str | os.PathLike[str]) -> IO[bytes]:
    # O_NONBLOCK: opening a FIFO that nobody writes to would otherwise wait for ever.
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(source, flags)
    except FileNotFoundError:
        raise VideoNotFoundError(source, "there is no such file") from None
    except (OSError, ValueError) as error:
        if os.path.isdir(source):  # what Windows calls a permission error
            raise UnsupportedVideoError(source, "this is a directory; name a video file") from None
        if isinstance(error, (NotADirectoryError, ValueError)) or error.errno in _NO_SUCH_NAME:
            raise VideoNotFoundError(source, "there is no such file") from None
        raise VideoUnreadableError(source, f"it cannot be opened ({error.strerror or error})") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "directory" if stat.S_ISDIR(status.st_mode) else "device, pipe or socket"
            raise UnsupportedVideoError(source, f"this is a {kind}; name a video file")
        if status.st_size == 0:
            raise UnsupportedVideoError(source, "the file is empty; download or copy it again")
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def _refuse_lookalikes(file: IO[bytes], source: object) -> None:
    """Refuses what a demuxer must never see: text (playlists, scripts, web pages) and still pictures."""
    try:
        head = file.read(HEAD_BYTES)
        is_moving = _is_animated_png(file)
        file.seek(0)
    except OSError as error:
        raise VideoUnreadableError(source, f"it cannot be read ({error.strerror or error})") from None
    if is_moving or head.startswith(b"YUV4MPEG2 "):
        return  # its header is text, and its pixels need not hold a control byte
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    # No container of pictures gets through its first kilobyte without a control byte.
    has_control_bytes = len(head.translate(None, _CONTROL_BYTES)) < len(head)
    is_text = not has_control_bytes or head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if is_text or re.match(rb"#ext|ffconcat|<|\[playlist|v=0|webvtt|[a-z]+://", start, re.IGNORECASE):
        raise UnsupportedVideoError(source, "this is not a video (the file holds text); name the video itself")
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    if is_webp and head[12:16] == b"VP8X" and head[20:21] and head[20] & 2:
        raise UnsupportedVideoError(
            source, "this is an animated WebP picture, which is not supported; convert it to mp4"
        )
    is_heif = head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS
    if head.startswith(_STILL_PICTURES) or is_webp or is_heif:
        raise UnsupportedVideoError(source, "this is not a video (the file is a still picture)")


def _is_animated_png(file: IO[bytes]) -> bool:
    """Whether a PNG file announces an animation (chunk acTL) before its first picture."""
    file.seek(0)
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return False
    for _ in range(_MAX_PNG_CHUNKS):
        header = file.read(8)
        if len(header) < 8 or header[4:] in (b"acTL", b"IDAT"):
            return header[4:] == b"acTL"
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)
    return False


def fetch_video(url: str, *, limits: VideoLimits) -> IO[bytes]:
    """Downloads a video into an anonymous temporary file and returns it at position 0; the caller closes it.

    Every host on the way, redirects included, is resolved once and only checked addresses are connected to, so a
    name that changes its mind (DNS rebinding) gains nothing. Proxies named in the environment are not used: a
    proxy would resolve the name itself, out of reach of the check.

    Raises:
        UnsupportedVideoError: if the address is not one of http(s) or a web page came back.
        VideoNotFoundError: if the server says 404 or 410, or the host does not exist.
        VideoUnreadableError: if the address is private, the server says no, or the connection fails.
        VideoTooLargeError: if the file exceeds `limits.max_download_bytes`.
        VideoTimeoutError: if the download takes longer than `limits.max_download_s`.
    """
    deadline = time.monotonic() + limits.max_download_s
    address = url
    for _ in range(MAX_REDIRECTS + 1):
        connection = _connect(address, url, limits, deadline)
        # Closing from outside bounds the whole exchange, also a server that sends a byte now and then.
        watchdog = threading.Timer(max(deadline - time.monotonic(), 0), _hang_up, [connection.sock])
        watchdog.start()
        try:
            parts = urlsplit(address)
            target = quote(parts._replace(scheme="", netloc="", fragment="").geturl() or "/", safe=_URL_SAFE)
            headers = {"User-Agent": "deepfake-video", "Accept": "video/*, */*;q=0.5", "Accept-Encoding": "identity"}
            connection.request("GET", target if target.startswith("/") else f"/{target}", headers=headers)
            response = connection.getresponse()
            location = response.getheader("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                address = urljoin(address, location)
                continue
            _check_response(response, url, limits)
            return _save_body(response, url, limits, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, VideoError):
                raise
            if time.monotonic() >= deadline:
                raise _download_timeout(url, limits) from None
            raise VideoUnreadableError(url, f"the download failed ({_say(error)}); try again") from None
        finally:
            watchdog.cancel()
            watchdog.join()
            connection.close()
    raise VideoUnreadableError(url, f"more than {MAX_REDIRECTS} redirects; give the final address")


def _connect(address: str, url: str, limits: VideoLimits, deadline: float) -> http.client.HTTPConnection:
    """Opens a connection to the host of `address`, through an IP address that was checked beforehand."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        has_credentials = "@" in parts.netloc
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:
        raise UnsupportedVideoError(url, "this is not a valid web address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UnsupportedVideoError(url, f"it leads to an address of kind {parts.scheme!r}; only http(s) is followed")
    if has_credentials:
        raise UnsupportedVideoError(url, "addresses with a user name or password are not fetched; download it first")
    sock = None
    try:
        found = _resolve(host, port, deadline)
        if not limits.allow_private_addresses and not all(is_public_address(str(entry[4][0])) for entry in found):
            raise VideoUnreadableError(
                url, "it leads to a private address; set DEEPFAKE_VIDEO_ALLOW_PRIVATE_ADDRESSES=1 to allow that"
            )
        sock = _connect_socket([entry[4] for entry in found], deadline)
        if parts.scheme == "http":
            connection = http.client.HTTPConnection(host, port)
        else:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, context=context)
            sock = context.wrap_socket(sock, server_hostname=host)
        connection.sock = sock
        return connection
    except socket.gaierror:
        raise VideoNotFoundError(url, "there is no such host") from None
    except (OSError, UnicodeError) as error:
        if sock is not None:
            sock.close()
        if time.monotonic() >= deadline:
            raise _download_timeout(url, limits) from None
        raise VideoUnreadableError(url, f"no connection ({_say(error)}); try again") from None


def _resolve(host: str, port: int, deadline: float) -> list[Any]:
    """What `getaddrinfo` says before the time is over: it knows no limit itself, so it works beside us."""
    answers: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        answer = answers.get(timeout=max(deadline - time.monotonic(), 0))
    except queue.Empty:
        raise TimeoutError(errno.ETIMEDOUT, "the name of the host was not resolved in time") from None
    asking.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _connect_socket(addresses: list[tuple[object, ...]], deadline: float) -> socket.socket:
    failure: OSError = OSError("the host has no address")
    for address in dict.fromkeys(addresses):
        family = socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(min(STALL_S, deadline - time.monotonic()), 0.01))
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def is_public_address(text: str) -> bool:
    """Whether an IP address belongs to the public internet, looking through IPv4 inside IPv6."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast and not address.is_reserved


def _hang_up(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed in the same moment, which is all that was wanted


def _check_response(response: http.client.HTTPResponse, url: str, limits: VideoLimits) -> None:
    if response.status in (404, 410):
        raise VideoNotFoundError(url, f"the server says {response.status}, there is no such file")
    if response.status != 200:
        raise VideoUnreadableError(url, f"the server says {response.status} instead of sending a video")
    kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise UnsupportedVideoError(url, "this is a web page, not a video; give the address of the video file")
    if (response.length or 0) > limits.max_download_bytes:
        raise _too_large(url, limits)


def _save_body(response: http.client.HTTPResponse, url: str, limits: VideoLimits, deadline: float) -> IO[bytes]:
    announced, received = response.length, 0
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        while chunk := response.read(CHUNK_BYTES):
            received += len(chunk)
            if received > limits.max_download_bytes:
                raise _too_large(url, limits)
            if time.monotonic() >= deadline:
                raise _download_timeout(url, limits)
            file.write(chunk)
        if time.monotonic() >= deadline:
            raise _download_timeout(url, limits)
        if announced is not None and received < announced:
            raise VideoUnreadableError(url, f"the connection ended after {received} of {announced} bytes; try again")
        if received == 0:
            raise UnsupportedVideoError(url, "the server sent an empty file")
        file.seek(0)
        return file
    except BaseException:
        file.close()
        raise


def _too_large(url: str, limits: VideoLimits) -> VideoTooLargeError:
    bound = f"{limits.max_download_bytes:,} bytes"
    return VideoTooLargeError(
        url, f"the file is larger than {bound}; download it first or raise DEEPFAKE_VIDEO_MAX_DOWNLOAD_BYTES"
    )


def _download_timeout(url: str, limits: VideoLimits) -> VideoTimeoutError:
    bound = f"{limits.max_download_s:g} s"
    return VideoTimeoutError(
        url, f"the download took longer than {bound}; download it first or raise DEEPFAKE_VIDEO_MAX_DOWNLOAD_S"
    )


def _say(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
