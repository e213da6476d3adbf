# SPDX-License-Identifier: Apache-2.0
"""
Cache re-encoded copies of videos, with FFmpeg's program: `python encode_copies.py DATA WORK --part 0 --parts 2`.

A copy shows 12 of 48 consecutive frames. An original and its fakes get the same moments and encodings. Copies of real
videos exist in a self-blended version too, blended before they were encoded. The package has a successor of this
script, `deepfake_video.training.copies`, which draws other copies.
"""

import argparse
import json
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from chain_data import (
    CROP_MARGIN,
    CROP_SIZE,
    FACEFORENSICS,
    VIEW_MARGIN,
    add_folders,
    copy_path,
    split_people,
    training_samples,
)
from PIL import Image
from safetensors.numpy import save_file

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.evaluation.samples import Sample
from deepfake_video.face_cropping import FaceCropSettings, MTCNNDetector, crop_face, find_face_tracks
from deepfake_video.training.blending import blend_clip, draw_blend
from deepfake_video.video_decoding import VideoError, VideoReader


WINDOW, KEPT = 48, 12
# Sides in pixels: of a face crop in which landmarks are searched, of the search, and of the largest encoded face crop.
LANDMARK_CROP, LANDMARK_SEARCH, LARGEST_REGION = 192, 128, 420
OPTIONS = {
    "libx265": ["-x265-params", "log-level=none:pools=1"],
    "libvpx-vp9": ["-b:v", "0", "-deadline", "realtime", "-cpu-used", "7"],
}


@dataclass(frozen=True, kw_only=True)
class Chain:
    """
    Encodings that are applied one after the other.

    Attributes:
        scale: Scale of the encoded frames relative to the original ones.
        steps: Encoder of FFmpeg, constant rate factor and preset ("" for none) of each encoding.
    """

    scale: float = 1.0
    steps: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, kw_only=True)
class FaceClip:
    """Frames (T, H, W, 3) uint8 with the boxes (T, 4) and landmarks (T, 5, 2) of a face in their pixels."""

    frames: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray


VALIDATED = Chain(steps=(("libx264", 40, "medium"),))


def draw_chain(random: np.random.Generator) -> Chain:
    """Draw H.264 (half of the copies), rescaled H.264, HEVC, VP9, or H.264 twice."""
    kind = random.choice(["h264", "rescaled", "hevc", "vp9", "twice"], p=[0.5, 0.22, 0.08, 0.08, 0.12])
    crf = int(random.integers(24, 43))
    if kind == "h264":
        return Chain(steps=(("libx264", crf, str(random.choice(["veryfast", "medium"]))),))
    if kind == "rescaled":
        scale = float(np.exp(random.uniform(np.log(0.4), 0)))
        return Chain(scale=scale, steps=(("libx264", int(random.integers(22, 37)), "veryfast"),))
    if kind == "hevc":
        return Chain(steps=(("libx265", int(random.integers(25, 39)), "superfast"),))
    if kind == "vp9":
        return Chain(steps=(("libvpx-vp9", int(random.integers(32, 55)), ""),))
    scale = float(random.uniform(0.5, 1))
    first, second = (("libx264", int(random.integers(24, 36)), "veryfast") for _ in range(2))
    return Chain(scale=scale, steps=(first, second))


def encode(frames: np.ndarray, chain: Chain) -> np.ndarray:
    """Encode and decode frames (T, H, W, 3) uint8; the sides of the result are even."""
    height, width = frames.shape[1:3]
    target = [max(32, round(side * chain.scale / 2) * 2) for side in (width, height)]
    data, size = frames.tobytes(), [width, height]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    for codec, crf, preset in chain.steps:
        options = ["-c:v", codec, "-crf", str(crf), "-pix_fmt", "yuv420p", "-threads", "1"]
        options += [*(["-preset", preset] if preset else []), *OPTIONS.get(codec, [])]
        scaling = ["-vf", f"scale={target[0]}:{target[1]}:flags=bicubic"]
        source = [*raw, "-s", f"{size[0]}x{size[1]}", "-r", "25", "-i", "-"]
        coded = _run_ffmpeg([*source, *scaling, *options, "-f", "matroska", "-"], data)
        data, size = _run_ffmpeg(["-i", "-", "-threads", "1", *raw, "-"], coded), target
    return np.frombuffer(data, np.uint8).reshape(-1, target[1], target[0], 3)


def _run_ffmpeg(arguments: list[str], data: bytes) -> bytes:
    command = ["ffmpeg", "-v", "error", *arguments]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def read_face(path: Path) -> FaceClip:
    """
    Read all frames on which the main face of a video is tracked.

    Raises:
        ValueError: If the video is rotated, or has no landmarks.
        VideoError: If the video cannot be read, or shows no face.
    """
    with VideoReader(path) as video:
        count = video.num_frames
        indices = np.unique(np.linspace(0, count - 1, max(2, count // 5)).round().astype(int))
        track = find_face_tracks(video, indices, settings=FaceCropSettings(detector="mtcnn"))[0]
        if track.quarter_turns:
            raise ValueError("the face is rotated")
        frames = dict(video.frames(np.arange(track.frame_indices[0], track.frame_indices[-1] + 1)))
    known, points = [], []
    for index, box in zip(track.frame_indices, track.boxes, strict=True):
        if index in frames:
            crop = crop_face(frames[index], box, margin=CROP_MARGIN)
            found = _find_landmarks(_resize(crop, LANDMARK_CROP, LANDMARK_CROP))
            if found is not None:
                known.append(index)
                points.append(found * crop.shape[0] / LANDMARK_CROP + _corner(box, crop.shape[0]))
    if len(known) < 2:
        raise ValueError("no landmarks")
    every = np.array(sorted(frames))
    return FaceClip(
        frames=np.stack([frames[index] for index in every]),
        boxes=_interpolate(every, track.frame_indices, track.boxes),
        landmarks=_interpolate(every, np.array(known), np.stack(points).reshape(-1, 10)).reshape(-1, 5, 2),
    )


def _find_landmarks(crop: np.ndarray) -> np.ndarray | None:
    """Landmarks (5, 2) of the face nearest to the centre."""
    detector = MTCNNDetector(max_side=LANDMARK_SEARCH, min_side=LANDMARK_SEARCH, min_face_size=LANDMARK_SEARCH // 3)
    center = np.array(crop.shape[1::-1]) / 2
    faces = [face for face in detector.detect(crop[None])[0] if face.landmarks is not None]
    if not faces:
        return None
    nearest = min(faces, key=lambda face: float(np.abs((face.box[:2] + face.box[2:]) / 2 - center).sum()))
    return np.asarray(nearest.landmarks, np.float32)


def cut_region(clip: FaceClip) -> FaceClip:
    """Cut out the region in which the face moves, with even sides, and reduce it if the face is large."""
    sides, centers = (clip.boxes[:, 2:] - clip.boxes[:, :2]).max(1), (clip.boxes[:, :2] + clip.boxes[:, 2:]) / 2
    reach = sides[:, None] * CROP_MARGIN / 2
    height, width = clip.frames.shape[1:3]
    low = np.maximum(np.floor((centers - reach).min(0)).astype(int), 0)
    high = np.minimum(np.ceil((centers + reach).max(0)).astype(int), [width, height])
    high -= (high - low) % 2
    frames = clip.frames[:, low[1] : high[1], low[0] : high[0]]
    boxes, landmarks = clip.boxes - np.tile(low, 2), clip.landmarks - low
    shrink = LARGEST_REGION / (float(np.median(sides)) * CROP_MARGIN)
    if shrink < 1:
        target = ((high - low) * shrink).astype(int) // 2 * 2
        scale = target / (high - low)
        frames = np.stack([_resize(frame, target[0], target[1], Image.Resampling.BICUBIC) for frame in frames])
        boxes, landmarks = boxes * np.tile(scale, 2), landmarks * scale
    return FaceClip(frames=np.ascontiguousarray(frames), boxes=boxes, landmarks=landmarks)


def blend(region: FaceClip, random: np.random.Generator) -> np.ndarray:
    """Self-blend a region; parameters in shares of a view are converted to shares of the region."""
    drawn = draw_blend(random)
    side = np.median((region.boxes[:, 2:] - region.boxes[:, :2]).max(1))
    share = float(VIEW_MARGIN * side / max(region.frames.shape[1:3]))
    drawn = replace(
        drawn,
        edge_blur=(drawn.edge_blur[0] * share, drawn.edge_blur[1] * share),
        shift=(drawn.shift[0] * share, drawn.shift[1] * share),
        warp=drawn.warp * share,
    )
    return blend_clip(region.frames, region.landmarks, drawn)[0]


def make_crops(region: FaceClip, coded: np.ndarray) -> dict[str, np.ndarray]:
    """Face crops of the kept frames of an encoded region, and their landmarks."""
    scale = np.array(coded.shape[2:0:-1]) / region.frames.shape[2:0:-1]
    crops, points = [], []
    for index in np.unique(np.linspace(0, len(region.frames) - 1, KEPT).round().astype(int)):
        if index < len(coded):
            box = region.boxes[index] * np.tile(scale, 2)
            crop = crop_face(coded[index], box, margin=CROP_MARGIN)
            side = crop.shape[0]
            crops.append(_resize(crop, CROP_SIZE, CROP_SIZE))
            points.append((region.landmarks[index] * scale - _corner(box, side)) * CROP_SIZE / side)
    return {"frames": np.stack(crops), "landmarks": np.stack(points).astype(np.float32)}


def make_copies(sample: Sample, work: Path, blends: int, copies: int) -> None:
    """Write the copies of a video that do not exist yet: so many self-blended and so many ordinary ones."""
    wanted = [("sb", number) for number in range(blends)] + [("re", number) for number in range(copies)]
    missing = [(copy_path(work, sample, *item), *item) for item in wanted]
    missing = [item for item in missing if not item[0].exists()]
    whole = read_face(sample.path) if missing else None
    for path, kind, number in missing:
        assert whole is not None
        name = path.name.rsplit("~", 1)[0]
        random = np.random.default_rng([number, zlib.crc32(name.encode()) if kind == "sb" else 0])
        chain = VALIDATED if kind == "re" and number == 0 else draw_chain(random)
        start = int(random.random() * max(0, len(whole.frames) - WINDOW + 1))
        kept = slice(start, start + WINDOW)
        region = cut_region(
            FaceClip(frames=whole.frames[kept], boxes=whole.boxes[kept], landmarks=whole.landmarks[kept])
        )
        tensors = make_crops(region, encode(region.frames, chain))
        if kind == "sb":
            tensors["fake"] = make_crops(region, encode(blend(region, random), chain))["frames"]
        unfinished = path.with_suffix(".unfinished")
        save_file(tensors, unfinished, {"chain": json.dumps([chain.scale, chain.steps])})
        unfinished.rename(path)


def _corner(box: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(np.rint((box[:2] + box[2:] - side) / 2))


def _interpolate(at: np.ndarray, indices: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(at, indices, column) for column in values.T], 1)


def _resize(
    frame: np.ndarray, width: int, height: int, resampling: Image.Resampling = Image.Resampling.BILINEAR
) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((width, height), resampling))


def _make_part(data: Path, work: Path, part: int, parts: int, stop: int | None) -> int:
    (work / "copies").mkdir(parents=True, exist_ok=True)
    trained, held_out = training_samples(data), split_people(data)[1]
    swapped = [sample for sample in trained if sample.dataset == FACEFORENSICS]
    portraits = [sample for sample in trained if sample.dataset == "portraits"]
    # Sample, number of self-blended copies and of ordinary copies, the most useful ones first.
    jobs = [(sample, 0, 1) for sample in held_out]
    for blends, portrait_blends, copies in ((3, 1, 3), (8, 3, 6)):
        jobs += [(sample, 0 if sample.is_fake else blends, copies) for sample in swapped]
        jobs += [(sample, portrait_blends, 0) for sample in portraits]
    for sample, blends, copies in jobs[part::parts][:stop]:
        try:
            make_copies(sample, work, blends, copies)
        except (VideoError, ValueError, subprocess.CalledProcessError) as error:
            print(f"{sample.key}: {error}", file=sys.stderr, flush=True)
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folders(parser)
    parser.add_argument("--part", type=int, default=0, help="index of the part of the videos that this process does")
    parser.add_argument("--parts", type=int, default=1, help="number of parts")
    parser.add_argument("--stop", type=int, help="number of jobs of the part after which to stop")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    return run_command(
        lambda: _make_part(arguments.data, arguments.work, arguments.part, arguments.parts, arguments.stop)
    )


if __name__ == "__main__":
    sys.exit(main())
