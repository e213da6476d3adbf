# SPDX-License-Identifier: Apache-2.0
"""Draws the picture of a report in the README: `python .ci/make_report.py docs/report.png`.

Nine seconds of two drawn people, of whom one is self-blended for three seconds, as `deepfake-video predict --report`
shows them; needs the extra `dev`, and Chromium.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from deepfake_video.face_mtcnn import MTCNNDetector
from deepfake_video.scanning.sample import FPS, HEIGHT, draw_face
from deepfake_video.training.blending import blend_clip, draw_blend


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from browser import open_tab


SECONDS = 9
BLENDED_S = range(3, 6)
# The part of the drawing that shows a person.
COLUMNS = slice(160, 480)


def blend_face(frame: np.ndarray, seed: int) -> np.ndarray:
    """The frame with its largest face self-blended."""
    frame = frame.copy()
    face = max(MTCNNDetector().detect(frame[None])[0], key=lambda found: found.box[2] - found.box[0])
    x0, y0, x1, y1 = face.box
    side = 2.2 * (x1 - x0)
    left, top = (round(max(0.0, (low + high - side) / 2)) for low, high in ((x0, x1), (y0, y1)))
    crop = frame[top : round(top + side), left : round(left + side)]
    points = np.asarray(face.landmarks, float) - (left, top)
    blended, _ = blend_clip(crop[None], points[None], draw_blend(np.random.default_rng(seed)))
    frame[top : top + crop.shape[0], left : left + crop.shape[1]] = blended[0]
    return frame


def write_clip(path: Path, seed: int) -> None:
    """Two people side by side; the one on the right is altered in between."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = 2 * (COLUMNS.stop - COLUMNS.start), HEIGHT, "yuv420p"
        for number in range(FPS * SECONDS):
            time_s = number / FPS
            left, right = (draw_face(time_s + shift)[:, COLUMNS] for shift in (0.0, 1.3))
            if int(time_s) in BLENDED_S:
                right = blend_face(np.ascontiguousarray(right), seed)
            picture = np.ascontiguousarray(np.hstack([left, right]))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def main(target: Path) -> None:
    """Make the clip, have it scored by the packaged checkpoint, and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        clip, report = Path(folder, "interview.mp4"), Path(folder, "report.html")
        write_clip(clip, seed=3)
        command = [sys.executable, "-m", "deepfake_video.cli", "predict", str(clip), "--report", str(report)]
        subprocess.run(command, check=True)
        with open_tab(report.as_uri(), size=(900, 1720)) as tab:
            tab.page.screenshot(path=target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
