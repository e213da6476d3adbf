# SPDX-License-Identifier: Apache-2.0
"""Make every kind of file and address, run `deepfake-video predict` on each, and print the results as Markdown tables.

python .ci/slow/input_kinds.py            prints the tables; takes a minute
python .ci/slow/input_kinds.py --write    also replaces those in docs/inputs.md

The face in the files is a drawing, so the tables leave out its scores. Needs the development dependencies.
"""

import argparse
import contextlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import av
import fsspec
import numpy as np
import pillow_heif
from PIL import Image

from deepfake_video.cli import main
from deepfake_video.common.json_files import as_dataclass
from deepfake_video.scanning.provenance import Provenance
from deepfake_video.scanning.results import PHOTO_WARNING
from deepfake_video.scanning.sample import draw_face


sys.path.insert(0, str(Path(__file__).parents[2] / "tests/helpers"))
from hub_server import Repository, serve

from content_credentials import SOURCE_TYPES, make_signer, manifest, sign
from gcs_server import gcs_server
from s3_server import s3_server


PAGE = Path(__file__).resolve().parents[2] / "docs/inputs.md"
TABLES = re.compile(r"(<!-- made by \.ci/slow/input_kinds\.py -->\n).*?(<!-- end -->)", re.DOTALL)
FPS, NUM_FRAMES = 25, 50
# Each line is a row: what the file or address is, and the arguments of `predict`.
KINDS = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
HEAD = "| what it is | `deepfake-video predict …` | result | exit code |"
PACKAGES = {"heic": "pillow_heif", "s3": "s3fs", "gcs": "gcsfs"}


def write_video(name: str, codec: str, draw: Callable[[float], np.ndarray] = draw_face, **options: Any) -> None:
    with av.open(name, "w", options=options.pop("container", {})) as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(draw(number / FPS), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_files() -> None:
    for name in ("clip.mp4", "clip.mov", "clip.mkv", "clip.ts"):
        write_video(name, "libx264")
    write_video("hevc.mp4", "libx265", **{"x265-params": "log-level=none"})
    write_video("av1.mp4", "libsvtav1", preset="9")
    write_video("vp9.webm", "libvpx-vp9", **{"cpu-used": "8"})
    write_video("mpeg4.avi", "mpeg4", b="2M")
    write_video("mpeg2.mpg", "mpeg2video", b="2M")
    write_video("index_first.mp4", "libx264", container={"movflags": "faststart"})
    write_video("without_face.mp4", "libx264", lambda _: np.full((360, 640, 3), 90, np.uint8))

    photo, turned, exif = Image.fromarray(draw_face(0.3)), Image.fromarray(np.rot90(draw_face(0.3))), Image.Exif()
    for name in ("photo.jpg", "photo.png", "photo.webp", "photo.avif", "photo.gif", "photo.bmp", "photo.tiff"):
        photo.save(name)
    pillow_heif.from_pillow(photo).save("photo.heic")
    turned.save("sideways.jpg")
    exif[0x0112] = 6
    turned.save("turned.jpg", exif=exif)
    frames = [Image.fromarray(draw_face(number / FPS)) for number in range(20)]
    for name in ("moving.gif", "moving.png", "moving.webp"):
        frames[0].save(name, save_all=True, append_images=frames[1:], duration=1000 // FPS)

    clip, jpeg, first = (Path(name).read_bytes() for name in ("clip.mp4", "photo.jpg", "index_first.mp4"))
    captured = {"action": "c2pa.created", "digitalSourceType": f"{SOURCE_TYPES}digitalCapture"}
    contents = {
        "cut_off.mp4": clip[: len(clip) // 2],
        "cut_off_index_first.mp4": first[: len(first) * 3 // 4],
        "cut_off.jpg": jpeg[: len(jpeg) // 2],
        "zeroed.jpg": jpeg[: -len(jpeg) // 4] + bytes(512) + jpeg[512 - len(jpeg) // 4 :],
        "video_named.jpg": clip,
        "photo_named.mp4": jpeg,
        "empty.mp4": b"",
        "signed.mp4": sign(clip, "video/mp4", manifest(captured), make_signer()),
        "text.txt": b"no video",
        "text.mp4": b"no video",
        "page.html": b"<!DOCTYPE html><title>Videos</title>",
        "list.txt": b"clip.mp4\nphoto.jpg\n",
        "list.csv": b"path\nclip.mp4\nmissing.mp4\n",
        "album/clip.mp4": clip,
        "album/photo.jpg": jpeg,
        "album/text.txt": b"text",
        "photos/photo.jpg": jpeg,
        "texts/text.txt": b"text",
    }
    for name, content in contents.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)


def predict(kind: str, arguments: str, hub: str) -> tuple[int, str, str]:
    """Exit code, JSON and the messages on standard error."""
    words = ["predict", *arguments.replace("'", "").split(), "--json", "--no-timeline"]
    if arguments.startswith("hf:"):
        # The endpoint of the Hub is read at the start of a process.
        variables = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": os.getcwd()}
        command = [sys.executable, "-m", "deepfake_video.cli", *words]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr
    extra = re.search(r"without the extra `(\w+)`", kind)
    missing = {PACKAGES[extra[1]]: None} if extra else {}
    # The web is the server on this machine.
    allowed = {"DEEPFAKE_VIDEO_ALLOW_PRIVATE_ADDRESSES": "" if "not allowed" in kind else "1"}
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, allowed),
        mock.patch.dict(sys.modules, missing),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        return main(words), out.getvalue(), err.getvalue()


def describe(result: dict[str, Any]) -> str:
    if result["status"] != "ok":
        return f"`{result['status']}`: {result['message']}"
    found = result["provenance"] and as_dataclass(result["provenance"], Provenance)
    said = [text for text in result["warnings"] if text != PHOTO_WARNING]
    said += [found.summary] if found and found.is_found else []
    return "; ".join([f"scored as a {'photo' if result['media'] == 'image' else 'video'}", *said])


def row(kind: str, arguments: str, hub: str) -> str:
    code, printed, messages = predict(kind, arguments, hub)
    results = json.loads(printed or "[]")
    names = [f"{Path(result['path']).name}: " if len(results) > 1 else "" for result in results]
    parts = [name + describe(result) for name, result in zip(names, results, strict=True)]
    said = re.sub(r"(The known extensions are ).*", r"\1…", messages.strip()).splitlines()
    cells = (kind, f"`{arguments}`", "; ".join([*parts, *said]), str(code))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


@contextlib.contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """Serve the files of the working directory by HTTP, and some of them from each store; yields two addresses."""
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        with (
            s3_server() as variables,
            gcs_server() as emulator,
            serve() as hub,
            mock.patch.dict(os.environ, {**variables, **emulator}),
            # The servers write into the messages of the command otherwise.
            mock.patch("http.server.SimpleHTTPRequestHandler.log_message"),
            mock.patch("socketserver.BaseServer.handle_error"),
        ):
            files = {str(path): path.read_bytes() for path in Path().glob("*/*")} | {
                "clip.mp4": Path("clip.mp4").read_bytes()
            }
            for scheme in ("s3", "gs", "memory"):
                store = fsspec.filesystem(scheme, use_listings_cache=False)
                for name, content in files.items():
                    store.pipe_file(f"bucket/{name}", content)
            hub.repositories["me/videos"] = Repository(private=False, commits={"0" * 40: files})
            yield f"http://127.0.0.1:{site.server_port}", hub.url
    finally:
        site.shutdown()


def tables() -> str:
    lines = []
    with servers() as (site, hub):
        for line in KINDS.strip().splitlines():
            if line.startswith("#"):
                lines += [line, "", HEAD, "|---|---|---|---|"]
            elif line:
                kind, _, arguments = line.format(site=site, folder=os.getcwd()).partition(": ")
                lines.append(row(kind, arguments, hub))
            else:
                lines.append("")
    return "\n".join(lines).replace(site, "http://HOST").replace(os.getcwd(), "/FOLDER") + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/inputs.md")
    wanted = parser.parse_args()
    # The encoder of AV1 is talkative otherwise.
    os.environ["SVT_LOG"] = "1"
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        write_files()
        made = tables()
        os.chdir(PAGE.parent)
    print(made)
    if wanted.write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(TABLES.sub(lambda found: f"{found[1]}{made}{found[2]}", text), encoding="utf-8")
