# SPDX-License-Identifier: Apache-2.0
"""
Find turned, dark and small faces with graphs of CenterFace or with MTCNN:
`python hard_faces.py FACES DETECTOR [DETECTOR ...]`.

FACES is a folder of aligned face images, such as those of UTKFace; DETECTOR is the file of a graph, or `mtcnn`. Prints
the share of the faces that each detector finds, and the shares by angle, brightness and size.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from compare import load
from PIL import Image

from deepfake_video import face_centerface
from deepfake_video.face_centerface import CenterFaceDetector
from deepfake_video.face_detection import FaceDetector
from deepfake_video.face_mtcnn import MTCNNDetector


NUM_FACES, SEED = 1500, 0
HEIGHT, WIDTH = 240, 320
# Longer side of the inserted image in pixels, smallest and largest, and the bounds of the printed groups.
SIDES, SIDE_BOUND = (32, 120), 64
# Share of the faces that are not turned, and the angles of the others in degrees.
UPRIGHT_SHARE, ANGLES = 0.4, (20, 60)
# Factors of the brightness; half of the faces keep theirs.
FACTORS = (1.0, 1.0, 0.4, 0.2)
MIN_SCORE = 0.9


@dataclass(frozen=True)
class HardFace:
    """
    A face in a grey frame.

    Attributes:
        frame: (H, W, 3) uint8.
        center: Centre (x, y) of the face in pixels.
        side: Side of the inserted image in pixels.
        groups: Names of the groups that the face belongs to.
    """

    frame: np.ndarray
    center: np.ndarray
    side: int
    groups: tuple[str, ...]


def draw_faces(files: Sequence[Path]) -> Iterator[HardFace]:
    """Draw faces of images, each turned, darkened and shrunk at random."""
    random = np.random.default_rng(SEED)
    for place in random.choice(len(files), NUM_FACES, replace=False):
        side = int(random.integers(SIDES[0], SIDES[1] + 1))
        angle = 0.0 if random.random() < UPRIGHT_SHARE else float(random.uniform(*ANGLES) * random.choice([-1, 1]))
        factor = float(random.choice(FACTORS))
        grey = int(random.integers(40, 200))
        image = Image.open(files[place]).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        image = image.rotate(angle, Image.Resampling.BILINEAR, expand=True, fillcolor=(grey, grey, grey))
        frame = Image.new("RGB", (WIDTH, HEIGHT), (grey, grey, grey))
        corner = tuple(
            int(random.integers(whole - part + 1)) for whole, part in zip(frame.size, image.size, strict=True)
        )
        frame.paste(image, corner)
        groups = (
            "turned" if angle else "upright",
            f"brightness {factor:g}",
            f"{'up to' if side <= SIDE_BOUND else 'above'} {SIDE_BOUND} px",
        )
        pixels = np.rint(np.asarray(frame) * factor).astype(np.uint8)
        yield HardFace(pixels, np.add(corner, np.divide(image.size, 2)), side, groups)


def is_found(detector: FaceDetector, face: HardFace) -> bool:
    """Whether a sure face lies around the centre of the inserted image, and is of about its size."""
    for found in detector.detect(face.frame[None])[0]:
        center, size = (found.box[:2] + found.box[2:]) / 2, float(np.sqrt(np.prod(found.box[2:] - found.box[:2])))
        near = np.abs(center - face.center).max() <= face.side / 4
        if found.score >= MIN_SCORE and near and face.side / 4 <= size <= face.side * 1.5:
            return True
    return False


def measure(detector: FaceDetector, faces: Sequence[HardFace]) -> dict[str, float]:
    """Compute the share of faces that a detector finds, of all of them and by group."""
    found: dict[str, list[bool]] = defaultdict(list)
    for face in faces:
        hit = is_found(detector, face)
        for group in ("all", *face.groups):
            found[group].append(hit)
    return {group: float(np.mean(hits)) for group, hits in sorted(found.items())}


def main() -> None:
    folder, *detectors = sys.argv[1:]
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    faces = list(draw_faces(files))
    for name in detectors:
        if name == "mtcnn":
            shares = measure(MTCNNDetector(), faces)
        else:
            with mock.patch.object(face_centerface, "_load_session", return_value=load(Path(name))):
                shares = measure(CenterFaceDetector(), faces)
        print(f"{name}: {', '.join(f'{group} {share:.3f}' for group, share in shares.items())}", flush=True)


if __name__ == "__main__":
    main()
