# SPDX-License-Identifier: Apache-2.0
"""
The demo in the browser: a video in; the label, when, who, and what it rests on out, by the same code as `predict`.

It is the command `deepfake-video demo`, the module `python -m deepfake_video.app`, and the entry of a Hugging Face
Space, `python app.py`, which runs the installed package.
"""

import argparse
import base64
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .scanning.detector import Detector
    from .scanning.evidence import Examination

OK, USAGE = 0, 2
MAX_FILE_SIZE = "200mb"
MAX_WAITING = 16
# A Space is configured by its variables.
MODEL_VARIABLE = "DEEPFAKE_VIDEO_DEMO_MODEL"
TITLE = "deepfake-video"
INTRODUCTION = """# Is a face in this video manipulated?
Give a video with a face. A neural network scores it, shows when, and what its score rests on.
**A reason to look closer, never a verdict:** new generators, strong compression and sound are beyond it."""
SYSTEM_FONTS = ("system-ui", "sans-serif")
EXTRA_HINT = 'the demo needs Gradio; install it with: pip install "deepfake-video[demo]"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deepfake-video demo`."""
    parser.description = "Serve a page that takes a video and shows its score, timeline, faces and heat maps."
    parser.epilog = "examples:\n  deepfake-video demo\n  deepfake-video demo --model FOLDER --port 8000"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--model", action="append", default=[], metavar="ID", help="folder or Hub id; repeat it for an ensemble"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--host", metavar="NAME", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, metavar="N", help="port (default: the first free one from 7860 on)")


def run(arguments: argparse.Namespace) -> int:
    """Serve the demo until it is interrupted."""
    # Gradio reads it when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError:
        print(f"deepfake-video: {EXTRA_HINT}", file=sys.stderr)
        return USAGE
    from .scanning.detector import Detector
    from .scanning.settings import ScanSettings

    models = arguments.model or [name for name in (os.environ.get(MODEL_VARIABLE),) if name]
    try:
        detector = Detector(models, device=arguments.device, settings=ScanSettings(timeline=True))
    except ValueError as error:
        print(f"deepfake-video: {error}", file=sys.stderr)
        return USAGE
    with tempfile.TemporaryDirectory(prefix="deepfake-video-demo-") as folder:
        launch(build_demo(detector, Path(folder)), host=arguments.host, port=arguments.port)
    return OK


def launch(demo: Any, *, host: str | None = None, port: int | None = None, **options: Any) -> Any:
    """Serve what [`build_demo`] built: one video at a time, a short queue, nothing from elsewhere."""
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
    The page as `gradio.Blocks`.

    Args:
        detector: Judges; its settings ask for a timeline.
        folder: For the examples, and for the report that can be downloaded.
    """
    import gradio as gr

    from .scanning.illustrating import NUM_HEATMAPS, NUM_THUMBNAILS

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                video = gr.Video(label="Video file", sources=["upload"])
                button = gr.Button("Look at it", variant="primary")
                gr.Examples([[path] for path in _write_examples(folder)], [video], label="drawn examples")
            with gr.Column():
                message = gr.Markdown("Nothing was looked at yet.")
                label = gr.Label(label="judged", visible=False)
                report = gr.DownloadButton("Download the report", visible=False)
        with gr.Column(visible=False) as details:
            gr.Markdown("### When")
            timeline = gr.LinePlot(
                x="second", y="fake probability", color="face", y_lim=[0, 1], height=240, show_label=False
            )
            gr.Markdown("### Who")
            faces = gr.Gallery(columns=NUM_THUMBNAILS, height=210, show_label=False)
            gr.Markdown(
                "### What it rests on\nBright areas raised the fake score of the worst stretches most (Grad-CAM). "
                "They show what the network responded to, which need not be where a picture was altered."
            )
            heatmaps = gr.Gallery(columns=2 * NUM_HEATMAPS, height=250, show_label=False)
        outputs = [message, label, report, details, timeline, faces, heatmaps]
        button.click(_handler(detector, folder), [video], outputs, api_name="predict")
    return demo


def _handler(detector: "Detector", folder: Path) -> Callable[[str | None], list[Any]]:
    def look(path: str | None) -> list[Any]:
        if path is None:
            return describe_nothing("Choose a video first.")
        return describe(detector.examine(path, with_evidence=True), folder)

    return look


def describe_nothing(message: str) -> list[Any]:
    """The outputs of the page where there is only a message."""
    import gradio as gr

    hidden = [kind(visible=False) for kind in (gr.Label, gr.DownloadButton, gr.Column)]
    return [gr.Markdown(message), *hidden, None, None, None]


def describe(examination: "Examination", folder: Path) -> list[Any]:
    """The outputs of the page for one video, in the order in which it names them."""
    import gradio as gr
    import pandas as pd

    from .scanning.report import face_name, write_report
    from .scanning.results import UNTRAINED_WARNING
    from .scanning.stretches import clock

    result, evidence = examination.result, examination.evidence
    if result.status != "ok" or result.fake_probability is None:
        reason = (result.message or "").partition(": ")[2]
        return describe_nothing(
            f"### Could not be judged\n{_plain(reason)}.\n\nThere is no score: this says nothing "
            "about whether the video is real or fake."
        )
    is_trained = UNTRAINED_WARNING not in result.warnings
    heading = f"### Judged {result.label}" if is_trained else "### No judgement: the weights are random"
    report = folder / f"report-{(result.sha256 or 'video')[:12]}.html"
    write_report(report, [result], [evidence])
    entries = [
        ((entry.start_s + entry.end_s) / 2, entry.fake_probability, face_name(entry.track_id))
        for entry in result.timeline
    ]
    pictures = [
        (_picture(jpeg), f"{clock(picture.time_s)}: {picture.fake_probability:.2f}")
        for picture in (evidence.heatmaps if evidence else ())
        for jpeg in (picture.jpeg, picture.overlay_jpeg)
    ]
    thumbnails = [
        (_picture(picture.jpeg), f"{face_name(picture.track_id)}, {clock(picture.time_s)}")
        for picture in (evidence.thumbnails if evidence else ())
    ]
    notes = "".join(f"\n- {_plain(warning)}" for warning in result.warnings)
    return [
        gr.Markdown(
            f"{heading}\nFake probability {result.fake_probability:.2f}, threshold {result.threshold:.2f}.\n{notes}"
        ),
        gr.Label(result.label, visible=is_trained),
        gr.DownloadButton(value=str(report), visible=True),
        gr.Column(visible=True),
        pd.DataFrame(entries, columns=["second", "fake probability", "face"]),
        thumbnails,
        pictures,
    ]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    from .scanning.text import printable

    return "".join(
        f"\\{character}" if character in "\\`*_{}[]()<>#+-!|&~" else character for character in printable(text)
    )


def _picture(jpeg: str) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(jpeg)))


def _write_examples(folder: Path) -> list[str]:
    from .scanning.sample import write_sample_video

    return [str(write_sample_video(folder / "drawn-face.mp4", num_frames=100))]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="app")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def entry() -> int:
    """[`main`] as the command of this process."""
    from .interrupts import run_interruptible

    return run_interruptible(main)


def _main_of_the_installed_package() -> int:
    """A file run by its path has no package around it, so the installed one takes over."""
    try:
        from deepfake_video.app import entry as installed_entry
    except ModuleNotFoundError as error:
        if error.name not in ("deepfake_video", "deepfake_video.app"):
            raise
        print(f"error: install the package first; {EXTRA_HINT}", file=sys.stderr)
        return USAGE
    return int(installed_entry())


if __name__ == "__main__":
    sys.exit(entry() if __package__ else _main_of_the_installed_package())
