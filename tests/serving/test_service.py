# SPDX-License-Identifier: Apache-2.0
"""The HTTP service: what it answers, what it refuses, and what it leaves behind."""

import errno
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import jsonschema
import pytest
from PIL import Image

from browser import open_tab
from deepfake_video import ServicePlan, VideoLimits
from deepfake_video.cli import main
from deepfake_video.common.errors import UsageError, WorkError
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.sample import draw_face
from deepfake_video.serving.judging import display_name, judge, limits_for_uploads
from drawn_faces import redness_detector, write_people


pytest.importorskip("fastapi_offline", reason='the service is not installed (pip install ".[serve]")')
import uvicorn
from starlette.testclient import TestClient

from deepfake_video.serving.connections import bounded_connections
from deepfake_video.serving.service import build_service, serve


ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "scanning/result.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return redness_detector(threshold=0.2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_people(tmp_path_factory.mktemp("clips") / "edited.mp4", seconds=2, tinted=(0.0, 2.0))


def client_of(detector: Any, folder: Path, **plan: Any) -> TestClient:
    return TestClient(build_service(detector, ServicePlan(**plan), folder), raise_server_exceptions=False)


@pytest.fixture
def client(detector, tmp_path) -> Iterator[TestClient]:
    with client_of(detector, tmp_path, max_bytes=500_000) as client:
        yield client


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_gets_the_result_of_predict(client, detector, clip):
    reply = client.post("/score", files={"file": ("clip.mp4", clip.read_bytes())})
    assert reply.status_code == 200
    result = reply.json()
    jsonschema.validate(result, SCHEMA)
    expected = {**json.loads(detector.score(clip).to_json()), "path": "clip.mp4"}
    assert {**result, "created": None} == {**expected, "created": None}


def test_an_upload_with_the_ending_of_another_format_has_the_warning_of_predict(client, clip):
    stream = io.BytesIO()
    Image.fromarray(draw_face(0.3)).save(stream, "PNG")
    reply = client.post("/score", files={"file": ("C:\\videos\\pp.mp4", stream.getvalue())})
    assert (reply.status_code, reply.json()["media"]) == (200, "image")
    assert "the file is a picture in PNG format, although its name ends in .mp4" in reply.json()["warnings"]
    reply = client.post("/score", files={"file": ("photo.jpg", clip.read_bytes())})
    assert "the file is a video, although its name ends in .jpg" in reply.json()["warnings"]


def test_an_upload_is_removed(client, clip, tmp_path):
    client.post("/score", files={"file": ("clip.mp4", clip.read_bytes())})
    client.post("/score", files={"file": ("broken.mp4", b"\0" * 1000)})
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"a letter", "unsupported"), (b"", "unsupported"), (b"\x00\x00\x00\x18ftypisom" + bytes(200), "decode_error")],
)
def test_a_bad_video_is_422_with_a_result_that_says_why(client, content, status, tmp_path):
    reply = client.post("/score", files={"file": ("clip.mp4", content)})
    assert reply.status_code == 422
    result = reply.json()
    jsonschema.validate(result, SCHEMA)
    assert result["status"] == status
    assert result["message"].startswith("clip.mp4: ")
    assert str(tmp_path) not in reply.text


def test_a_video_without_a_face_is_422(client, tmp_path_factory):
    from clips import write_clip

    path = write_clip(tmp_path_factory.mktemp("faceless") / "a.mp4")
    reply = client.post("/score", files={"file": ("a.mp4", path.read_bytes())})
    assert (reply.status_code, reply.json()["status"]) == (422, "no_face")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "C:\\x\\passwd", "passwd"])
def test_a_file_name_is_only_displayed(client, clip, name, tmp_path):
    reply = client.post("/score", files={"file": (name, clip.read_bytes())})
    assert reply.json()["path"] == "passwd"
    assert files_in(tmp_path) == []


def test_a_name_is_one_short_printable_line():
    assert display_name("a\nb\x1b.mp4") == "a\\nb\\x1b.mp4"
    assert len(display_name("x" * 5000)) < 400
    assert display_name("..\\..\\") == ".."
    assert display_name("") == "upload"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_request_is_413(client, is_chunked, tmp_path):
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(600_000) + b"\r\n--x--"
    parts = iter([body[:300_000], body[300_000:]])
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = client.post("/score", content=parts if is_chunked else body, headers=headers)
    assert reply.status_code == 413
    assert reply.json() == {"status": "too_large", "message": "the request is larger than 500,000 bytes"}
    assert files_in(tmp_path) == []


def test_a_long_video_is_413(tmp_path, clip):
    detector = redness_detector(limits=VideoLimits(max_duration_s=1.5))
    reply = client_of(detector, tmp_path).post("/score", files={"file": ("clip.mp4", clip.read_bytes())})
    assert reply.status_code == 413
    assert reply.json()["message"] == ("clip.mp4: the video lasts 2 s, and at most 1.5 s are allowed; shorten it")


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"url": "https://example.com/a.mp4"}},
        {"files": {"other": ("a", b"x")}},
        {"data": {"file": "text"}},
        {"files": {"file": ("a", b"x")}, "data": {"url": "https://example.com"}},
        {"files": [("file", ("a", b"x")), ("file", ("b", b"x"))]},
        {"files": {"file": ("a", b"x")}, "data": {"threshold": "0.9"}},
        {"data": {"url": "https://example.com", "threshold": "0.9"}},
        {"content": b"no form", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b"a=1&b=2&\xff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"files": {"file": ("a", b"x")}, "params": {"threshold": "5"}},
        {},
    ],
)
def test_another_request_is_400_and_one_sentence(client, request_):
    reply = client.post("/score", **request_)
    assert reply.status_code == 400
    assert set(reply.json()) == {"status", "message"}
    assert "fields" not in reply.json()["message"]


def test_a_name_that_is_too_long_is_not_called_a_missing_file(client):
    reply = client.post("/score", files={"file": ("a" * 5000 + ".mp4", b"x")})
    assert (reply.status_code, reply.json()) == (
        400,
        {
            "status": "invalid",
            "message": "the form cannot be read (Maximum header size exceeded); use shorter names",
        },
    )


def test_a_body_that_is_no_form_is_not_called_one_with_long_names(client):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    message = client.post("/score", content=b"hello", headers=headers).json()["message"]
    assert message.startswith("the form cannot be read (")
    assert message.endswith("; send multipart/form-data")


def test_no_upload_is_redirected_to_an_unencrypted_address(client):
    files = {"file": ("a.mp4", b"a letter")}
    reply = client.post("https://detector.example/score/", files=files, follow_redirects=False)
    assert (reply.status_code, reply.json()["status"]) == (404, "invalid")
    assert "location" not in reply.headers


@pytest.mark.parametrize("charset", ["undefined", "punycode"])
def test_a_charset_that_decodes_nothing_is_400(client, charset):
    """Python raises neither of the errors that Starlette expects."""
    body = b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttp://a.b/\r\n--x--'
    headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    reply = client.post("/score", content=body, headers=headers)
    assert (reply.status_code, reply.json()["status"]) == (400, "invalid")
    assert reply.json()["message"].endswith("; send it in UTF-8")


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "what", ["starlette.datastructures.UploadFile.write", "deepfake_video.serving.reception._copy"]
)
def test_an_upload_for_which_there_is_no_space_is_507_and_one_line_in_the_log(
    client, what, monkeypatch, caplog, tmp_path
):
    monkeypatch.setattr(what, full)
    reply = client.post("/score", files={"file": ("a.mp4", b"a letter")})
    reason = os.strerror(errno.ENOSPC)
    message = f"the service cannot store the upload ({reason}); send it again later"
    assert (reply.status_code, reply.json()) == (507, {"status": "not_stored", "message": message})
    assert [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"] == [
        f"an upload cannot be stored: {reason}"
    ]
    assert files_in(tmp_path) == []


def test_addresses_are_refused_by_default(client):
    reply = client.post("/score", data={"url": "https://example.com/a.mp4"})
    assert reply.status_code == 403
    assert "--allow-addresses" in reply.json()["message"]


@pytest.mark.parametrize("address", ["file:///etc/passwd", "/etc/passwd", "ftp://example.com/a.mp4", "a.mp4", ""])
def test_an_address_never_names_a_local_file(detector, tmp_path, address):
    reply = client_of(detector, tmp_path, allow_addresses=True).post("/score", data={"url": address})
    # A form without a value has no field.
    assert reply.status_code in (400, 422)
    assert "root:" not in reply.text


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/a.mp4", "http://[::1]/a.mp4", "http://169.254.169.254/"])
def test_private_addresses_are_refused(detector, tmp_path, address):
    reply = client_of(detector, tmp_path, allow_addresses=True).post("/score", data={"url": address})
    assert reply.status_code == 422
    assert reply.json()["status"] == "unreadable"
    assert "private address" in reply.json()["message"]


def test_a_file_whose_name_looks_like_an_address_is_not_opened(detector, tmp_path, monkeypatch, clip):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:" / "host").mkdir(parents=True)
    (tmp_path / "http:" / "host" / "a.mp4").write_bytes(clip.read_bytes())
    assert judge(detector, "http://host/a.mp4").result.status == "unsupported"


def test_a_slow_request_is_408(tmp_path):
    service = build_service(redness_detector(limits=VideoLimits(max_download_s=0.05)), ServicePlan(), tmp_path)
    sent: list[Any] = []

    async def receive() -> Any:
        await anyio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"", "headers": headers}
    anyio.run(service, scope, receive, send)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["message"] == "the request did not arrive within 0.05 s"


class SlowDetector:
    """A detector that waits until it may answer."""

    def __init__(self, detector: Detector) -> None:
        self.settings, self.identity = detector.settings, detector.identity
        self._detector = detector
        self.release, self.started = threading.Event(), threading.Semaphore(0)
        self.num_running = self.most_running = 0

    def examine(self, path: Path, **options: Any) -> Any:
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        self.started.release()
        assert self.release.wait(30)
        self.num_running -= 1
        return self._detector.examine(path, **options)


def test_requests_wait_in_a_bounded_queue(detector, tmp_path):
    slow = SlowDetector(detector)
    with client_of(slow, tmp_path, max_waiting=1) as client, ThreadPoolExecutor(2) as threads:

        def send() -> Any:
            return client.post("/score", files={"file": ("a.mp4", b"a letter")})

        accepted = [threads.submit(send) for _ in range(2)]
        assert slow.started.acquire(timeout=30)
        until = time.monotonic() + 30
        while client.get("/health").json()["waiting"] < 1 and time.monotonic() < until:
            time.sleep(0.01)
        refused = send()
        assert refused.status_code == 429
        assert refused.json()["status"] == "busy"
        assert int(refused.headers["Retry-After"]) >= 1
        slow.release.set()
        assert [reply.result(30).status_code for reply in accepted] == [422, 422]
        assert slow.most_running == 1
        assert client.get("/health").json() == {"status": "ok", "waiting": 0}


def test_a_service_that_stops_answers_waiting_requests_at_once_and_the_others_in_time(detector, tmp_path):
    slow = SlowDetector(detector)
    with client_of(slow, tmp_path, max_waiting=1) as client, ThreadPoolExecutor(2) as threads:

        def send() -> Any:
            return client.post("/score", files={"file": ("a.mp4", b"a letter")})

        scored = threads.submit(send)
        assert slow.started.acquire(timeout=30)
        waiting = threads.submit(send)
        until = time.monotonic() + 30
        while client.get("/health").json()["waiting"] < 1 and time.monotonic() < until:
            time.sleep(0.01)
        began_s = time.monotonic()
        client.portal.call(client.app.state.room.stop, 1.0)
        refused = [(request.result(30), time.monotonic() - began_s) for request in (waiting, scored)]
        slow.release.set()
        assert [reply.status_code for reply, _ in refused] == [503, 503]
        assert all(reply.json()["status"] == "stopping" and reply.json()["message"] for reply, _ in refused)
        assert refused[0][1] < 1 <= refused[1][1]
    assert files_in(tmp_path) == []


def test_an_error_of_the_service_is_500_and_keeps_no_place(detector, tmp_path):
    broken = SlowDetector(detector)
    broken.examine = lambda *_, **__: 1 // 0  # type: ignore[method-assign]
    client = client_of(broken, tmp_path, max_waiting=0)
    for _ in range(2):
        reply = client.post("/score", files={"file": ("a.mp4", b"a letter")})
        assert (reply.status_code, reply.json()["status"]) == (500, "error")
    assert files_in(tmp_path) == []


def test_the_version_names_the_weights_and_no_folder(tmp_path, detector):
    identity = Detector(device="cpu").identity
    slow = SlowDetector(detector)
    slow.identity = type(identity)(id=str(tmp_path), weights_sha256=identity.weights_sha256)
    version = client_of(slow, tmp_path).get("/version").json()
    assert version["model"] == {"id": tmp_path.name, "revision": None, "weights_sha256": identity.weights_sha256}
    assert version["schema_version"] == SCHEMA["properties"]["schema_version"]["const"]


def test_the_description_has_every_schema_that_it_refers_to(client):
    document = client.get("/openapi.json").json()
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert {"Result", "Refusal", "face", "provenance"} <= names <= set(document["components"]["schemas"])
    assert "#/$defs" not in json.dumps(document)
    codes = document["paths"]["/score"]["post"]["responses"]
    page = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    assert set(codes) == set(re.findall(r"^\| (\d{3}) \| `", page, re.MULTILINE))


def test_uploads_have_a_limit_on_their_length_that_the_environment_may_tighten():
    assert limits_for_uploads(None).max_duration_s == 1800
    assert limits_for_uploads(VideoLimits(max_duration_s=60)).max_duration_s == 60
    assert limits_for_uploads(VideoLimits(max_download_bytes=5)).max_download_bytes == 5


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_an_invalid_limit_in_the_environment_is_one_sentence(command, monkeypatch, capsys):
    monkeypatch.setenv("DEEPFAKE_VIDEO_MAX_READ_S", "soon")
    # The demo sets it.
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    assert main([command]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "DEEPFAKE_VIDEO_MAX_READ_S" in said


@pytest.mark.parametrize(
    "values",
    [{"host": ""}, {"port": -1}, {"port": 70_000}, {"max_waiting": -1}, {"max_bytes": 0}, {"max_duration_s": 0}],
)
def test_a_plan_checks_its_values(values):
    with pytest.raises(UsageError):
        ServicePlan(**values)


def test_a_port_in_use_is_one_sentence(monkeypatch, detector):
    monkeypatch.setattr("deepfake_video.serving.service.load_detector", lambda plan: detector)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WorkError, match=f"cannot listen on port {port} of 127.0.0.1"):
            serve(ServicePlan(port=port))


def test_without_fastapi_the_command_says_how_to_get_it():
    script = (
        "import sys; sys.modules['fastapi'] = None; from deepfake_video.cli import main; sys.exit(main(['serve']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "The service needs fastapi: pip install 'deepfake-video[serve]'" in done.stderr


@pytest.fixture
def port_of_two(detector, tmp_path) -> Iterator[int]:
    """A service that has two connections at most, and closes them after a fifth of a second without a request."""
    app = build_service(detector, ServicePlan(), tmp_path)
    config = uvicorn.Config(app, http=bounded_connections(2, headers_s=0.2), log_level="warning")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        threads.submit(server.run, sockets=[listener])
        yield listener.getsockname()[1]
        server.should_exit = True


def test_connections_are_bounded_in_number_and_time(port_of_two):
    place = ("127.0.0.1", port_of_two)

    def is_healthy() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port_of_two}/health", timeout=30) as reply:
            return json.load(reply)["status"] == "ok"

    assert is_healthy()
    began_s = time.monotonic()
    with socket.create_connection(place, 30) as silent, socket.create_connection(place, 30) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with socket.create_connection(place, 30) as third:
            assert third.recv(1) == b""
        assert silent.recv(1) == b""
        assert slow.recv(1) == b""
    assert 0.2 <= time.monotonic() - began_s < 20
    assert is_healthy()


def test_a_connection_whose_request_takes_long_is_not_closed(detector, tmp_path):
    slow = SlowDetector(detector)
    server = uvicorn.Server(
        uvicorn.Config(build_service(slow, ServicePlan(), tmp_path), http=bounded_connections(9, headers_s=0.1))
    )
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as threads:
        threads.submit(server.run, sockets=[listener])
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/score"
        reply = threads.submit(httpx.post, address, files={"file": b"a letter"}, timeout=60)
        assert slow.started.acquire(timeout=30)
        time.sleep(0.5)
        slow.release.set()
        assert reply.result(30).status_code == 422
        server.should_exit = True


SLOW = """
import sys, time
from deepfake_video.cli import entry
from deepfake_video.scanning.detector import Detector
from deepfake_video.serving import service

service.STOP_S = 0.1
Detector.examine = lambda *_, **__: (print("scoring", file=sys.stderr, flush=True), time.sleep(600))
sys.argv = ["deepfake-video", "serve", "--port", "0"]
sys.exit(entry())
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_service_that_stops_does_not_wait_for_a_video_that_takes_longer(signal_, code, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with (
        subprocess.Popen([sys.executable, "-c", SLOW], stderr=subprocess.PIPE, text=True, env=environment) as process,
        ThreadPoolExecutor(1) as threads,
    ):
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
            reply = threads.submit(httpx.post, f"{found[0]}/score", files={"file": b"a letter"}, timeout=60)
            assert process.stderr.readline() == "scoring\n"
            process.send_signal(signal_)
            assert process.wait(30) == code
            assert (reply.result().status_code, reply.result().json()["status"]) == (503, "stopping")
        finally:
            process.kill()
    assert list(tmp_path.glob("deepfake-video-*")) == []


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """The command in a process of its own, its address, and its folder for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    process = subprocess.Popen(
        [sys.executable, "-m", "deepfake_video", "serve", "--port", "0", "--max-bytes", "19000000"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.match(r"listening on (http://127\.0\.0\.1:\d+);", line)
    assert found is not None, line + process.stderr.read()
    yield process, found[1], folder
    process.kill()
    process.wait()


def test_its_page_needs_no_other_host(running):
    _, address, _ = running
    with open_tab(f"{address}/docs") as tab:
        tab.page.wait_for_selector("text=/score")
        assert [request for request in tab.requests if not request.startswith(address)] == []
        assert tab.errors == []


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_the_command_answers_and_stops_cleanly(running, clip):
    process, address, folder = running

    def post(
        content: bytes, place: str = "score", kind: str = "multipart/form-data; boundary=x"
    ) -> tuple[int, dict[str, Any]]:
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="clip.mp4"\r\n\r\n'
        body = head + content + b"\r\n--x--\r\n"
        request = urllib.request.Request(f"{address}/{place}", body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    code, result = post(clip.read_bytes())
    assert code == 200
    jsonschema.validate(result, SCHEMA)
    # The reason arrives although the service does not accept the body.
    assert post(bytes(20_000_000))[0] == 413
    assert post(bytes(18_000_000), kind="video/mp4")[0] == 400
    assert post(bytes(18_000_000), kind="application/x-www-form-urlencoded")[0] == 400
    assert post(bytes(18_000_000), "score?threshold=0.5")[0] == 400
    assert post(bytes(18_000_000), "scores")[0] == 404
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(post, clip.read_bytes())
        with urllib.request.urlopen(f"{address}/health", timeout=60) as reply:
            assert json.load(reply)["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        # It was accepted, or the service had stopped before.
        assert answer.exception(60) is not None or answer.result()[0] == 200
    assert process.wait(60) == 0
    assert list(folder.glob("deepfake-video-*")) == []
