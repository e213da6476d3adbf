# SPDX-License-Identifier: Apache-2.0
"""The face detector CenterFace, run by onnxruntime without torch.

Xu et al. 2019, https://arxiv.org/abs/1911.03599. The graph `centerface.onnx` was made from the published weights of
https://github.com/Star-Clouds/CenterFace (MIT, see `centerface.LICENSE`) by removing channels
(`experiments/face_detector`). The package has it beside this file. Where Transformers loads this code from a model
folder, the graph is that of the folder, or else that of an installed package.
"""

from __future__ import annotations

import importlib.util
import shutil
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .face_detection import FaceDetection, check_frames, region_around, scale_frame
from .face_tracking import MIN_IOU, box_iou, box_ious


GRAPH_NAME, LICENSE_NAME = "centerface.onnx", "centerface.LICENSE"
INSTALL_COMMAND = "pip install deepfake-video"

# Height in pixels of a face of `min_face_size` in the image that is searched first, and in the larger one that is
# searched if the first shows no certain face of at least `_LARGE` times that size: beside small faces there may be
# others that it does not show. The cost is proportional to the area of the image. The network finds few faces of 14
# pixels, most of 22 and all of 40.
_HEIGHTS, _LARGE = (14.0, 40.0), 1.5
# Side of the region that is searched for a known face, relative to its box, and the side in pixels to which it is
# scaled.
_REGION_SCALE = 2.0
_REGION_SIDE = 96
# The network has a stride of 4 pixels and requires sides that are multiples of 32.
_STRIDE, _MULTIPLE = 4, 32
# Peaks of the heat map below the first value are ignored; those below the second are checked at a higher resolution.
_LOWEST_HEAT, _SURE_HEAT = 0.2, 0.5
# So many uncertain peaks of a frame are checked, about 10 ms of CPU time each; further ones keep their low score.
_MAX_CHECKS = 32
# If two boxes overlap by more than this, the one with the higher score is kept.
_MAX_OVERLAP = 0.3
# Faces smaller than this share of `min_face_size` are dropped; the smallest faces of MTCNN are about as large.
_TOLERANCE = 0.75
# Maps heat to scores comparable with those of MTCNN: a heat of .5 becomes .9, and .2 becomes .7.
_ODDS_FACTOR = 9.0
# MTCNN's boxes, for which the published checkpoints and this package's were trained, minus CenterFace's: shift of the
# centre in sqrt(w * h), factors of width and height. Rounded between the medians of whole and close searches over 118
# real videos; `benchmarks/detectors.py` tells what is left to correct, which is 1 to 2 per cent.
_BOX_SHIFT = np.array([-0.006, -0.012])
_BOX_FACTOR = np.array([0.985, 1.01])


@dataclass(frozen=True, kw_only=True)
class CenterFaceDetector:
    """CenterFace on downscaled frames, with boxes adjusted to those of MTCNN and five landmarks.

    The graph is loaded on first use, kept in the module and shared between threads; an instance contains only
    settings. The graph runs in the calling thread.

    Args:
        min_face_size: Smallest face, in pixels of the frame scaled to sides of `min_side` to `max_side`.
        max_side: Longer side in pixels to which larger frames are downscaled; `min_face_size` refers to the scaled
            frame.
        min_side: Longer side in pixels to which smaller frames are enlarged.

    Example:
        >>> import numpy as np
        >>> from deepfake_video.face_centerface import CenterFaceDetector
        >>> CenterFaceDetector().detect(np.zeros((2, 90, 160, 3), dtype=np.uint8))
        [[], []]
    """

    min_face_size: int = 40
    max_side: int = 640
    min_side: int = 256

    def detect(self, frames: np.ndarray) -> list[list[FaceDetection]]:
        """Detect the faces of each frame, (T, H, W, 3) uint8 RGB, the highest score first.

        Raises:
            ValueError: If the array has another shape or type.
            ImportError: If onnxruntime or the graph is missing.
        """
        check_frames(frames)
        return [self._detect_one(frame) for frame in frames]

    def scaled(self, frame: np.ndarray) -> np.ndarray:
        """Return the frame, (H, W, 3) uint8, with a longer side of at most `max_side` pixels."""
        return _shrink(frame, min(1.0, self.max_side / max(frame.shape[:2])))

    def detect_near(self, frame: np.ndarray, box: np.ndarray) -> list[FaceDetection]:
        """Detect the faces around `box` in `frame`, (H, W, 3) uint8, at a fraction of the cost of a full search."""
        x0, y0, x1, y1 = region_around(box, _REGION_SCALE, frame)
        if x1 <= x0 or y1 <= y0:
            return []
        region = frame[y0:y1, x0:x1]
        return [face.moved((x0, y0)) for face in _search(region, _REGION_SIDE / max(region.shape[:2]))]

    def finer(self) -> CenterFaceDetector:
        """Return a detector for faces of 20 pixels in frames of up to 1280 pixels."""
        return replace(self, max_side=max(1280, self.max_side), min_face_size=20)

    def _detect_one(self, frame: np.ndarray) -> list[FaceDetection]:
        longest = max(frame.shape[:2])
        if min(frame.shape[:2]) == 0:
            return []
        scale = min(max(longest, self.min_side), self.max_side) / longest
        faces: list[FaceDetection] = []

        def size_of(face: FaceDetection) -> float:
            return float((face.box[3] - face.box[1]) * scale / self.min_face_size)

        for height in _HEIGHTS:
            faces = self._detect_at(frame, scale * min(1.0, height / self.min_face_size))
            faces = [face for face in faces if size_of(face) >= _TOLERANCE]
            if any(face.score >= _to_score(_SURE_HEAT) and size_of(face) >= _LARGE for face in faces):
                break
        return faces

    def _detect_at(self, frame: np.ndarray, scale: float) -> list[FaceDetection]:
        """Detect the faces of the frame at this scale; uncertain ones are checked at a higher resolution."""
        faces: list[FaceDetection] = []
        num_checks = 0
        for face in _search(frame, scale):
            if face.score < _to_score(_SURE_HEAT) and num_checks < _MAX_CHECKS:
                num_checks += 1
                near = [other for other in self.detect_near(frame, face.box) if box_iou(other.box, face.box) > MIN_IOU]
                face = max([face, *near], key=lambda candidate: candidate.score)
            if not faces or box_ious(face.box, np.stack([other.box for other in faces])).max() <= _MAX_OVERLAP:
                faces.append(face)
        return sorted(faces, key=lambda face: -face.score)


def check_available() -> None:
    """Check that CenterFace can run.

    Raises:
        ImportError: If onnxruntime or the graph is missing; the message says how to install it.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise ImportError("Detecting faces with CenterFace requires onnxruntime: pip install onnxruntime")
    _find_graph()


_model_folders: list[Path] = []


def register_graph_folder(folder: Path) -> None:
    """Register a model folder in which to look for the graph if it is not beside this file."""
    if folder not in _model_folders:
        _model_folders.append(folder)


def has_graph() -> bool:
    """Return whether the graph is beside this file, installed, or in a folder of [`register_graph_folder`]."""
    try:
        return _find_graph().is_file()
    except ImportError:
        return False


def has_own_graph() -> bool:
    """Return whether the graph is beside this file: in the package it is, in the modules cache of Transformers not."""
    return (Path(__file__).parent / GRAPH_NAME).is_file()


def copy_graph(folder: Path) -> None:
    """Copy the graph and its licence into a model folder."""
    graph = _find_graph()
    for source in (graph, graph.with_name(LICENSE_NAME)):
        if source.is_file() and not (folder / source.name).exists():
            shutil.copyfile(source, folder / source.name)


def _installed_folders() -> list[Path]:
    try:
        package = importlib.util.find_spec("deepfake_video")
    except ImportError:
        return []
    return [Path(folder) for folder in (package.submodule_search_locations or ())] if package else []


def _find_graph() -> Path:
    # Another version of the package may be installed, with another graph than that of the model folder.
    for folder in [Path(__file__).parent, *_model_folders, *_installed_folders()]:
        if (folder / GRAPH_NAME).is_file():
            return folder / GRAPH_NAME
    raise ImportError(
        f"Finding faces with CenterFace needs the file {GRAPH_NAME}, which is neither installed nor in the model "
        f"folder: {INSTALL_COMMAND}."
    )


_loading = threading.Lock()


@lru_cache(maxsize=1)
def _load_session() -> Any:
    check_available()
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(_find_graph()), options, providers=["CPUExecutionProvider"])


def _shrink(frame: np.ndarray, scale: float) -> np.ndarray:
    height, width = frame.shape[:2]
    return scale_frame(frame, max(1, round(height * scale)), max(1, round(width * scale)))


def _search(frame: np.ndarray, scale: float) -> list[FaceDetection]:
    """Detect the faces of a frame, (H, W, 3) uint8, at this scale, the highest score first."""
    picture = _shrink(frame, scale)
    height, width = picture.shape[:2]
    padded = np.zeros((1, 3, -height % _MULTIPLE + height, -width % _MULTIPLE + width), np.float32)
    padded[0, :, :height, :width] = picture.transpose(2, 0, 1)
    with _loading:
        session = _load_session()
    boxes, heat, landmarks = _decode(*(output[0] for output in session.run(None, {"image": padded})))
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    centers = centers + _BOX_SHIFT * np.sqrt(sides.prod(axis=1, keepdims=True))
    boxes = np.concatenate([centers - sides * _BOX_FACTOR / 2, centers + sides * _BOX_FACTOR / 2], axis=1)
    unscale = np.array([frame.shape[1] / width, frame.shape[0] / height])
    return [
        FaceDetection(box * np.tile(unscale, 2), _to_score(value), points * unscale)
        for box, value, points in zip(boxes, heat.tolist(), landmarks, strict=True)
    ]


def _decode(
    heat: np.ndarray, log_sides: np.ndarray, offsets: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode boxes (N, 4), heat (N,) and landmarks (N, 5, 2) in pixels of the image, the highest heat first.

    For each block of 4 x 4 pixels, the network outputs the probability of a face centre, the height and width of the
    face, the offset of the centre within the block, and the landmarks relative to the box. y precedes x in all of
    them.
    """
    rows, columns = np.nonzero(heat[0] >= _LOWEST_HEAT)
    order = np.argsort(-heat[0, rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    sides = np.exp(log_sides[:, rows, columns].astype(np.float64)).T[:, ::-1] * _STRIDE
    centers = np.stack([columns + offsets[1, rows, columns], rows + offsets[0, rows, columns]], axis=1)
    corners = (centers + 0.5) * _STRIDE - sides / 2
    points = landmarks[:, rows, columns].reshape(5, 2, -1).transpose(2, 0, 1)[..., ::-1]
    points = points * sides[:, None] + corners[:, None]
    boxes = np.concatenate([corners, corners + sides], axis=1)
    kept: list[int] = []
    for i, box in enumerate(boxes):
        if not kept or box_ious(box, boxes[kept]).max() <= _MAX_OVERLAP:
            kept.append(i)
    return boxes[kept], heat[0, rows, columns][kept], points[kept]


def _to_score(heat: float) -> float:
    return _ODDS_FACTOR * heat / (1 + (_ODDS_FACTOR - 1) * heat)
