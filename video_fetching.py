# SPDX-License-Identifier: Apache-2.0
"""Download a video from an untrusted URL: public addresses only, with limits on size and time."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import tempfile
import threading
import time
from typing import IO
from urllib.parse import quote, urljoin, urlsplit

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


__all__ = ["fetch_video", "is_public_address"]

MAX_REDIRECTS = 5
STALL_S = 15.0
CHUNK_BYTES = 1 << 18
_URL_SAFE = "/%:=&?~+!$,;'@()*[]|"


def fetch_video(url: str, *, limits: VideoLimits) -> IO[bytes]:
    """Download a video into an anonymous temporary file and return it at position 0; the caller closes it.

    Every host, those of redirects included, is resolved once, and only addresses that were checked are connected to;
    this prevents DNS rebinding. Proxies named in the environment are not used: a proxy would resolve the name itself,
    and its address could not be checked.

    Args:
        url: An http(s) URL.
        limits: Limits of the download.

    Raises:
        UnsupportedVideoError: If the URL is not an http(s) one, or the server sends a web page.
        VideoNotFoundError: If the server answers 404 or 410, or the host does not exist.
        VideoUnreadableError: If the address is private, the server refuses, or the connection fails.
        VideoTooLargeError: If the file exceeds `limits.max_download_bytes`.
        VideoTimeoutError: If the download takes longer than `limits.max_download_s`.
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
    """Open a connection to the host of `address`, through an IP address that was checked before."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        has_credentials = "@" in parts.netloc
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:
        raise UnsupportedVideoError(url, "this is not a valid web address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UnsupportedVideoError(url, f"the URL scheme {parts.scheme!r} is not supported; use http(s)")
    if has_credentials:
        raise UnsupportedVideoError(
            url, "addresses with a user name or password are not fetched; download the file first"
        )
    sock = None
    try:
        found = call_within(deadline - time.monotonic(), socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        if not limits.allow_private_addresses and not all(is_public_address(str(entry[4][0])) for entry in found):
            raise VideoUnreadableError(
                url,
                "the URL resolves to a private address; set DEEPFAKE_VIDEO_ALLOW_PRIVATE_ADDRESSES=1 to allow that",
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
        raise VideoNotFoundError(url, "the host does not exist") from None
    except (OSError, UnicodeError) as error:
        if sock is not None:
            sock.close()
        if time.monotonic() >= deadline:
            raise _download_timeout(url, limits) from None
        raise VideoUnreadableError(url, f"the connection failed ({_say(error)}); try again") from None


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
    """Return whether an IP address is public; an IPv4 address embedded in IPv6 is checked itself."""
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
        raise VideoNotFoundError(url, f"the server responded with {response.status}: the file does not exist")
    if response.status != 200:
        raise VideoUnreadableError(url, f"the server responded with {response.status} instead of a video")
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
