# SPDX-License-Identifier: Apache-2.0
"""
Compare graphs of CenterFace with the original: `python compare.py GRAPH IMAGES OTHER [OTHER ...]`.

On the images of `search_images.py`: faces of the original that the other graph finds or misses, faces
that only the other finds, overlap of the boxes, differences of heat and landmarks, and processor time of one thread.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from search_images import read_images

from deepfake_video.face_centerface import _decode
from deepfake_video.face_tracking import MIN_IOU, box_iou


SURE_HEAT = 0.5
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def load(path: Path) -> Any:
    """A session that runs in one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def find(session: Any, image: np.ndarray) -> Found:
    """Boxes (N, 4), heat (N,) and landmarks (N, 5, 2) of the faces in an image (H, W, 3) uint8."""
    pixels = image.transpose(2, 0, 1)[None].astype(np.float32)
    return _decode(*(output[0] for output in session.run(None, {"image": pixels})))


def best_overlap(box: np.ndarray, boxes: np.ndarray) -> tuple[float, int]:
    """The largest IoU of a box with others, and the position of that box."""
    overlaps = [box_iou(box, other) for other in boxes]
    return max(((overlap, position) for position, overlap in enumerate(overlaps)), default=(0.0, -1))


def compare(original: list[Found], other: list[Found]) -> dict[str, float]:
    """
    Compare the faces in the same images.

    Args:
        original: Faces of each image, found by the original.
        other: Faces of each image, found by the other graph.
    """
    missed = added = 0
    overlaps, heats, points = [], [], []
    for (boxes, heat, landmarks), (their_boxes, their_heat, their_landmarks) in zip(original, other, strict=True):
        for box, own_heat, own_points in zip(boxes, heat, landmarks, strict=True):
            if own_heat < SURE_HEAT:
                continue
            overlap, place = best_overlap(box, their_boxes)
            if overlap <= MIN_IOU:
                missed += 1
                continue
            overlaps.append(overlap)
            heats.append(abs(float(their_heat[place] - own_heat)))
            side = float(np.sqrt(np.prod(box[2:] - box[:2])))
            points.append(float(np.abs(their_landmarks[place] - own_points).max()) / side)
        sure = their_boxes[their_heat >= SURE_HEAT]
        added += sum(best_overlap(box, boxes)[0] <= MIN_IOU for box in sure)
    return {
        "faces": len(overlaps) + missed,
        "missed": missed,
        "added": added,
        "mean IoU": float(np.mean(overlaps)),
        "IoU, 5 %": float(np.quantile(overlaps, 0.05)),
        "heat": float(np.mean(heats)),
        "landmarks": float(np.mean(points)),
    }


def _mirror(found: Found, width: int) -> Found:
    """The faces of a mirrored image in the coordinates of the image."""
    boxes, heat, landmarks = found
    boxes = boxes.reshape(-1, 4)[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)
    return boxes, heat, landmarks.reshape(-1, 5, 2)[:, [1, 0, 2, 4, 3]] * (-1, 1) + (width, 0)


def _describe(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {round(value, 4):g}" for name, value in figures.items())


def main() -> None:
    graph, images_path, *others = map(Path, sys.argv[1:])
    images = read_images(images_path)
    sessions = {path: load(path) for path in (graph, *others)}
    found: dict[Path, list[Found]] = {path: [] for path in sessions}
    seconds = dict.fromkeys(sessions, 0.0)
    for image in images:
        for path, session in sessions.items():
            start = time.process_time()
            found[path].append(find(session, image))
            seconds[path] += time.process_time() - start
    mirrored = [_mirror(find(sessions[graph], image[:, ::-1]), image.shape[1]) for image in images]
    print(f"{graph} on mirrored images: {_describe(compare(found[graph], mirrored))}")
    for path in others:
        share = seconds[path] / seconds[graph]
        print(f"{path}: {_describe(compare(found[graph], found[path]))}, {share:.3f} of the time")


if __name__ == "__main__":
    main()
