# SPDX-License-Identifier: Apache-2.0
"""Videos to face crops and re-encoded copies, on many CPU cores; needs NumPy, OpenCV and PyAV."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter


CROP_SIZE, CROP_MARGIN = 288, 1.6
# The face box that MTCNN would give, from the oval of a face mesh: median over cached crops of the training videos.
BOX_SIDE, BOX_RISE = 1.12, 0.063
# Frames of a copy, and how many of them are kept.
COPY_LENGTH, COPY_KEPT = 48, 12
MAX_REGION_SIDE = 420


@dataclass
class FaceVideo:
    """Frames `(T, H, W, 3)` uint8 with meshes `(T, P, 2)` and face boxes `(T, 4)` in pixels; `kept` were searched."""

    frames: np.ndarray
    meshes: np.ndarray
    boxes: np.ndarray
    kept: np.ndarray


def read_video(path: Path, mesh_file: Path, oval: int) -> FaceVideo:
    """Decode a video and interpolate its meshes to every frame between the first and the last one found."""
    mesh = np.load(mesh_file)
    at, points = mesh["frames"], mesh["points"].astype(np.float32)
    first, last = int(at[0]), int(at[-1])
    frames = []
    converter = VideoReformatter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for number, frame in enumerate(container.decode(stream)):
            if first <= number <= last:
                frames.append(converter.reformat(frame, format="rgb24", threads=1).to_ndarray())
    every = np.arange(first, first + len(frames))
    flat = points.reshape(len(points), -1)
    meshes = np.stack([np.interp(every, at, column) for column in flat.T], 1).reshape(len(every), -1, 2)
    kept = at[at < first + len(frames)] - first
    return FaceVideo(np.stack(frames), meshes.astype(np.float32), boxes_of(meshes, oval), kept)


def boxes_of(meshes: np.ndarray, oval: int) -> np.ndarray:
    """Square face boxes `(T, 4)` of meshes whose first `oval` points are the outline."""
    low, high = meshes[:, :oval].min(1), meshes[:, :oval].max(1)
    height = high[:, 1] - low[:, 1]
    center, half = (low + high) / 2, height * BOX_SIDE / 2
    center[:, 1] -= BOX_RISE * height
    return np.concatenate([center - half[:, None], center + half[:, None]], 1)


def crop(frame: np.ndarray, box: np.ndarray, mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face with its margin `(S, S, 3)` and its mesh in pixels of the crop; edges are continued outside."""
    side = max(16, round(float(box[2] - box[0]) * CROP_MARGIN))
    x, y = np.rint((box[:2] + box[2:] - side) / 2).astype(int)
    height, width = frame.shape[:2]
    pad = max(0, -x, -y, x + side - width, y + side - height)
    if pad:
        frame = cv2.copyMakeBorder(frame, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    cut = frame[y + pad : y + pad + side, x + pad : x + pad + side]
    scale = CROP_SIZE / side
    resized = cv2.resize(cut, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return resized, ((mesh - (x, y)) * scale + (scale - 1) / 2).astype(np.float32)


def crops_of(video: FaceVideo, which: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Crops `(K, S, S, 3)` and meshes `(K, P, 2)` of some frames, which may have been scaled."""
    cuts = [
        crop(video.frames[i], video.boxes[i] * scale, video.meshes[i] * scale) for i in which if i < len(video.frames)
    ]
    return np.stack([cut for cut, _ in cuts]), np.stack([mesh for _, mesh in cuts])


def region(video: FaceVideo, start: int) -> FaceVideo:
    """The part of consecutive frames in which the face moves, no larger than what is used of it."""
    part = slice(start, start + COPY_LENGTH)
    frames, meshes, boxes = video.frames[part], video.meshes[part], video.boxes[part]
    side = (boxes[:, 2] - boxes[:, 0])[:, None]
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    low = np.maximum(np.floor((center - side * CROP_MARGIN / 2).min(0)), 0).astype(int)
    high = np.minimum(np.ceil((center + side * CROP_MARGIN / 2).max(0)), frames.shape[2:0:-1]).astype(int)
    size = (high - low) // 2 * 2
    frames = frames[:, low[1] : low[1] + size[1], low[0] : low[0] + size[0]]
    boxes, meshes = boxes - np.tile(low, 2), meshes - low
    scale = MAX_REGION_SIDE / max(float(np.median(side)) * CROP_MARGIN, MAX_REGION_SIDE)
    if scale < 1:
        new = tuple(int(length * scale) // 2 * 2 for length in size)
        factor = np.array(new) / size
        frames = np.stack([cv2.resize(frame, new, interpolation=cv2.INTER_AREA) for frame in frames])
        boxes, meshes = boxes * np.tile(factor, 2), meshes * factor
    kept = np.unique(np.linspace(0, len(frames) - 1, COPY_KEPT).round().astype(int))
    return FaceVideo(np.ascontiguousarray(frames), meshes.astype(np.float32), boxes, kept)


def draw_chain(random: np.random.Generator) -> tuple[float, list[tuple[str, dict[str, str]]]]:
    """A scale and one or two encodings, as videos meet them on platforms and in messengers."""
    kind = random.choice(["x264", "small", "x265", "vp9", "twice", "old"], p=[0.42, 0.2, 0.08, 0.08, 0.1, 0.12])

    def x264(low: int, high: int, preset: str = "veryfast") -> tuple[str, dict[str, str]]:
        return "libx264", {"crf": str(int(random.integers(low, high))), "preset": preset}

    if kind == "x264":
        return 1.0, [x264(23, 43, str(random.choice(["veryfast", "medium"])))]
    if kind == "small":
        return math.exp(random.uniform(math.log(0.4), 0)), [x264(22, 37)]
    if kind == "x265":
        options = {"crf": str(int(random.integers(25, 39))), "preset": "superfast"}
        return 1.0, [("libx265", options | {"x265-params": "log-level=none:pools=none:frame-threads=1"})]
    if kind == "vp9":
        options = {"crf": str(int(random.integers(32, 55))), "b": "0", "deadline": "realtime", "cpu-used": "7"}
        return 1.0, [("libvpx-vp9", options)]
    if kind == "old":
        quantizer = str(random.integers(2, 12))
        codec = str(random.choice(["mpeg1video", "mpeg2video", "mpeg4"]))
        return float(random.uniform(0.3, 0.7)), [(codec, {"qmin": quantizer, "qmax": quantizer})]
    return float(random.uniform(0.5, 1)), [x264(24, 36), x264(24, 36)]


def encode(frames: np.ndarray, chain: tuple[float, list[tuple[str, dict[str, str]]]]) -> tuple[np.ndarray, float]:
    """Frames `(T, h, w, 3)` after a chain, and their scale."""
    scale, steps = chain
    height, width = frames.shape[1:3]
    new = tuple(max(32, round(length * scale / 2) * 2) for length in (width, height))
    if new != (width, height):
        frames = np.stack([cv2.resize(frame, new, interpolation=cv2.INTER_CUBIC) for frame in frames])
    converter = VideoReformatter()  # by default, PyAV starts a thread per core for each conversion
    for codec, options in steps:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = new[0], new[1], "yuv420p"
            stream.codec_context.thread_count = 1
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(converter.reformat(picture, format="yuv420p", threads=1)))
            container.mux(stream.encode(None))
        buffer.seek(0)
        with av.open(buffer) as container:
            container.streams.video[0].thread_type = "NONE"
            shown = (converter.reformat(f, format="rgb24", threads=1) for f in container.decode(video=0))
            frames = np.stack([frame.to_ndarray() for frame in shown])
    return frames, new[0] / width


def self_blend(video: FaceVideo, random: np.random.Generator, oval: int) -> np.ndarray:
    """Frames with the face blended with an altered copy of itself, drawn once for all of them."""
    side = float(np.median(video.boxes[:, 2] - video.boxes[:, 0]))
    count = video.meshes.shape[1]
    jaw = [*range(oval // 4, oval - oval // 4), *range(oval, count)]
    choices = [list(range(count)), jaw, list(range(oval, count)), list(range(oval, count))]
    points = choices[random.choice(4, p=[0.35, 0.35, 0.2, 0.1])]
    growth = random.uniform(0.8, 1.15, 2)
    fade = random.uniform(0.01, 0.1) * side
    ratio = random.choice([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    shift = random.uniform(-1, 1, 2) * (0.03, 0.015) * side
    scale = random.uniform(0.95, 1.05)
    inside_altered = random.random() < 0.5
    gain = (1 + random.uniform(-0.15, 0.15, 3) * (random.random() < 0.7)) * random.uniform(0.85, 1.15)
    bias = random.uniform(-18, 18, 3) * (random.random() < 0.7)
    detail = random.choice(["coarse", "same", "sharp"])
    amount = random.uniform(0.3, 0.9) if detail == "coarse" else random.uniform(0.5, 2.0)
    noise = random.normal(0, 0.03 * side, (5, 5)).astype(np.float32)
    result = []
    for frame, mesh in zip(video.frames, video.meshes, strict=True):
        height, width = frame.shape[:2]
        hull = cv2.convexHull(mesh[points])[:, 0]
        center = hull.mean(0)
        outline = np.rint((hull - center) * growth + center).astype(np.int32)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(mask, outline, 1)
        low, high = mesh.min(0), mesh.max(0)
        box = [int(max(0, v)) for v in (low[0], low[1])] + [
            int(v) for v in (min(width, high[0]), min(height, high[1]))
        ]
        inwards = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        uneven = np.zeros((height, width), np.float32)
        if box[2] > box[0] and box[3] > box[1]:
            uneven[box[1] : box[3], box[0] : box[2]] = cv2.resize(
                noise, (box[2] - box[0], box[3] - box[1]), interpolation=cv2.INTER_CUBIC
            )
        weight = np.clip((inwards + uneven * (mask > 0)) / fade, 0, 1)[..., None] * ratio * mask[..., None]
        picture = frame.astype(np.float32)
        altered = np.clip(picture * gain + bias, 0, 255).astype(np.float32)
        if detail == "coarse":
            small = cv2.resize(altered, None, fx=amount, fy=amount, interpolation=cv2.INTER_LINEAR)
            altered = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        elif detail == "sharp":
            altered = altered + (altered - cv2.GaussianBlur(altered, (0, 0), 1.0)) * amount
        inside, outside = (altered, picture) if inside_altered else (picture, altered)
        move = np.array(
            [[scale, 0, center[0] * (1 - scale) + shift[0]], [0, scale, center[1] * (1 - scale) + shift[1]]],
            np.float32,
        )
        inside = cv2.warpAffine(inside, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        result.append(np.clip(outside + weight * (inside - outside), 0, 255).round().astype(np.uint8))
    return np.stack(result)
