# SPDX-License-Identifier: Apache-2.0
"""Track faces through a video and crop them.

`find_face_tracks` detects and links faces, and `crop_tracks` crops the frames.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .face_centerface import CenterFaceDetector, check_available
from .face_detection import FaceDetection, FaceDetector
from .face_mtcnn import MTCNNDetector
from .face_search import search_tracks
from .face_tracking import (
    FaceTrack,
    find_cuts,
    link_detections,
    rescale_box,
    smooth_boxes,
)
from .video_decoding import FrameSource, VideoDecodeError, VideoError


__all__ = [
    "CenterFaceDetector",
    "FaceCropSettings",
    "FaceDetection",
    "FaceDetector",
    "FaceTrack",
    "MTCNNDetector",
    "NoFaceFoundError",
    "crop_face",
    "crop_tracks",
    "crop_upright",
    "find_cuts",
    "find_face_tracks",
    "link_detections",
    "make_detector",
    "smooth_boxes",
]

# The detectors that settings can name; the first is the default.
DETECTORS = ("centerface", "mtcnn")


class NoFaceFoundError(VideoError):
    """No face was found in the video, although its frames could be decoded."""

    reason = "no_face"


@dataclass(frozen=True, kw_only=True)
class FaceCropSettings:
    """Settings of the face crops of a checkpoint, as JSON scalars.

    Args:
        margin: Side of the crop relative to the longer side of the face box; 1.3 is common (FaceForensics++,
            DeepfakeBench).
        square: A square crop around the centre of the box; otherwise the crop has the shape of the box times `margin`.
        padding: Fill of pixels outside the frame: "reflect" mirrors the frame, "zero" is black.
        detector: "centerface" or "mtcnn", whose boxes differ by a few per cent.
        min_face_size: Smallest face of the first search, in pixels of the frame scaled to `max_side`.
        min_score: Detections below this score are ignored.
        max_side: Longer side in pixels of the scaled frame in the first search.
        smooth_boxes: Average the boxes of up to five consecutive frames; frames that are not consecutive keep their
            boxes.
    """

    margin: float = 1.3
    square: bool = True
    padding: Literal["reflect", "zero"] = "reflect"
    detector: Literal["centerface", "mtcnn"] = "centerface"
    min_face_size: int = 40
    min_score: float = 0.9
    max_side: int = 640
    smooth_boxes: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("margin", 0.1, 10), ("min_score", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"{name} must be a number from {low} to {high}, got {value!r}")
        for name, low, high in (("min_face_size", 12, 1000), ("max_side", 64, 10_000)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r}")
        for name in ("square", "smooth_boxes"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.padding not in ("reflect", "zero"):
            raise ValueError(f'padding must be "reflect" or "zero", got {self.padding!r}')
        if self.detector not in DETECTORS:
            raise ValueError(f'detector must be "centerface" or "mtcnn", got {self.detector!r}')


# --- geometry -------------------------------------------------------------------------------------------------------


def crop_face(
    frame: np.ndarray,
    box: np.ndarray,
    *,
    margin: float = 1.3,
    square: bool = True,
    padding: Literal["reflect", "zero"] = "reflect",
    quarter_turns: int = 0,
) -> np.ndarray:
    """Crop a face from `frame`, (H, W, 3) uint8, and rotate it counterclockwise by `quarter_turns` times 90 degrees.

    The crop is centred on `box` (x0, y0, x1, y1 in pixels). A square crop has the side max(w, h) * margin, a
    non-square crop the size (h * margin, w * margin), both rounded, at least one pixel and at most twice the frame's
    longer side. The box may extend beyond the frame: pixels outside are its reflection (as by `numpy.pad`) or zeros.

    Returns a new (h, w, 3) uint8 array. Raises `ValueError` for a box that is not four finite numbers.
    """
    box = np.asarray(box, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"a face box must be four finite numbers, got {box.tolist()}")
    height, width = frame.shape[:2]
    longest = max(height, width)
    box = np.clip(box, -longest, 2 * longest)  # keeps absurd boxes from asking for absurd memory
    sides = np.abs(box[2:] - box[:2]) * margin
    if square:
        sides = np.full(2, sides.max())
    counts = np.clip(np.rint(sides), 1, 2 * longest).astype(int)
    x, y = np.rint((box[:2] + box[2:] - counts) / 2).astype(int)
    columns, rows = np.arange(x, x + counts[0]), np.arange(y, y + counts[1])
    if min(x, y) >= 0 and columns[-1] < width and rows[-1] < height:
        # A slice takes a tenth of the time.
        crop: np.ndarray = frame[y : y + counts[1], x : x + counts[0]].copy()
    else:
        crop = frame[_reflect(rows, height)[:, None], _reflect(columns, width)]
    if padding == "zero":
        crop[(rows < 0) | (rows >= height)] = 0
        crop[:, (columns < 0) | (columns >= width)] = 0
    return np.ascontiguousarray(np.rot90(crop, quarter_turns)) if quarter_turns else crop


def _reflect(positions: np.ndarray, length: int) -> np.ndarray:
    """Map positions outside 0 to `length - 1` by repeated reflection at the first and last pixel."""
    period = max(1, 2 * (length - 1))
    folded = positions % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(positions)


# --- search ---------------------------------------------------------------------------------------------------------


def make_detector(settings: FaceCropSettings) -> FaceDetector:
    """Create the detector that the settings name.

    If Transformers loads this code from a model folder, the graph of CenterFace may be missing. MTCNN, whose boxes are
    similar, then replaces it with a warning, if it is installed.

    Raises:
        ImportError: If neither detector can run.
    """
    mtcnn = MTCNNDetector(min_face_size=settings.min_face_size, max_side=settings.max_side)
    if settings.detector == "mtcnn":
        return mtcnn
    try:
        check_available()
    except ImportError as error:
        if importlib.util.find_spec("facenet_pytorch") is None:
            raise
        warnings.warn(f"{error} MTCNN is used instead; scores may differ.", stacklevel=2)
        return mtcnn
    return CenterFaceDetector(min_face_size=settings.min_face_size, max_side=settings.max_side)


def find_face_tracks(
    source: FrameSource,
    indices: Iterable[int],
    *,
    settings: FaceCropSettings,
    detector: FaceDetector | None = None,
) -> list[FaceTrack]:
    """Find the faces of a video on the frames `indices` and link them into tracks, the main face first.

    Every fourth frame is searched as a whole. The frames in between are searched around the faces found last, or as a
    whole if a face is lost there. A detector that cannot search around a known face always receives whole frames.

    If upright faces are found in less than half of the frames, some frames are rotated by 90, 180 and 270 degrees. If
    one rotation shows upright faces nearly always, the tracks are those of the rotated frames. If no face is found at
    all, some of the frames are searched for smaller faces, and then three times as many frames of the video are
    searched (the tracks then contain these frames). Finally, a single face in a rotated frame is accepted.

    Args:
        source: The video.
        indices: Indices of the frames to search.
        settings: Settings of the search.
        detector: Face detector; by default the one that the settings name.

    Raises:
        NoFaceFoundError: If no face is found.
        VideoDecodeError: If none of the frames can be decoded.
        ImportError: If the detector is not installed.
    """
    wanted = sorted({int(i) for i in indices})
    tracks = search_tracks(source, wanted, detector or make_detector(settings), settings.min_score)
    if not tracks:
        raise NoFaceFoundError(
            source.name, "no face found, even after checking more frames, smaller faces and rotations"
        )
    return [smooth_boxes(track) for track in tracks] if settings.smooth_boxes else tracks


# --- crops ----------------------------------------------------------------------------------------------------------


def crop_upright(
    frame: np.ndarray,
    box: np.ndarray,
    quarter_turns: int,
    settings: FaceCropSettings,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Apply `crop_face` with these settings, for a box in pixels of an image of `size` (width, height)."""
    return crop_face(
        frame,
        rescale_box(box, size, (frame.shape[1], frame.shape[0])),
        margin=settings.margin,
        square=settings.square,
        padding=settings.padding,
        quarter_turns=quarter_turns,
    )


def crop_tracks(
    source: FrameSource,
    tracks: Sequence[FaceTrack],
    *,
    settings: FaceCropSettings,
    resize: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Crop all face tracks of a video in one pass over its frames.

    Each crop goes through `resize` ((h, w, 3) uint8 to (H, W, 3) uint8 of one size) at once, so that no stack of large
    frames exists. Returns one (T, H, W, 3) uint8 array per track, in the order of its frame indices.
    Raises `VideoDecodeError` if a frame of a track cannot be decoded.
    """
    wanted: dict[int, list[tuple[int, np.ndarray]]] = {}
    for i, track in enumerate(tracks):
        for index, box in zip(track.frame_indices.tolist(), track.boxes, strict=True):
            wanted.setdefault(index, []).append((i, box))
    crops: list[list[np.ndarray]] = [[] for _ in tracks]
    for index, frame in source.frames(sorted(wanted)):
        for i, box in wanted.pop(index):
            track = tracks[i]
            crops[i].append(resize(crop_upright(frame, box, track.quarter_turns, settings, track.size)))
    if wanted:
        raise VideoDecodeError(source.name, f"frame {min(wanted)}, which contains a face, cannot be decoded")
    return [np.stack(track_crops) for track_crops in crops]
