# SPDX-License-Identifier: Apache-2.0
"""CenterFace beside MTCNN on videos of your own: faces found, boxes, and processor time of one thread.

    python -m benchmarks.detectors VIDEO [VIDEO ...]

The last lines are the medians from which the box correction of `face_centerface.py` follows.
"""

import sys
import time
from collections import defaultdict
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch

from deepfake_video import face_centerface
from deepfake_video.face_centerface import CenterFaceDetector
from deepfake_video.face_detection import FaceDetection, FaceDetector
from deepfake_video.face_mtcnn import MTCNNDetector
from deepfake_video.face_tracking import MIN_IOU, box_iou
from deepfake_video.video_decoding import VideoReader

from .measuring import timed


FRAMES, MIN_SCORE = 8, 0.9


def _center_and_sides(box: np.ndarray) -> np.ndarray:
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


def main(paths: list[str]) -> None:
    parts: dict[str, float] = defaultdict(float)
    session = SimpleNamespace(run=timed(face_centerface._load_session().run, parts, "network"))
    with (
        mock.patch.object(face_centerface, "_load_session", return_value=session),
        mock.patch.object(face_centerface, "_shrink", timed(face_centerface._shrink, parts, "downscaling")),
    ):
        _compare(paths, parts)


def _compare(paths: list[str], parts: dict[str, float]) -> None:
    torch.set_num_threads(1)
    detectors: dict[str, FaceDetector] = {"mtcnn": MTCNNDetector(), "centerface": CenterFaceDetector()}
    seconds, found = dict.fromkeys(detectors, 0.0), dict.fromkeys(detectors, 0)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for detector in detectors.values():
        detector.detect(np.zeros((1, 360, 640, 3), np.uint8))  # loads the networks
    parts.clear()
    for path in paths:
        with VideoReader(path) as reader:
            indices = np.unique(np.linspace(0, reader.num_frames - 1, FRAMES).astype(int))
            for _, frame in reader.frames(indices):
                faces: dict[str, list[FaceDetection]] = {}
                for name, detector in detectors.items():
                    start = time.process_time()
                    faces[name] = [face for face in detector.detect(frame[None])[0] if face.score >= MIN_SCORE]
                    seconds[name] += time.process_time() - start
                    found[name] += len(faces[name])
                for face in faces["mtcnn"]:
                    best = max(faces["centerface"], key=lambda other: box_iou(face.box, other.box), default=None)
                    if best is not None and box_iou(face.box, best.box) > MIN_IOU:
                        pairs.append((face.box, best.box))
    print(f"found: {found}, by both: {len(pairs)}; {seconds['centerface'] / seconds['mtcnn']:.3f} of the time")
    shares = {part: round(spent / seconds["centerface"], 2) for part, spent in parts.items()}
    print(f"shares of the time of CenterFace: {shares}")
    if pairs:
        theirs, ours = (np.stack([_center_and_sides(box) for box in boxes]) for boxes in zip(*pairs, strict=True))
        shift = (theirs[:, :2] - ours[:, :2]) / np.sqrt(ours[:, 2:].prod(axis=1, keepdims=True))
        print(f"median IoU {np.median([box_iou(*pair) for pair in pairs]):.3f}")
        print(f"what is left to correct: shift {np.median(shift, axis=0).round(3).tolist()} of the size, ", end="")
        print(f"factors {np.median(theirs[:, 2:] / ours[:, 2:], axis=0).round(3).tolist()}")


if __name__ == "__main__":
    main(sys.argv[1:])
