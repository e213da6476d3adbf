# SPDX-License-Identifier: Apache-2.0
"""Downloading videos: what is fetched, what is refused, and what a message gives away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clips import frame_number, write_clip
from deepfake_video.video_addresses import printable_name
from deepfake_video.video_decoding import VideoReader
from deepfake_video.video_errors import (
    UnsupportedVideoError,
    VideoError,
    VideoLimits,
    VideoNotFoundError,
    VideoTimeoutError,
    VideoTooLargeError,
    VideoUnreadableError,
)
from deepfake_video.video_fetching import fetch_video, is_public_address


ALLOWED = VideoLimits(allow_private_addresses=True, max_download_s=10)
Answer = Callable[[BaseHTTPRequestHandler], None]


def answer(
    body: bytes = b"", *, status: int = 200, length: int | None = None, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    def send(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)

    return send


def drip(request: BaseHTTPRequestHandler, sent: list[bytes]) -> None:
    """A header byte every 50 ms, for ever."""
    try:
        while True:
            request.wfile.write(b"H")
            request.wfile.flush()
            sent.append(b"H")
            time.sleep(0.05)
    except OSError:
        request.close_connection = True


class Server:
    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append((self.path, dict(self.headers)))
                server.answers.get(self.path, answer(status=404))(self)

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class TestFetching:
    def test_the_body_lies_in_a_file_at_its_beginning(self, server: Server) -> None:
        server.answers["/a.mp4"] = answer(b"body" * 100_000)
        with fetch_video(f"{server.url}/a.mp4", limits=ALLOWED) as file:
            assert file.read() == b"body" * 100_000

    def test_a_video_at_an_address_is_read_like_a_file(self, server: Server, tmp_path: Path) -> None:
        content = write_clip(tmp_path / "clip.mp4").read_bytes()
        server.answers["/clip.mp4?token=secret"] = answer(content, Content_Type="video/mp4")
        with VideoReader(f"{server.url}/clip.mp4?token=secret", limits=ALLOWED) as reader:
            assert reader.name == f"{server.url}/clip.mp4"
            assert [frame_number(frame) for _, frame in reader.frames([7])] == [7]

    def test_what_comes_back_is_checked_like_a_file(self, server: Server) -> None:
        server.answers["/list.mp4"] = answer(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
        with pytest.raises(UnsupportedVideoError, match="file is text"):
            VideoReader(f"{server.url}/list.mp4", limits=ALLOWED)

    def test_redirects_are_followed(self, server: Server) -> None:
        server.answers["/a"] = answer(status=302, Location="/b")
        server.answers["/b"] = answer(status=307, Location=f"{server.url}/c%20d?x=1")
        server.answers["/c%20d?x=1"] = answer(b"here")
        with fetch_video(f"{server.url}/a", limits=ALLOWED) as file:
            assert file.read() == b"here"

    def test_names_of_any_script_are_asked_for_escaped(self, server: Server) -> None:
        server.answers["/vid%C3%A9o%201.mp4"] = answer(b"here")
        fetch_video(f"{server.url}/vidéo 1.mp4", limits=ALLOWED).close()
        assert server.requests[0][1]["Host"] == f"127.0.0.1:{server.port}"

    def test_proxies_of_the_environment_are_not_used(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        server.answers["/a.mp4"] = answer(b"here")
        fetch_video(f"{server.url}/a.mp4", limits=ALLOWED).close()

    def test_no_thread_is_left(self, server: Server) -> None:
        server.answers["/a.mp4"] = answer(b"here")
        for _ in range(5):
            fetch_video(f"{server.url}/a.mp4", limits=ALLOWED).close()
        assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


class TestRefusals:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "169.254.169.254", "10.0.0.1"])
    def test_private_addresses_are_refused(self, host: str) -> None:
        with pytest.raises((VideoUnreadableError, VideoNotFoundError)) as caught:
            fetch_video(f"http://{host}:1/a.mp4", limits=VideoLimits())
        assert "private address" in str(caught.value) or "host does not exist" in str(caught.value)

    def test_a_name_with_one_private_address_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.216.34", "192.168.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a connection was tried"))
        with pytest.raises(VideoUnreadableError, match="private address"):
            fetch_video("http://example.com/a.mp4", limits=VideoLimits())

    def test_a_redirect_to_a_private_address_is_refused(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        server.answers["/a.mp4"] = answer(status=302, Location="http://10.0.0.1/b.mp4")
        checked: list[str] = []

        def only_the_server_is_public(address: str) -> bool:
            checked.append(address)
            return address == "127.0.0.1"

        monkeypatch.setattr("deepfake_video.video_fetching.is_public_address", only_the_server_is_public)
        with pytest.raises(VideoUnreadableError, match="private address"):
            fetch_video(f"{server.url}/a.mp4", limits=VideoLimits())
        assert checked == ["127.0.0.1", "10.0.0.1"]

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/"])
    def test_a_redirect_to_another_protocol_is_refused(self, server: Server, target: str) -> None:
        server.answers["/a.mp4"] = answer(status=302, Location=target)
        with pytest.raises(UnsupportedVideoError, match=r"URL scheme .* is not supported"):
            fetch_video(f"{server.url}/a.mp4", limits=ALLOWED)

    def test_a_circle_of_redirects_ends(self, server: Server) -> None:
        server.answers["/a.mp4"] = answer(status=302, Location="/a.mp4")
        with pytest.raises(VideoUnreadableError, match="more than 5 redirects"):
            fetch_video(f"{server.url}/a.mp4", limits=ALLOWED)
        assert len(server.requests) == 6

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (404, VideoNotFoundError),
            (403, VideoUnreadableError),
            (500, VideoUnreadableError),
            (206, VideoUnreadableError),
        ],
    )
    def test_any_status_but_200_is_an_error(self, server: Server, status: int, error: type[VideoError]) -> None:
        server.answers["/a.mp4"] = answer(b"sorry", status=status)
        with pytest.raises(error, match=str(status)):
            fetch_video(f"{server.url}/a.mp4", limits=ALLOWED)

    def test_a_web_page_is_refused(self, server: Server) -> None:
        server.answers["/watch"] = answer(b"<html>", Content_Type="text/html; charset=utf-8")
        with pytest.raises(UnsupportedVideoError, match="web page"):
            fetch_video(f"{server.url}/watch", limits=ALLOWED)

    def test_an_empty_body_is_refused(self, server: Server) -> None:
        server.answers["/a.mp4"] = answer(b"")
        with pytest.raises(UnsupportedVideoError, match="empty"):
            fetch_video(f"{server.url}/a.mp4", limits=ALLOWED)

    def test_a_connection_that_breaks_is_an_error(self, server: Server) -> None:
        server.answers["/a.mp4"] = answer(b"half", length=8)
        with pytest.raises(VideoUnreadableError, match=r"4 of 8 bytes|download failed"):
            fetch_video(f"{server.url}/a.mp4", limits=ALLOWED)

    def test_nobody_listening_is_unreadable(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        with pytest.raises(VideoUnreadableError, match="the connection failed"):
            fetch_video(f"http://127.0.0.1:{port}/a.mp4", limits=ALLOWED)

    @pytest.mark.parametrize("url", ["http://", "http://[1/a", "http://127.0.0.1:99999/a", "http://a..b/"])
    def test_malformed_addresses_are_video_errors(self, url: str) -> None:
        with pytest.raises(VideoError):
            fetch_video(url, limits=ALLOWED)


class TestLimits:
    def test_an_announced_size_is_checked_first(self, server: Server) -> None:
        server.answers["/a.mp4"] = answer(b"", length=5000)
        limits = VideoLimits(allow_private_addresses=True, max_download_bytes=4000)
        with pytest.raises(VideoTooLargeError, match="4,000 bytes"):
            fetch_video(f"{server.url}/a.mp4", limits=limits)

    def test_an_unannounced_size_is_checked_on_the_way(self, server: Server) -> None:
        def endless(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.end_headers()
            try:
                while True:
                    request.wfile.write(bytes(10_000))
            except OSError:
                request.close_connection = True

        server.answers["/a.mp4"] = endless
        limits = VideoLimits(allow_private_addresses=True, max_download_bytes=1_000_000)
        with pytest.raises(VideoTooLargeError):
            fetch_video(f"{server.url}/a.mp4", limits=limits)

    def test_a_name_that_nobody_resolves_is_left_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        may_answer, answered = threading.Event(), threading.Event()

        def resolve(*_: object, **__: object) -> list[object]:
            may_answer.wait(60)
            answered.set()
            return []

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(VideoTimeoutError, match=r"longer than 0\.2 s"):
            fetch_video("http://slow.example/a.mp4", limits=VideoLimits(max_download_s=0.2))
        assert not answered.is_set()
        may_answer.set()

    def test_a_server_that_sends_a_byte_now_and_then_is_left(self, server: Server) -> None:
        sent: list[bytes] = []
        server.answers["/a.mp4"] = lambda request: drip(request, sent)
        limits = VideoLimits(allow_private_addresses=True, max_download_s=0.4)
        with pytest.raises(VideoTimeoutError, match=r"longer than 0\.4 s"):
            fetch_video(f"{server.url}/a.mp4", limits=limits)
        assert 1 <= len(sent) < 60


class TestNames:
    def test_credentials_and_queries_are_not_told(self) -> None:
        assert printable_name("https://me:secret@example.com:8443/a.mp4?key=1#x") == "https://example.com:8443/a.mp4"

    def test_credentials_are_refused_without_being_told(self) -> None:
        with pytest.raises(UnsupportedVideoError, match="user name") as caught:
            fetch_video("http://me:secret@127.0.0.1/a.mp4", limits=ALLOWED)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "address",
        ["0.0.0.0", "100.64.0.1", "192.168.1.1", "224.0.0.1", "255.255.255.255", "::", "fe80::1", "fc00::1", "ff02::1",
         "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"],
    )  # fmt: skip
    def test_special_addresses_are_not_public(self, address: str) -> None:
        assert not is_public_address(address)

    @pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
    def test_ordinary_addresses_are_public(self, address: str) -> None:
        assert is_public_address(address)
