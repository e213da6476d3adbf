# SPDX-License-Identifier: Apache-2.0
"""The demo: what it answers, and the page in a real browser."""

import html
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from test_browser import keep_screenshot
from test_local_page import require_ipv6

from browser import DESKTOP, PHONE, axe, open_tab, skip
from deepfake_video import app
from deepfake_video.cli import main
from deepfake_video.common.errors import WorkError
from deepfake_video.scanning.html_report import render_report
from deepfake_video.scanning.results import ModelIdentity
from deepfake_video.scanning.sample import draw_face
from deepfake_video.scanning.texts import Texts
from deepfake_video.serving.judging import judge, without_paths
from deepfake_video.serving.served_files import ServedFiles, remove_old_files
from drawn_faces import redness_detector, write_people


TEXTS = Texts.read()


@pytest.fixture(scope="module")
def gradio():
    """Gradio, or a loud skip."""
    try:
        import gradio
    except ModuleNotFoundError:
        skip('Gradio is not installed (pip install ".[demo]")')
    return gradio


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_people(folder / "edited.mp4", seconds=6, tinted=(2.0, 5.0))
    (folder / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(200))
    return folder


@pytest.fixture(scope="module")
def address(folder, gradio):
    demo = app.build_demo(redness_detector(timeline=True, threshold=0.2), folder)
    _, local, _ = app.launch(demo, prevent_thread_lock=True, quiet=True)
    yield local
    demo.close()


def test_it_shows_the_report_of_predict(folder, gradio):
    detector = redness_detector(timeline=True, threshold=0.2)
    examination = judge(detector, folder / "edited.mp4", with_evidence=True)
    shown, report = app.describe(examination, folder / "report.html", TEXTS)
    page = Path(report.value["path"]).read_text(encoding="utf-8")
    assert page == render_report([examination.result], [examination.evidence])
    assert html.escape(page.partition("<script>")[0]) in shown.value
    assert html.escape("<script>") not in shown.value
    assert "edited.mp4" in page
    assert str(folder) not in page


def test_what_cannot_be_judged_has_a_report_without_a_score(folder, gradio):
    judged = judge(redness_detector(timeline=True), folder / "broken.mp4")
    shown, _ = app.describe(judged, folder / "report.html", TEXTS)
    assert "Could not be scored" in shown.value


@pytest.mark.parametrize("name", ["picture.bmp", "notes.txt", "missing.mp4"])
def test_another_file_is_one_sentence_that_says_what_to_do(name, folder, gradio):
    if name == "picture.bmp":
        Image.new("RGB", (64, 64), "red").save(folder / name)
    elif name == "notes.txt":
        (folder / name).write_text("no video")
    judged = judge(redness_detector(timeline=True), folder / name)
    shown, report = app.describe(judged, folder / "report.html", TEXTS)
    assert shown.value.startswith(f'<p role="status">{name}: ')
    assert "choose" in shown.value or "try another" in shown.value
    assert not report.visible


def test_a_photo_has_a_report_without_a_timeline(folder, gradio):
    Image.fromarray(draw_face(0.3)).save(folder / "photo.png")
    examination = redness_detector(timeline=True).examine(folder / "photo.png", with_evidence=True)
    shown, _ = app.describe(examination, folder / "report.html", Texts.read())
    assert "the photo may be real or manipulated" in shown.value
    assert "As the model sees it" in shown.value
    assert "0:00" not in html.unescape(shown.value).replace(examination.result.created, "")


def test_a_failure_names_the_file_and_not_the_server(folder, gradio):
    result = judge(redness_detector(), folder / "broken.mp4").result
    assert result.path == "broken.mp4"
    assert result.message.startswith("broken.mp4: ")
    assert str(folder) not in result.to_json()


def test_the_path_of_a_model_folder_is_not_shown(folder, gradio, monkeypatch):
    result = redness_detector().examine(folder / "broken.mp4").result
    (folder / "old + new").mkdir()
    monkeypatch.chdir(folder)
    for models, shown in [
        ([folder, "user/model"], [folder.name, "user/model"]),
        ([folder / "old + new"], ["old + new"]),
        (["user/model", folder / "old + new", folder], ["user/model", "old + new", folder.name]),
        (["."], [folder.name]),
    ]:
        result = replace(result, model=ModelIdentity(id=" + ".join(map(str, models))))
        assert without_paths(result).model.id == " + ".join(shown)


def test_files_go_when_the_next_video_is_judged_and_when_the_page_is_left(tmp_path, gradio, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    example = tmp_path / "cache/2" / app.EXAMPLE_NAME
    example.parent.mkdir(parents=True)
    example.touch()
    served = ServedFiles()

    def put(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        return path

    def give(visitor: str, upload: str) -> None:
        report = put(f"report-{visitor}.html")
        put(f"cache/0/{report.name}")
        served.add_upload(visitor, str(put(f"cache/{upload}")))
        served.add_report(visitor, report)

    def left() -> set[str]:
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}

    give("a", "1/clip.mp4")
    give("b", "1/clip.mp4")
    served.remove("a")
    assert left() == {*("report-b.html", "cache/0/report-b.html", "cache/1/clip.mp4", f"cache/2/{app.EXAMPLE_NAME}")}
    served.remove("b", but=str(tmp_path / "cache/1/clip.mp4"))
    assert left() == {"cache/1/clip.mp4", f"cache/2/{app.EXAMPLE_NAME}"}
    give("b", "1/clip.mp4")
    served.remove("b")
    assert left() == {f"cache/2/{app.EXAMPLE_NAME}"}
    give("c", f"2/{app.EXAMPLE_NAME}")
    give("c", f"3/{app.EXAMPLE_NAME}")
    elsewhere = put("elsewhere/clip.mp4")
    served.add_upload("c", str(elsewhere))
    served.remove("c")
    assert left() == {f"cache/2/{app.EXAMPLE_NAME}", "elsewhere/clip.mp4"}


def test_a_waiting_upload_stays_when_another_visitor_of_the_same_file_leaves(folder, address, gradio, tmp_path):
    """Gradio stores equal files once; the second visitor has uploaded it and not pressed the button yet."""
    clip = shutil.copy(folder / "broken.mp4", tmp_path / "same.mp4")
    with open_tab(address) as tab:
        first, waiting = tab.page, tab.page.context.browser.new_context().new_page()
        waiting.goto(address)
        for page in (first, waiting):
            page.set_input_files("input[type=file]", clip)
            page.wait_for_selector("text=same")
            # The page tells the server about its upload.
            page.wait_for_timeout(1000)
        first.click("text=Check file")
        wait_for_verdict(first)
        first.close()
        waiting.wait_for_timeout(3000)
        waiting.click("text=Check file")
        wait_for_verdict(waiting)


def test_old_files_that_nobody_removed_go(tmp_path):
    example, part, report, new = (
        tmp_path / name for name in ("example.mp4", "tmp1a2b3c", "report-1.html", "clip.mp4")
    )
    (tmp_path / "served").mkdir()
    for path in (example, part, report, new):
        path.touch()
        os.utime(path, (0, 0 if path != new else time.time()))
    remove_old_files(tmp_path, min_age_s=3600, but={example})
    assert {path.name for path in tmp_path.iterdir()} == {"example.mp4", "clip.mp4", "served"}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_what_was_uploaded_goes_when_the_demo_is_stopped_and_in_time_when_an_upload_breaks_off(gradio, tmp_path):
    """The demo in a process of its own, which considers files old after one second."""
    script = (
        "import sys; from deepfake_video import app, cli; app.SEARCH_EVERY_S, app.MIN_AGE_S = 0.2, 1; "
        "sys.exit(cli.main(['demo', '--device', 'cpu']))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "GRADIO_TEMP_DIR": str(tmp_path / "elsewhere")}
    with subprocess.Popen([sys.executable, "-uc", script], stdout=subprocess.PIPE, env=environment) as process:
        try:
            port = int(re.findall(rb":(\d+)", process.stdout.readline())[0])
            (folder,) = tmp_path.glob("deepfake-video-demo-*")
            before = set(folder.rglob("*"))
            with socket.create_connection(("127.0.0.1", port)) as connection:
                part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n' + bytes(
                    100_000
                )
                head = "POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
                head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
                connection.sendall(head.encode() + part)
                assert wait_until(lambda: set(folder.rglob("*")) > before)
            assert wait_until(lambda: set(folder.rglob("*")) == before)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert not folder.exists()
        finally:
            process.kill()


SLOW = """
import sys, time
from deepfake_video.cli import entry
from deepfake_video.scanning.detector import Detector

Detector.examine = lambda *_, **__: (print("scoring", file=sys.stderr, flush=True), time.sleep(600))
sys.argv = ["deepfake-video", "demo", "--device", "cpu"]
sys.exit(entry())
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_an_interrupt_does_not_wait_for_the_video_that_is_being_scored(folder, gradio, tmp_path):
    client = pytest.importorskip("gradio_client")
    command, environment = [sys.executable, "-uc", SLOW], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        try:
            address = re.search(rb"http://\S+", process.stdout.readline())[0].decode()
            visitor = client.Client(address, verbose=False)
            visitor.submit(client.handle_file(folder / "broken.mp4"), "", api_name="/predict")
            assert process.stderr.readline() == b"scoring\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
    assert list(tmp_path.glob("deepfake-video-*")) == []


def wait_until(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def wait_for_verdict(page):
    report = page.frame_locator("iframe.report")
    report.locator(".verdict >> text=Could not be scored").wait_for(timeout=90_000)


def test_an_upload_that_is_gone_is_not_called_an_address(folder, gradio):
    judged = judge(redness_detector(), folder / "gone.mp4")
    shown, _ = app.describe(judged, folder / "report.html", TEXTS)
    assert "The uploaded file is no longer on the server; choose it again." in shown.value


def test_a_program_cannot_make_the_demo_fetch_an_address_in_place_of_the_file(address, gradio, monkeypatch):
    fetched = []
    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", lambda url, **_: fetched.append(url))
    client = pytest.importorskip("gradio_client").Client(address, verbose=False)
    put_in_place = {"path": "http://example.com/clip.mp4", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="addresses are not accepted"):
        client.predict(put_in_place, "", api_name="/predict")
    assert not fetched


def test_a_program_cannot_make_a_public_demo_fetch_an_address(address, gradio):
    client = pytest.importorskip("gradio_client").Client(address, verbose=False)
    shown, _ = client.predict(None, "http://127.0.0.1:9/clip.mp4", api_name="/predict")
    assert "Choose a file first." in str(shown)


def test_a_file_and_an_address_are_not_scored_one_for_the_other(folder, gradio, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    served = ServedFiles()
    look = app._handler(redness_detector(timeline=True), tmp_path, served, TEXTS, with_addresses=True)
    upload = Path(shutil.copy(folder / "edited.mp4", tmp_path))
    visitor = gradio.Request(session_hash="a")
    ((shown, _),) = look(str(upload), "https://example.com/clip.mp4", visitor)
    assert shown.value == '<p role="status">There is both a file and an address; remove one of them.</p>'
    served.remove("a")
    assert not upload.exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--port", "70000"], "0-65535"),
        (["--port", "-1"], "0-65535"),
        (["--host", "nosuch.invalid"], "not known|resolution|nodename"),
        (["--host", "a" * 70], "not known|resolution|nodename|label"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence(arguments, reason, gradio, monkeypatch, capsys):
    # Later tests build pages in the usual folder.
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr("deepfake_video.scanning.detector.Detector", lambda *_, **__: redness_detector(timeline=True))
    assert main(["demo", *arguments]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(f"cannot listen on port -?\\d+ of .* \\(.*({reason}).*\\); choose another --host or --port", said)


@pytest.mark.parametrize(
    ("arguments", "environment", "host", "with_addresses"),
    [
        ([], {}, "127.0.0.1", True),
        ([], {"GRADIO_SERVER_NAME": "0.0.0.0"}, "127.0.0.1", True),
        ([], {"SPACE_ID": "user/space"}, "0.0.0.0", False),
        (["--host", "0.0.0.0"], {}, "0.0.0.0", False),
        (["--host", "localhost"], {}, "localhost", True),
        (["--host", "::1"], {}, "[::1]", True),
        (["--host", "[::]"], {}, "[::]", False),
    ],
)
def test_only_a_page_for_this_machine_takes_addresses(
    arguments, environment, host, with_addresses, gradio, monkeypatch
):
    """Whatever Gradio finds in the environment."""
    if ":" in host:
        require_ipv6()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # Later tests build pages in the usual folder.
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr("deepfake_video.scanning.detector.Detector", lambda *_, **__: redness_detector(timeline=True))
    built, launched = {}, {}
    build = app.build_demo

    def build_demo(*arguments, **options):
        built.update(options)
        return build(*arguments, **options)

    def launch(demo, **options):
        launched.update(options)
        raise WorkError("enough")

    monkeypatch.setattr(app, "build_demo", build_demo)
    monkeypatch.setattr(app, "launch", launch)
    main(["demo", *arguments])
    assert (launched["host"], built["with_addresses"]) == (host, with_addresses)


def pictures_in(cache: Path) -> set[Path]:
    return {path for path in cache.rglob("*") if path.suffix in (".webp", ".png", ".jpg", ".jpeg")}


def test_a_visitor_leaves_no_file_behind(folder, address, gradio):
    from gradio.utils import get_upload_folder

    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(address, verbose=False)
    cache = Path(get_upload_folder())
    before, others = pictures_in(cache), set(folder.glob("report*"))
    client.predict(gradio_client.handle_file(folder / "edited.mp4"), "", api_name="/predict")
    names = {path.name for path in set(folder.glob("report*")) - others}
    assert {Path(name).suffix for name in names} == {".html"}
    # Gradio serves copies.
    assert names & {path.name for path in cache.glob("*/report-*")}
    client.predict(None, "", api_name="/predict")
    assert set(folder.glob("report*")) == others
    assert not names & {path.name for path in cache.glob("*/report-*")}
    assert pictures_in(cache) <= before


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits_and_asks_no_other_host(folder, address, size):
    with open_tab(address, size=size) as tab:
        tab.page.set_input_files("input[type=file]", folder / "edited.mp4")
        tab.page.wait_for_selector("text=edited")
        tab.page.click("text=Check file")
        report = tab.page.frame_locator("iframe.report")
        report.locator("text=Why this score").wait_for(timeout=90_000)
        tab.page.wait_for_timeout(1500)
        keep_screenshot(tab, f"demo-{size[0]}")
        assert not tab.scrolls_sideways()
        heights = "(f) => [f.clientHeight, f.contentDocument.documentElement.scrollHeight]"
        frame, content = tab.page.eval_on_selector("iframe.report", heights)
        assert frame == pytest.approx(content, abs=2)
        assert tab.page.is_visible("text=Download report")
        assert tab.errors == []
        assert [request for request in tab.requests if not request.startswith(address)] == []
        # The report does not stay in the browser for its next user.
        assert "edited.mp4" not in tab.page.evaluate("Object.values(localStorage).join()")
        assert tab.page.goto(f"{address}gradio_api/runs").status == 404


def test_the_page_and_the_report_in_it_can_be_used_without_a_mouse(folder, address):
    with open_tab(address) as tab:
        tab.page.wait_for_selector("text=drawn-face.mp4")
        file, *others = (name for name, _ in tab.walk())
        assert "Click to Upload" in file
        assert others == ["Check file", app.EXAMPLE_NAME]
        tab.page.set_input_files("input[type=file]", folder / "edited.mp4")
        tab.page.wait_for_selector("text=edited")
        tab.page.focus("text=Check file")
        tab.page.keyboard.press("Enter")
        tab.page.frame_locator("iframe.report").locator("text=Why this score").wait_for(timeout=90_000)
        tab.page.wait_for_selector("text=Download report")
        reached = tab.walk()
        # The scenes last two, three and one second: one, two and one window.
        assert [name for name, _ in reached[2:]] == [
            *("Check file", "Download report", "All 4 windows as a table", "Case notes", app.EXAMPLE_NAME)
        ]
        assert all(outline >= 2 for _, outline in reached)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_and_the_report_in_it_have_no_serious_accessibility_problem(folder, address, size):
    script = axe()
    with open_tab(address, size=size) as tab:
        tab.page.wait_for_selector("text=drawn-face.mp4")
        assert tab.problems(script) == []
        tab.page.set_input_files("input[type=file]", folder / "edited.mp4")
        tab.page.wait_for_selector("text=edited")
        tab.page.click("text=Check file")
        tab.page.frame_locator("iframe.report").locator("text=Why this score").wait_for(timeout=90_000)
        # The sandbox of the report allows no script, not even that of axe-core.
        allow = "(frame) => { frame.sandbox.add('allow-scripts'); frame.srcdoc = frame.srcdoc; }"
        tab.page.eval_on_selector("iframe.report", allow)
        tab.page.wait_for_timeout(1000)
        (report,) = (frame for frame in tab.page.frames if frame is not tab.page.main_frame)
        report.wait_for_selector("text=Why this score")
        assert tab.problems(script, report) == []
        assert tab.problems(script) == []


def test_the_page_says_what_is_wrong_with_a_file(folder, address):
    with open_tab(address, size=PHONE) as tab:
        tab.page.set_input_files("input[type=file]", folder / "broken.mp4")
        tab.page.wait_for_timeout(1000)
        tab.page.click("text=Check file")
        report = tab.page.frame_locator("iframe.report")
        report.locator(".verdict >> text=Could not be scored").wait_for(timeout=90_000)
        assert report.locator("text=There is no score").is_visible()


def test_without_gradio_the_command_says_how_to_get_it():
    script = "import sys; sys.modules['gradio'] = None; from deepfake_video.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "The demo needs gradio: pip install 'deepfake-video[demo]'" in done.stderr
