# SPDX-License-Identifier: Apache-2.0
"""Draws the report of the README: `python .ci/make_report.py astronaut.png docs/report.png`.

Nine seconds of a picture under a moving camera, three of them self-blended, as `deepfake-video predict --report` shows
them; needs the extra `dev`, and Chromium.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

from deepfake_video.face_mtcnn import MTCNNDetector
from deepfake_video.training.blending import blend_clip, draw_blend


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from browser import open_tab


FPS, SECONDS, WIDTH, HEIGHT = 25, 9, 640, 360
BLENDED_S = range(3, 6)


def blend_face(picture: Image.Image, seed: int) -> Image.Image:
    """The picture with its largest face self-blended."""
    frame = np.array(picture)
    face = max(MTCNNDetector().detect(frame[None])[0], key=lambda found: found.box[2] - found.box[0])
    x0, y0, x1, y1 = face.box
    side = 2.2 * (x1 - x0)
    left, top = (round(max(0.0, (low + high - side) / 2)) for low, high in ((x0, x1), (y0, y1)))
    crop = frame[top : round(top + side), left : round(left + side)]
    points = np.asarray(face.landmarks, float) - (left, top)
    blended, _ = blend_clip(crop[None], points[None], draw_blend(np.random.default_rng(seed)))
    frame[top : top + crop.shape[0], left : left + crop.shape[1]] = blended[0]
    return Image.fromarray(frame)


def write_clip(real: Image.Image, blended: Image.Image, path: Path) -> None:
    """The upper left of the one picture, in between of the other, under a camera that drifts."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FPS * SECONDS):
            time_s = number / FPS
            width = 430 + 20 * np.sin(0.9 * time_s)
            x, y = 225 + 12 * np.sin(0.7 * time_s + 1) - width / 2, 8 + 6 * np.sin(1.1 * time_s)
            view = (float(x), float(y), float(x + width), float(y + width * HEIGHT / WIDTH))
            picture = blended if int(time_s) in BLENDED_S else real
            frame = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, view)
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())


def main(source: Path, target: Path) -> None:
    """Make the clip, have it judged by the default checkpoint, and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        clip, report = Path(folder, "astronaut.mp4"), Path(folder, "report.html")
        picture = Image.open(source).convert("RGB")
        write_clip(picture, blend_face(picture, seed=3), clip)
        command = [sys.executable, "-m", "deepfake_video.cli", "predict", str(clip), "--report", str(report)]
        subprocess.run(command, check=True)
        with open_tab(report.as_uri(), size=(900, 1180)) as tab:
            tab.page.screenshot(path=target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
