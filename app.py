# SPDX-License-Identifier: Apache-2.0
"""
Browser demo: upload a video and see its verdict, timeline, faces and heat maps, computed by the same code as in
`predict`.

It runs as the command `deepfake-video demo`, as the module `python -m deepfake_video.app`, and as the entry of a
Hugging Face Space, `python app.py`, which uses the installed package.
"""

import argparse
import html
import os
import queue
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from markupsafe import Markup

    from .scanning.detector import Detector
    from .scanning.evidence import Examination
    from .scanning.texts import Texts
    from .serving.served_files import ServedFiles

# A Space is configured by environment variables.
MODEL_VARIABLE = "DEEPFAKE_VIDEO_DEMO_MODEL"
EXAMPLE_NAME = "drawn-face.mp4"
# Removal of files that nobody removed: seconds between two searches for them, and their minimum age in seconds.
SEARCH_EVERY_S, MIN_AGE_S = 600, 3600
# What failed because of the choice of the file, and not because of the video, is one sentence instead of a report.
ADVISED = ("unsupported", "not_found")
# Gives the frame of the report the height of its content, whenever a new one appears or its content changes.
FIT_REPORT = """
element.setAttribute("aria-live", "polite");
const fit = () => {
  const frame = element.querySelector("iframe.report");
  if (!frame || frame.dataset.fits) return;
  frame.dataset.fits = "yes";
  Object.assign(frame.style, { width: "100%", border: "0", display: "block", minHeight: "20rem" });
  const resize = () => {
    const root = frame.contentDocument && frame.contentDocument.documentElement;
    if (root) frame.style.height = `${root.getBoundingClientRect().height}px`;
  };
  const begin = () => {
    resize();
    frame.contentDocument.addEventListener("toggle", resize, true);
  };
  frame.addEventListener("load", begin);
  window.addEventListener("resize", resize);
  begin();
};
new MutationObserver(fit).observe(element, { childList: true, subtree: true });
fit();
"""
# What Gradio's own components lack: a visible focus, and contrast and the name of the field for files.
ACCESSIBLE_CSS = """
:focus-visible { outline: 2px solid var(--body-text-color) !important; outline-offset: 2px !important; }
.or { color: inherit !important; }
"""
ACCESSIBLE_JS = """() => {
  const rename = () => document.querySelector("button[aria-dropeffect][aria-label]")?.removeAttribute("aria-label");
  new MutationObserver(rename).observe(document.body, { childList: true, subtree: true });
  rename();
}"""
SYSTEM_FONTS = ("system-ui", "sans-serif")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video demo` to a parser."""
    from .scanning.command import add_model_arguments

    parser.description = "Start a local web page for uploading and scoring videos."
    parser.epilog = (
        "examples:\n  deepfake-video demo\n  deepfake-video demo --model FOLDER --port 8000\n"
        "  deepfake-video demo --local-page"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model_arguments(parser)
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads for the decoder (default: one per core, at most 8) and the networks (at most 4; 1 in torch)",
    )
    parser.add_argument(
        "--local-page",
        action="store_true",
        help="serve the page that scores videos inside the browser instead; --host and --port apply to it too",
    )
    parser.add_argument("--host", metavar="NAME", help="address to listen on (default: this machine only)")
    parser.add_argument(
        "--port", type=int, metavar="N", help="port; 0 for any free one (default: the first free one from 7860)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video demo` until it is interrupted or terminated."""
    if arguments.local_page:
        return _serve_local_page(arguments)
    from .common.interrupts import exit_on_sigterm, unfinished, without_waiting
    from .common.listening import listen, url_host
    from .common.packages import require_packages
    from .scanning.command import use_threads

    require_packages("The demo", "gradio", extra="demo")
    limits = use_threads(arguments.threads)
    from .scanning.detector import Detector
    from .scanning.settings import ScanSettings
    from .serving.judging import limits_for_uploads
    from .serving.served_files import remove_old_files

    exit_on_sigterm()
    with unfinished(), without_waiting(), tempfile.TemporaryDirectory(prefix="deepfake-video-demo-") as folder:
        # Gradio reads both when it is imported. Uploads are removed with this folder at the latest.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_TEMP_DIR"] = os.path.join(folder, "served")
        models = arguments.model or [name for name in (os.environ.get(MODEL_VARIABLE),) if name]
        settings = ScanSettings(timeline=True, limits=limits_for_uploads(limits))
        detector = Detector(models, device=arguments.device, settings=settings)
        # A Space is reached from outside. Gradio would also take the address from the environment.
        host = (arguments.host or "").strip("[]") or ("0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1")
        # Gradio has no sentence for an address or port that cannot be used.
        with listen(host, arguments.port or 0) as listener:
            # Downloads for visitors from elsewhere would be made from inside the network of this machine.
            is_local = ip_address(listener.getsockname()[0]).is_loopback
            port = None if arguments.port is None else listener.getsockname()[1]
        demo = build_demo(detector, Path(folder), with_addresses=is_local)
        own = set(Path(folder).rglob("*"))
        try:
            # Gradio takes it from here into an address.
            launch(demo, host=url_host(host), port=port, prevent_thread_lock=True)
            while True:
                time.sleep(SEARCH_EVERY_S)
                remove_old_files(Path(folder), min_age_s=MIN_AGE_S, but=own)
        finally:
            demo.close(verbose=False)


def _serve_local_page(arguments: argparse.Namespace) -> int:
    from .common.errors import UsageError
    from .common.interrupts import unfinished
    from .common.listening import url_host
    from .common.local_page import make_page_server

    if arguments.model or arguments.device != "auto" or arguments.threads is not None:
        raise UsageError("the local page has its model built in: --model, --device and --threads do not go with it.")
    with unfinished(), make_page_server(host=arguments.host, port=arguments.port) as server:
        host = url_host(arguments.host or "localhost")
        print(f"The page is at http://{host}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()
    return 0


def launch(demo: Any, *, host: str | None = None, port: int | None = None, **options: Any) -> Any:
    """
    Serve the page. It scores one video at a time, queues a few more, and loads nothing from other servers.

    Args:
        demo: Page built by [`build_demo`].
        host: Address to listen on; this machine only by default.
        port: Port; the first free one from 7860 by default.
        options: Further options of `gradio.Blocks.launch`.
    """
    import gradio as gr

    from .serving.plan import MAX_UPLOAD_BYTES, MAX_WAITING

    theme = gr.themes.Default(primary_hue="blue", font=SYSTEM_FONTS, font_mono=("ui-monospace", "monospace"))
    # One shade darker than the default, on which white text has too little contrast.
    theme.set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_border_color="*primary_600",
    )
    return demo.queue(max_size=MAX_WAITING, default_concurrency_limit=1).launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_UPLOAD_BYTES,
        theme=theme,
        css=ACCESSIBLE_CSS,
        js=ACCESSIBLE_JS,
        footer_links=[],
        # Otherwise reports stay in the browser, and on a page of the demo, when the visitor has left.
        run_history=False,
        share=False,
        ssr_mode=False,
        **options,
    )


def build_demo(detector: "Detector", folder: Path, *, with_addresses: bool = False) -> Any:
    """
    Build the page.

    Args:
        detector: Scores the videos. Its settings must include the timeline.
        folder: Folder for the examples and the reports.
        with_addresses: Whether a visitor can give the http(s) address of a video, which this machine downloads.

    Returns:
        The page as `gradio.Blocks`.
    """
    import gradio as gr

    from .scanning.texts import Texts
    from .serving.served_files import ServedFiles

    texts = Texts.read()
    title, heading, introduction, caution, limits = (
        texts.plain(f"demo.{name}") for name in ("title", "heading", "introduction", "caution", "limits")
    )
    with gr.Blocks(title=title, analytics_enabled=False) as demo:
        gr.Markdown(f"# {heading}\n{introduction}\n**{caution}** {limits}")
        video = gr.File(label=texts.plain("demo.video"), type="filepath", height=140)
        _take_uploads_only(video)
        address = gr.Textbox(
            label=texts.plain("demo.address"),
            placeholder=texts.plain("demo.address_example"),
            max_lines=1,
            visible=with_addresses,
        )
        button = gr.Button(texts.plain("demo.check"), variant="primary")
        report = gr.DownloadButton(texts.plain("demo.download"), visible=False)
        page = gr.HTML(_paragraph(texts("demo.nothing_yet")), js_on_load=FIT_REPORT, padding=False)
        gr.Examples(
            [[path] for path in _write_examples(folder)],
            [video],
            label=texts.plain("demo.example"),
        )
        outputs = [page, report]
        served = ServedFiles()
        # Progress is told in the place of the result. That of Gradio would cover it.
        look = _handler(detector, folder, served, texts, with_addresses=with_addresses)

        def keep(path: str | None, request: gr.Request) -> None:
            served.add_upload(request.session_hash, path)

        video.upload(keep, video, queue=False, api_visibility="private", show_progress="hidden")
        button.click(look, [video, address], outputs, api_name="predict", show_progress="minimal")

        def leave(request: gr.Request) -> None:
            served.remove(request.session_hash)

        demo.unload(leave)
    return demo


def _take_uploads_only(field: Any) -> None:
    """Refuse an address that a program puts in the place of the file: Gradio would fetch it without limits."""
    import gradio as gr

    from .video_addresses import is_url

    move = field.async_move_resource_to_block_cache

    async def move_upload(path: str | Path | None) -> str | None:
        if path is not None and is_url(str(path)):
            raise gr.Error("Upload the file; addresses are not accepted in its place.")
        moved: str | None = await move(path)
        return moved

    field.async_move_resource_to_block_cache = move_upload


def _handler(
    detector: "Detector", folder: Path, served: "ServedFiles", texts: "Texts", *, with_addresses: bool
) -> Callable[..., Iterator[list[Any]]]:
    import gradio as gr

    from .scanning.stretches import clock
    from .serving.judging import judge
    from .video_addresses import is_url

    def look(path: str | None, address: str, request: gr.Request) -> Iterator[list[Any]]:
        served.remove(request.session_hash, but=path)
        served.add_upload(request.session_hash, path)
        # A hidden field can be filled in by a program.
        address = (address or "").strip() if with_addresses else ""
        if path is None and not address:
            yield describe_nothing(texts("demo.no_video"))
            return
        if path is None and not is_url(address):
            yield describe_nothing(texts("demo.no_address"))
            return
        if path is not None and address:
            # The result of one would be taken for that of the other.
            yield describe_nothing(texts("demo.both"))
            return
        yield describe_nothing(texts("demo.reading"))
        report = folder / f"report-{secrets.token_hex(6)}.html"
        served.add_report(request.session_hash, report)
        # The position of the timeline in seconds; None at the end.
        seconds: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        source = Path(path) if path is not None else address
        with ThreadPoolExecutor(1) as pool:
            video = pool.submit(judge, detector, source, with_evidence=True, on_progress=seconds.put)
            video.add_done_callback(lambda _: seconds.put(None))
            while (second := seconds.get()) is not None:
                yield describe_nothing(texts("demo.timeline_at", time=clock(second)))
        yield describe(video.result(), report, texts)

    return look


def describe_nothing(message: "Markup") -> list[Any]:
    """
    Return the page outputs that show only a message.

    Args:
        message: One sentence, safe to insert into HTML.
    """
    import gradio as gr

    return [gr.HTML(_paragraph(message)), gr.DownloadButton(visible=False)]


def _paragraph(message: "Markup") -> str:
    return f'<p role="status">{message}</p>'


def describe(examination: "Examination", report: Path, texts: "Texts") -> list[Any]:
    """
    Write the report of a video, and return the outputs of the page in their order.

    Args:
        examination: What [`judge`] returned.
        report: The HTML file to write.
        texts: The texts of the page.
    """
    import gradio as gr

    from .common.text import printable
    from .scanning.html_report import render_report, write_report
    from .video_addresses import is_url

    result = examination.result
    if result.status in ADVISED and result.media != "image":
        is_gone = result.status == "not_found" and not is_url(result.path)
        advice = texts("demo.upload_gone" if is_gone else f"demo.{result.status}")
        return describe_nothing(texts("demo.problem", name=printable(result.path), advice=advice))
    write_report(report, [result], [examination.evidence], texts=texts)
    # The sandbox allows no script, so nothing that comes from the file can run in the page of the demo.
    page = html.escape(render_report([result], [examination.evidence], with_script=False, texts=texts))
    title = texts("demo.report")
    frame = f'<iframe class="report" title="{title}" sandbox="allow-same-origin" srcdoc="{page}"></iframe>'
    return [gr.HTML(frame), gr.DownloadButton(value=str(report), visible=True)]


def _write_examples(folder: Path) -> list[str]:
    from .scanning.sample import write_sample_video

    return [str(write_sample_video(folder / EXAMPLE_NAME, num_frames=100))]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `deepfake-video demo` and return the exit code."""
    from . import cli

    return cli.main(["demo", *(sys.argv[1:] if argv is None else argv)])


def entry() -> int:
    """Run [`main`] as the command of this process."""
    from .common.interrupts import run_interruptible

    return run_interruptible(main)


def _main_of_the_installed_package() -> int:
    """Run the demo of the installed package: a file that is run by its path does not belong to a package."""
    try:
        from deepfake_video.app import entry as installed_entry
    except ModuleNotFoundError as error:
        if error.name not in ("deepfake_video", "deepfake_video.app"):
            raise
        print("error: install the package first: pip install 'deepfake-video[demo]'", file=sys.stderr)
        return 2
    return int(installed_entry())


if __name__ == "__main__":
    sys.exit(entry() if __package__ else _main_of_the_installed_package())
