# SPDX-License-Identifier: Apache-2.0
"""
Face-mesh landmarks of every third frame of videos, or of images: python mesh.py OUTPUT FILE ...

Needs `pip install mediapipe==0.10.21`, the last release whose wheel contains the landmark model (Apache-2.0).
"""

import json
import sys
from pathlib import Path

import cv2
import mediapipe
import numpy as np


MESH = mediapipe.solutions.face_mesh
NOSE = [1, 2, 4, 5, 6, 48, 64, 97, 98, 115, 168, 195, 197, 220, 278, 294, 326, 327, 344, 440]


def ring(edges: frozenset[tuple[int, int]]) -> list[int]:
    """The points of a closed outline in order."""
    following = dict(edges)
    points = [min(following)]
    while following[points[-1]] != points[0]:
        points.append(following[points[-1]])
    return points


def regions() -> dict[str, list[int]]:
    """Mesh indices of each part of the face, the outline first."""
    parts = {
        "leye": MESH.FACEMESH_LEFT_EYE,
        "reye": MESH.FACEMESH_RIGHT_EYE,
        "lbrow": MESH.FACEMESH_LEFT_EYEBROW,
        "rbrow": MESH.FACEMESH_RIGHT_EYEBROW,
        "lips": MESH.FACEMESH_LIPS,
    }
    points = {name: sorted({point for edge in edges for point in edge}) for name, edges in parts.items()}
    return {"oval": ring(MESH.FACEMESH_FACE_OVAL), **points, "nose": NOSE}


def begin(output: Path) -> list[int]:
    """Create the folder with `regions.json`, the place of each part among the points; return their mesh indices."""
    output.mkdir(parents=True, exist_ok=True)
    indices: list[int] = []
    spans = {}
    for name, points in regions().items():
        spans[name] = [len(indices), len(indices) + len(points)]
        indices += points
    (output / "regions.json").write_text(json.dumps(spans))
    return indices


def main() -> None:
    output = Path(sys.argv[1])
    indices = begin(output)
    for path in sys.argv[2:]:
        capture, found, numbers, count = cv2.VideoCapture(path), [], [], 0
        with MESH.FaceMesh(static_image_mode=False, max_num_faces=1, min_detection_confidence=0.3) as finder:
            while (read := capture.read())[0]:
                height, width = read[1].shape[:2]
                faces = (
                    count % 3 == 0 and finder.process(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)).multi_face_landmarks
                )
                if faces:
                    found.append([(faces[0].landmark[i].x * width, faces[0].landmark[i].y * height) for i in indices])
                    numbers.append(count)
                count += 1
        name = Path(path).name + ".npz"
        np.savez_compressed(output / name, points=np.array(found, np.float32), frames=np.array(numbers, np.int32))


if __name__ == "__main__":
    main()
