# SPDX-License-Identifier: Apache-2.0
"""Re-encoded copies of a video: rescaled and compressed like videos on social media, before faces are cut out.

A codec that predicts frames from one another does not remove the same traces as JPEG compression, so a detector must
see its output in training. Each copy of a real video also contains a self-blended version that was blended before it
was encoded, as the fakes of a data set are.
"""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ..evaluation.encoding import through_codec
from ..evaluation.samples import Sample
from ..face_cropping import FaceTrack, crop_face
from ..video_decoding import FrameSource
from .blending import blend_clip, draw_blend


# Number of consecutive frames that are encoded together, and of those that are kept.
WINDOW, KEPT = 48, 12
# The copy on which validation videos are scored too: the c40 of FaceForensics++.
VALIDATED, VALIDATED_CRF = 0, 40
# Parameters of a blend are relative to a view of this margin, the usual one of a frame classifier.
_BLEND_MARGIN = 1.15


@dataclass(frozen=True)
class Encoding:
    """
    One encoding step of a copy.

    Attributes:
        codec: A key of [`~evaluation.encoding.CODECS`].
        crf: Constant rate factor on the scale of the codec.
        scale: Scale of the encoded frames relative to the original ones.
    """

    codec: str
    crf: int
    scale: float = 1.0


def draw_encodings(random: np.random.Generator) -> tuple[Encoding, ...]:
    """
    Draw the encodings of a copy: H.264 (half of the copies), rescaled H.264, HEVC, VP9, or H.264 twice.

    The quality ranges from that of c23 in FaceForensics++, whose compression is hardly visible, to worse than
    that of its c40.
    """
    kind = random.choice(["h264", "rescaled", "hevc", "vp9", "twice"], p=[0.5, 0.22, 0.08, 0.08, 0.12])
    if kind == "h264":
        return (Encoding("h264", int(random.integers(23, 43))),)
    if kind == "hevc":
        return (Encoding("hevc", int(random.integers(25, 39))),)
    if kind == "vp9":
        return (Encoding("vp9", int(random.integers(32, 56))),)
    if kind == "rescaled":
        return (Encoding("h264", int(random.integers(22, 37)), float(np.exp(random.uniform(np.log(0.4), 0)))),)
    first, second = (int(crf) for crf in random.integers(24, 36, 2))
    return Encoding("h264", first, float(random.uniform(0.5, 1))), Encoding("h264", second)


def encode_clip(frames: np.ndarray, encodings: tuple[Encoding, ...], video: str) -> np.ndarray:
    """
    Encode and decode frames.

    Args:
        frames: Frames (T, H, W, 3) uint8.
        encodings: Encodings that are applied one after the other.
        video: Name of the video, for error messages.

    Returns:
        Frames (T, H', W', 3) uint8 of the size of the last encoding.

    Raises:
        VideoDecodeError: If the frames cannot be encoded.
    """
    for encoding in encodings:
        if encoding.scale != 1:
            size = tuple(max(16, round(side * encoding.scale)) for side in frames.shape[2:0:-1])
            frames = np.stack([_resize(frame, (size[0], size[1])) for frame in frames])
        coded = through_codec(enumerate(frames), encoding.codec, encoding.crf, video)
        frames = np.stack([frame for _, frame in coded])
    return frames


def make_copies(
    source: FrameSource,
    sample: Sample,
    track: FaceTrack,
    landmarks: np.ndarray,
    *,
    count: int,
    size: int,
    margin: float,
) -> dict[str, np.ndarray]:
    """
    Make copies of the main face of a video.

    Copy 0 is always H.264 at CRF 40; the others are drawn at random. An original and its fakes are cut at the same
    times and get the same encodings, so that they differ only in the manipulation.

    Args:
        source: Video.
        sample: Sample of the data set.
        track: Track of the main face, upright.
        landmarks: Landmarks (T, 5, 2) in pixels of the video on the frames of the track; NaN where unknown.
        count: Number of copies.
        size: Side of a crop in pixels.
        margin: Side of a crop divided by the longer side of the face box.

    Returns:
        `copies` (count, KEPT, size, size, 3) uint8, `copy_landmarks` (count, KEPT, 5, 2) float32 in pixels of the
        crops, and for a real video `blends`, of the same shape as `copies`.

    Raises:
        VideoDecodeError: If a frame cannot be decoded or encoded.
    """
    first, last = int(track.frame_indices[0]), int(track.frame_indices[-1])
    origin = sample.original if sample.is_fake and sample.original else sample.path.stem
    parts: dict[str, list[np.ndarray]] = {"copies": [], "copy_landmarks": [], "blends": []}
    for number in range(count):
        random = np.random.default_rng([zlib.crc32(f"{sample.dataset} {origin}".encode()), number])
        encodings, position = draw_encodings(random), random.random()
        if number == VALIDATED:
            encodings = (Encoding("h264", VALIDATED_CRF),)
        start = first + int(position * max(1, last - first + 2 - WINDOW)) if last - first >= WINDOW else first
        indices = np.arange(start, min(start + WINDOW, last + 1))
        frames, boxes, points = _cut_region(source, track, landmarks, indices, size=size, margin=margin)
        kept = np.linspace(0, len(frames) - 1, KEPT).round().astype(int)
        for name in ("copies",) if sample.is_fake else ("copies", "blends"):
            clip = frames if name == "copies" else _blend(frames, boxes, points, random)
            coded = encode_clip(clip, encodings, source.name)
            scale = np.array(coded.shape[2:0:-1]) / frames.shape[2:0:-1]
            crops = [_crop(coded[i], boxes[i] * np.tile(scale, 2), points[i] * scale, size, margin) for i in kept]
            parts[name].append(np.stack([crop for crop, _ in crops]))
            if name == "copies":
                parts["copy_landmarks"].append(np.stack([place for _, place in crops]))
    return {name: np.stack(clips) for name, clips in parts.items() if clips}


def _cut_region(
    source: FrameSource,
    track: FaceTrack,
    landmarks: np.ndarray,
    indices: np.ndarray,
    *,
    size: int,
    margin: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut out the region in which the face moves; returns it with its boxes (T, 4) and landmarks (T, 5, 2).

    Encoding this region costs a fraction of encoding whole frames, and the quality of a constant rate factor does not
    depend on the frame size. Faces larger than the crops are downscaled first.
    """
    decoded = dict(source.frames(indices))
    indices = np.array(sorted(decoded))
    boxes = _interpolate(indices, track.frame_indices, track.boxes)
    known = np.isfinite(landmarks).all((1, 2))
    points = np.full((len(indices), 5, 2), np.nan)
    if known.any():
        flat = landmarks[known].reshape(-1, 10)
        points = _interpolate(indices, track.frame_indices[known], flat).reshape(-1, 5, 2)
    sides, centers = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True), (boxes[:, :2] + boxes[:, 2:]) / 2
    height, width = decoded[int(indices[0])].shape[:2]
    low = np.clip(np.floor((centers - sides * margin / 2).min(0)), 0, [width - 2, height - 2]).astype(int)
    high = np.clip(np.ceil((centers + sides * margin / 2).max(0)), low + 2, [width, height]).astype(int)
    shrink = min(1.0, 1.5 * size / (margin * float(np.median(sides))))
    target = tuple(max(16, round(float(side) * shrink)) for side in high - low)
    scale = np.array(target) / (high - low)
    frames = [decoded[int(index)][low[1] : high[1], low[0] : high[0]] for index in indices]
    region = np.stack([_resize(frame, (target[0], target[1])) for frame in frames])
    return region, (boxes - np.tile(low, 2)) * np.tile(scale, 2), (points - low) * scale


def _blend(frames: np.ndarray, boxes: np.ndarray, points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Self-blend a region; parameters in shares of a crop are converted to shares of the larger region."""
    blend = draw_blend(random)
    side = float(np.median((boxes[:, 2:] - boxes[:, :2]).max(1)))
    share = min(1.0, _BLEND_MARGIN * side / max(frames.shape[1:3]))
    blend = replace(
        blend,
        edge_blur=(blend.edge_blur[0] * share, blend.edge_blur[1] * share),
        warp=blend.warp * share,
        shift=(blend.shift[0] * share, blend.shift[1] * share),
    )
    # Without landmarks `blend_clip` would assume an aligned crop, which the region is not.
    points = np.where(np.isfinite(points), points, _usual_points(boxes))
    return blend_clip(frames, points, blend)[0]


def _usual_points(boxes: np.ndarray) -> np.ndarray:
    """Usual positions (T, 5, 2) of eyes, nose and corners of the mouth in face boxes (T, 4)."""
    shares = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.78), (0.65, 0.78)])
    return np.asarray(boxes[:, None, :2] + shares * (boxes[:, None, 2:] - boxes[:, None, :2]))


def _crop(
    frame: np.ndarray, box: np.ndarray, points: np.ndarray, size: int, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    crop = crop_face(frame, box, margin=margin)
    side = crop.shape[0]
    corner = np.rint((box[:2] + box[2:] - side) / 2)
    return _resize(crop, (size, size)), ((points - corner) * size / side).astype(np.float32)


def _interpolate(at: np.ndarray, indices: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(at, indices, column) for column in values.T], 1)


def _resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
