# SPDX-License-Identifier: Apache-2.0
"""
The demo in the browser: upload a video; see its label, timeline, faces and heat maps, by the same code as `predict`.

It runs as the command `deepfake-video demo`, as the module `python -m deepfake_video.app`, and as the entry of a
Hugging Face Space, `python app.py`, which uses the installed package.
"""

import argparse
import base64
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .scanning.detector import Detector
    from .scanning.evidence import Examination
    from .scanning.results import VideoResult

MAX_FILE_SIZE = "200mb"
MAX_WAITING = 16
# A Space is configured by environment variables.
MODEL_VARIABLE = "DEEPFAKE_VIDEO_DEMO_MODEL"
TITLE = "deepfake-video"
EXAMPLE_NAME = "drawn-face.mp4"
# Removal of files that Gradio keeps: seconds between two searches for them, and their minimum age in seconds.
CACHE_EVERY_S, CACHE_AGE_S = 600, 3600
INTRODUCTION = """# Is a face in this video manipulated?
Upload a video that shows a face. A neural network scores it and shows when, which face, and why.
**A score is a reason to examine a video, never proof:** the model may fail on new generators and strong
compression, and does not check the sound."""
SYSTEM_FONTS = ("system-ui", "sans-serif")
EXTRA_HINT = 'the demo needs Gradio; install it with: pip install "deepfake-video[demo]"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video demo` to a parser."""
    parser.description = "Serve a page in the browser on which a video is uploaded and scored."
    parser.epilog = "examples:\n  deepfake-video demo\n  deepfake-video demo --model FOLDER --port 8000"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--model", action="append", default=[], metavar="ID", help="model folder or Hub id; repeat it for an ensemble"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads for the networks and for the decoder (default: one for networks, one per core for the decoder)",
    )
    parser.add_argument("--host", metavar="NAME", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, metavar="N", help="port (default: the first free one from 7860)")


def run(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video demo` until it is interrupted."""
    from .common.errors import UsageError
    from .common.interrupts import unfinished
    from .scanning.command import use_threads

    limits = use_threads(arguments.threads)
    from .scanning.detector import Detector
    from .scanning.settings import ScanSettings

    with unfinished(), tempfile.TemporaryDirectory(prefix="deepfake-video-demo-") as folder:
        # Gradio reads both when it is imported. Uploads are removed with this folder at the latest.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ.setdefault("GRADIO_TEMP_DIR", os.path.join(folder, "served"))
        try:
            import gradio  # noqa: F401
        except ModuleNotFoundError as error:
            raise UsageError(EXTRA_HINT) from error
        models = arguments.model or [name for name in (os.environ.get(MODEL_VARIABLE),) if name]
        detector = Detector(models, device=arguments.device, settings=ScanSettings(timeline=True, limits=limits))
        demo = build_demo(detector, Path(folder))
        try:
            launch(demo, host=arguments.host, port=arguments.port, prevent_thread_lock=True)
            while True:
                time.sleep(1)
        finally:
            demo.close(verbose=False)


def launch(demo: Any, *, host: str | None = None, port: int | None = None, **options: Any) -> Any:
    """
    Serve the page: one video at a time, with a short queue, and without resources from other servers.

    Args:
        demo: What [`build_demo`] returned.
        host: Address to listen on; this machine only by default.
        port: Port; the first free one from 7860 by default.
        options: Further options of `gradio.Blocks.launch`.
    """
    import gradio as gr

    theme = gr.themes.Default(primary_hue="blue", font=SYSTEM_FONTS, font_mono=("ui-monospace", "monospace"))
    return demo.queue(max_size=MAX_WAITING, default_concurrency_limit=1).launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_FILE_SIZE,
        theme=theme,
        footer_links=[],
        share=False,
        ssr_mode=False,
        **options,
    )


def build_demo(detector: "Detector", folder: Path) -> Any:
    """
    Build the page.

    Args:
        detector: Scores the videos. Its settings must include the timeline.
        folder: Folder for the examples and the reports.

    Returns:
        The page as `gradio.Blocks`.
    """
    import gradio as gr

    from .scanning.illustrating import NUM_HEATMAPS, NUM_THUMBNAILS

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CACHE_EVERY_S, CACHE_AGE_S)) as demo:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                video = gr.Video(label="Video file", sources=["upload"])
                button = gr.Button("Check video", variant="primary")
                gr.Examples(
                    [[path] for path in _write_examples(folder)],
                    [video],
                    label="Example (a drawing, so its score means nothing)",
                )
            with gr.Column():
                message = gr.Markdown("Results appear here.")
                label = gr.Label(label="Verdict", visible=False)
                report = gr.DownloadButton("Download report", visible=False)
        with gr.Column(visible=False) as details:
            gr.Markdown("### When")
            timeline = gr.LinePlot(
                x="second", y="fake probability", color="face", y_lim=[0, 1], height=240, show_label=False
            )
            gr.Markdown("### Faces")
            faces = gr.Gallery(columns=NUM_THUMBNAILS, height=210, show_label=False)
            gr.Markdown(
                "### Why this score\nBright areas raised the fake score of the highest windows most (Grad-CAM). They "
                "show what the model responded to, which is not necessarily where the picture was manipulated."
            )
            heatmaps = gr.Gallery(columns=2 * NUM_HEATMAPS, height=250, show_label=False)
        outputs = [message, label, report, details, timeline, faces, heatmaps]
        served = ServedFiles()
        button.click(_handler(detector, folder, served), [video], outputs, api_name="predict")

        def leave(request: gr.Request) -> None:
            served.remove(request.session_hash)

        demo.unload(leave)
    return demo


class ServedFiles:
    """Upload, report and pictures of each visitor, removed when the next video is scored or the page is left."""

    def __init__(self) -> None:
        from gradio.utils import get_upload_folder

        self._cache = Path(get_upload_folder()).resolve()
        self._of: dict[str | None, list[Path]] = {}

    def add(self, visitor: str | None, upload: str, report: Path) -> None:
        """
        Register the files of a visitor for removal.

        Args:
            visitor: Hash of the session.
            upload: Path of the video; not removed if it is the example, which is shared.
            report: Path of the report.
        """
        files = [report]
        path = Path(upload).resolve()
        if path.name != EXAMPLE_NAME and path.is_relative_to(self._cache):
            files.append(path)
        self._of.setdefault(visitor, []).extend(files)

    def remove(self, visitor: str | None, *, but: str | None = None) -> None:
        """
        Remove the files of a visitor.

        Args:
            visitor: Hash of the session.
            but: A file to keep, because it is needed again.
        """
        files = self._of.pop(visitor, [])
        # If two visitors upload the same video, it is stored once.
        kept = {path for others in self._of.values() for path in others}
        kept |= {Path(but).resolve()} if but is not None else set()
        for file in files:
            if file in kept:
                continue
            own = [file]
            if file.suffix == ".html":
                # Its pictures are beside it, and Gradio serves copies of both from folders named by their content.
                own = [*file.parent.glob(f"{file.stem}*"), *self._cache.glob(f"*/{file.stem}*")]
            for path in own:
                path.unlink(missing_ok=True)


def _handler(detector: "Detector", folder: Path, served: ServedFiles) -> Callable[..., list[Any]]:
    import gradio as gr

    def look(path: str | None, request: gr.Request) -> list[Any]:
        served.remove(request.session_hash, but=path)
        if path is None:
            return describe_nothing("Choose a video first.")
        report = folder / f"report-{secrets.token_hex(6)}.html"
        served.add(request.session_hash, path, report)
        return describe(detector.examine(path, with_evidence=True), report)

    return look


def describe_nothing(message: str) -> list[Any]:
    """
    The outputs of the page if there is only a message.

    Args:
        message: The message in Markdown.
    """
    import gradio as gr

    hidden = [kind(visible=False) for kind in (gr.Label, gr.DownloadButton, gr.Column)]
    return [gr.Markdown(message), *hidden, None, None, None]


def without_paths(result: "VideoResult") -> "VideoResult":
    """
    Replace paths on the server by the names of files and folders.

    Args:
        result: The result of a video.
    """
    parts = [Path(part).name if os.path.isdir(part) else part for part in result.model.id.split(" + ")]
    name = Path(result.path).name
    message = None if result.message is None else result.message.replace(result.path, name)
    return replace(result, path=name, message=message, model=replace(result.model, id=" + ".join(parts)))


def describe(examination: "Examination", report: Path) -> list[Any]:
    """
    Write the report of a video, and return the outputs of the page in their order.

    Args:
        examination: The result of the video with its pictures.
        report: The HTML file to write.
    """
    import gradio as gr
    import pandas as pd

    from .scanning.html_report import face_name, write_report
    from .scanning.results import UNTRAINED_WARNING
    from .scanning.stretches import clock
    from .scanning.verdict import verdict_text

    result, evidence = without_paths(examination.result), examination.evidence
    if result.status != "ok" or result.fake_probability is None:
        reason = (result.message or "").removeprefix(f"{result.path}: ")
        return describe_nothing(
            f"### Could not be scored\n{_plain(reason)}.\n\nThere is no score. This does not indicate "
            "whether the video is real or fake."
        )
    is_trained = UNTRAINED_WARNING not in result.warnings
    heading = f"### {(result.verdict or 'undecided').capitalize()}\n{_plain(verdict_text(result))}\n"
    write_report(report, [result], [evidence])
    entries = [
        ((entry.start_s + entry.end_s) / 2, entry.fake_probability, face_name(entry.track_id))
        for entry in result.timeline
    ]
    heat, seen = (evidence.heatmaps, evidence.thumbnails) if evidence else ((), ())
    pairs = [
        (jpeg, f"{clock(picture.time_s)}: {picture.fake_probability:.2f}")
        for picture in heat
        for jpeg in (picture.jpeg, picture.overlay_jpeg)
    ]
    faces = [(picture.jpeg, f"{face_name(picture.track_id)}, {clock(picture.time_s)}") for picture in seen]
    pictures, thumbnails = _write_pictures(report, "heat", pairs), _write_pictures(report, "face", faces)
    notes = "".join(f"\n- {_plain(warning)}" for warning in result.warnings)
    return [
        gr.Markdown(
            f"{heading}\nLabelled {result.label}: fake probability {result.fake_probability:.2f}, "
            f"threshold {result.threshold:.2f}.\n{notes}"
        ),
        gr.Label(result.verdict, visible=is_trained),
        gr.DownloadButton(value=str(report), visible=True),
        gr.Column(visible=True),
        pd.DataFrame(entries, columns=["second", "fake probability", "face"]),
        thumbnails,
        pictures,
    ]


def _plain(text: str) -> str:
    """Escape a text so that Markdown shows it unchanged."""
    from .common.text import printable

    return "".join(
        f"\\{character}" if character in "\\`*_{}[]()<>#+-!|&~" else character for character in printable(text)
    )


def _write_pictures(report: Path, kind: str, captioned: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write base64 JPEG pictures with their captions as files beside the report, with which they are removed."""
    written = []
    for number, (jpeg, caption) in enumerate(captioned):
        path = report.with_name(f"{report.stem}-{kind}-{number}.jpg")
        path.write_bytes(base64.b64decode(jpeg))
        written.append((str(path), caption))
    return written


def _write_examples(folder: Path) -> list[str]:
    from .scanning.sample import write_sample_video

    return [str(write_sample_video(folder / EXAMPLE_NAME, num_frames=100))]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    from .common.exit_codes import run_command

    parser = argparse.ArgumentParser(prog="app")
    add_arguments(parser)
    return run_command(lambda: run(parser.parse_args(argv)))


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
        print(f"error: install the package first; {EXTRA_HINT}", file=sys.stderr)
        return 2
    return int(installed_entry())


if __name__ == "__main__":
    sys.exit(entry() if __package__ else _main_of_the_installed_package())
