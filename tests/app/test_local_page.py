# SPDX-License-Identifier: Apache-2.0
"""The page that scores inside the browser, as far as Python serves it; `browser/tests` tests the page itself."""

import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_scripts import load_script
from deepfake_video.common import local_page
from deepfake_video.common.errors import UsageError
from deepfake_video.common.local_page import PAGE_FOLDER, make_page_server


ROOT = Path(__file__).resolve().parents[2]
HEADERS = json.loads((ROOT / "browser" / "src" / "headers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "headers.json").write_text(json.dumps(HEADERS))
    (folder / "index.html").write_text("<p>page")
    (folder / "worker.mjs").write_text("1")
    (folder / "assets").mkdir()
    with make_page_server(folder, port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_constants_of_the_page_are_those_of_the_package():
    script = load_script("make_browser_constants")
    written = script.FILE.read_text(encoding="utf-8")
    assert written == script.constants_text(), "run .ci/make_browser_constants.py"


def test_every_answer_isolates_the_page_and_forbids_other_connections(address):
    with urllib.request.urlopen(f"{address}/") as answer:
        assert answer.read() == b"<p>page"
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]


def test_modules_have_the_type_that_browsers_require(address):
    with urllib.request.urlopen(f"{address}/worker.mjs") as answer:
        assert answer.headers["Content-Type"] == "text/javascript"


@pytest.mark.parametrize("path", ["assets/", "../pyproject.toml", "%2e%2e/pyproject.toml", "index.html%00"])
def test_nothing_but_the_files_of_the_page_is_served(address, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/{path}")


def test_a_tab_that_is_closed_while_it_loads_leaves_no_error(tmp_path, capfd):
    (tmp_path / "headers.json").write_text("{}")
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(50_000_000)
    with make_page_server(tmp_path, port=0) as server:
        with socket.create_connection(server.server_address[:2]) as tab:
            tab.sendall(b"GET /model.bin HTTP/1.1\r\n\r\n")
            answering = threading.Thread(target=server.process_request_thread, args=server.get_request())
            answering.start()
            assert tab.recv(1)
        answering.join(30)
    assert capfd.readouterr().err == ""


def require_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")


def test_an_ipv6_address_can_be_listened_on(tmp_path):
    (tmp_path / "headers.json").write_text("{}")
    require_ipv6()
    with make_page_server(tmp_path, host="::1", port=0) as server:
        assert server.server_address[0] == "::1"


def test_without_the_built_page_one_sentence_says_how_to_build_it(tmp_path):
    with pytest.raises(UsageError, match="npm ci && npm run build"):
        make_page_server(tmp_path)


def test_a_port_that_is_taken_is_named(address):
    folder = ROOT / "browser" / "src"
    with pytest.raises(UsageError, match="--port"):
        make_page_server(folder, port=int(address.rpartition(":")[2]))


def test_the_command_refuses_what_the_page_has_built_in():
    command = [sys.executable, "-m", "deepfake_video", "demo", "--local-page", "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--device" in done.stderr


@pytest.mark.skipif(PAGE_FOLDER.exists(), reason="the page is built here")
def test_the_command_says_how_to_build_the_page(tmp_path):
    command = [sys.executable, "-m", "deepfake_video", "demo", "--local-page"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_an_installed_package_serves_the_page_of_the_checkout_that_is_the_working_directory(tmp_path, monkeypatch):
    built = tmp_path / "browser" / "dist"
    built.mkdir(parents=True)
    (built / "headers.json").write_text("{}")
    (built / "index.html").write_text("the page")
    monkeypatch.setattr(local_page, "PAGE_FOLDER", tmp_path / "site-packages" / "browser" / "dist")
    monkeypatch.chdir(tmp_path)
    with make_page_server() as server:
        threading.Thread(target=server.handle_request).start()
        with urllib.request.urlopen(f"http://localhost:{server.server_port}/index.html") as answer:
            assert answer.read() == b"the page"
