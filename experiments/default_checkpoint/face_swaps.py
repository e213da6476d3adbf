# SPDX-License-Identifier: Apache-2.0
"""
Make face swaps for validation: `python face_swaps.py SWAPS LISTS/ff-c23.csv LISTS/portraits.csv ...`.

Each real video of the lists gets the face of another person of the same list: face meshes align the faces, and the
swapped face has a limited resolution, the colours of the original and a soft edge, as common face-swap programs make
them. No network was trained on swaps of this kind. The videos and their originals are encoded with H.264 at CRF 23;
SWAPS/swaps.csv lists them for `deepfake-video evaluate`. Needs FFmpeg's program and `pip install mediapipe==0.10.21
scipy`, but not this project.
"""

import argparse
import csv
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "gpu_training"))
from mesh import MESH, regions


# Frames per video, the fewest that are used, the largest side of a frame in pixels, and videos per person.
NUM_FRAMES, FEWEST_FRAMES, LARGEST_SIDE, VIDEOS_PER_PERSON = 50, 20, 1280, 3
# Resolutions of the swapped face in pixels, and from how many people with a similar face the other one is drawn.
RESOLUTIONS, NEIGHBOURS = (96, 128, 192, 256), 6
# Size and softness of the mask relative to the face, and how often the colours are transferred.
MASK_SIZES, MASK_BLURS, COLOUR_SHARE = (0.86, 1.0), (0.02, 0.07), 0.85
CRF = 23
OUTLINE = regions()["oval"]


@dataclass(frozen=True, kw_only=True)
class FaceVideo:
    """
    The first frames of a video on which a face mesh is found.

    Attributes:
        name: File name of its swapped version.
        dataset: Data set.
        person: Who is in it.
        frames: Frames (H, W, 3) uint8, BGR.
        meshes: Landmarks (468, 2) float32 of each frame, in pixels.
        fps: Frames per second.
    """

    name: str
    dataset: str
    person: str
    frames: list[np.ndarray]
    meshes: list[np.ndarray]
    fps: float

    @property
    def shape(self) -> np.ndarray:
        """Landmarks of the middle frame, centred and scaled."""
        mesh = self.meshes[len(self.meshes) // 2]
        centred = mesh - mesh.mean(0)
        return centred / np.abs(centred).max()


@dataclass(frozen=True, kw_only=True)
class SwapStyle:
    """
    How a face is swapped.

    Attributes:
        resolution: Largest side of the swapped face in pixels before it is scaled to the frame.
        mask_size: Size of the mask relative to the outline of the face.
        mask_blur: Erosion and standard deviation of the mask's blur relative to the width of the face.
        transfers_colours: Whether the swapped face gets the mean and the deviation of the original's colours.
    """

    resolution: int
    mask_size: float
    mask_blur: float
    transfers_colours: bool


def draw_style(random: np.random.Generator) -> SwapStyle:
    """Draw how a face is swapped."""
    return SwapStyle(
        resolution=int(random.choice(RESOLUTIONS)),
        mask_size=random.uniform(*MASK_SIZES),
        mask_blur=random.uniform(*MASK_BLURS),
        transfers_colours=bool(random.random() < COLOUR_SHARE),
    )


def read_frames(path: str) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    """Consecutive frames with a face, their meshes, and the frame rate."""
    capture = cv2.VideoCapture(path)
    frames: list[np.ndarray] = []
    meshes: list[np.ndarray] = []
    with MESH.FaceMesh(static_image_mode=False, max_num_faces=1, min_detection_confidence=0.3) as finder:
        while len(frames) < NUM_FRAMES and (read := capture.read())[0]:
            frame = read[1]
            if (scale := LARGEST_SIDE / max(frame.shape[:2])) < 1:
                frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            faces = finder.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).multi_face_landmarks
            if faces:
                height, width = frame.shape[:2]
                frames.append(frame)
                meshes.append(np.array([(p.x * width, p.y * height) for p in faces[0].landmark], np.float32))
            elif frames:
                break
    return frames, meshes, capture.get(cv2.CAP_PROP_FPS) or 25.0


def read_videos(lists: Sequence[Path]) -> Iterator[FaceVideo]:
    """Read the real videos of CSV files of `evaluation_lists.py`, at most three of each person."""
    for file in lists:
        count: Counter[str] = Counter()
        with file.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["label"] == "real"]
        for row in rows:
            count[row["group"]] += 1
            if count[row["group"]] > VIDEOS_PER_PERSON:
                continue
            frames, meshes, fps = read_frames(row["path"])
            if len(frames) < FEWEST_FRAMES:
                print(f"{row['path']}: {len(frames)} frames with a face, left out", file=sys.stderr)
                continue
            name = f"{file.stem}_{Path(row['path']).stem}.mp4"
            yield FaceVideo(name=name, dataset=file.stem, person=row["group"], frames=frames, meshes=meshes, fps=fps)


def draw_other(video: FaceVideo, videos: Sequence[FaceVideo], random: np.random.Generator) -> FaceVideo:
    """Draw a video of another person with a similar face, of the same list if it shows other people."""
    strangers = [other for other in videos if other.person != video.person]
    others = [other for other in strangers if other.dataset == video.dataset] or strangers
    shape = video.shape
    others = sorted(others, key=lambda other: float(np.abs(other.shape - shape).mean()))
    return others[random.integers(min(NEIGHBOURS, len(others)))]


def swap_face(
    frame: np.ndarray, mesh: np.ndarray, other: np.ndarray, other_mesh: np.ndarray, style: SwapStyle
) -> np.ndarray:
    """
    Put the face of another frame into a frame.

    Args:
        frame: Frame (H, W, 3) uint8, BGR.
        mesh: Its landmarks (468, 2).
        other: Frame with the other face.
        other_mesh: Landmarks of the other face.
        style: How the face is swapped.
    """
    height, width = frame.shape[:2]
    left, top = np.maximum(np.floor(mesh.min(0) - 4).astype(int), 0)
    right, bottom = np.minimum(np.ceil(mesh.max(0) + 4).astype(int), [width, height])
    size = right - left, bottom - top
    if min(size) < 16:
        return frame
    face, is_inside = _align_face(mesh - [left, top], other, other_mesh, size, style.resolution)
    outline = mesh[OUTLINE]
    outline = (outline - outline.mean(0)) * style.mask_size + outline.mean(0) - [left, top]
    mask = np.zeros(size[::-1], np.float32)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1.0)
    blur = style.mask_blur * size[0]
    eroded = cv2.erode(mask * is_inside, np.ones((max(1, int(blur)),) * 2, np.uint8))
    mask = cv2.GaussianBlur(eroded, (0, 0), max(0.7, blur))
    original = frame[top:bottom, left:right]
    inside = mask > 0.5
    if style.transfers_colours and inside.sum() > 50:
        face = _transfer_colours(face, original, inside)
    mixed = face * mask[..., None] + original * (1 - mask[..., None])
    swapped = frame.copy()
    swapped[top:bottom, left:right] = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
    return swapped


def _align_face(
    mesh: np.ndarray, other: np.ndarray, other_mesh: np.ndarray, size: tuple[int, int], resolution: int
) -> tuple[np.ndarray, np.ndarray]:
    """The other face in the shape of a mesh, and which of its pixels lie within the mesh."""
    scale = min(1.0, resolution / max(size))
    columns, rows = (max(8, int(side * scale)) for side in size)
    shrink = columns / float(np.ptp(other_mesh[:, 0]))
    if shrink < 0.9:
        other = cv2.resize(other, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        other_mesh = other_mesh * shrink
    grid = np.stack(np.meshgrid((np.arange(columns) + 0.5) / scale, (np.arange(rows) + 0.5) / scale), -1)
    places = LinearNDInterpolator(Delaunay(mesh), other_mesh)(grid.reshape(-1, 2)).reshape(rows, columns, 2)
    is_inside = ~np.isnan(places[..., 0])
    places = np.where(is_inside[..., None], places, -1).astype(np.float32)
    face = cv2.remap(other, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    inside = cv2.resize(is_inside.astype(np.float32), size) > 0.99
    return cv2.resize(face, size, interpolation=cv2.INTER_CUBIC), inside


def _transfer_colours(face: np.ndarray, original: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The face with the mean and the deviation of the original within a mask, in CIELAB."""
    source, target = (cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.float32) for image in (face, original))
    from_values, to_values = source[inside], target[inside]
    gain = np.clip(to_values.std(0) / (from_values.std(0) + 1e-3), 0.5, 2)
    moved = (source - from_values.mean(0)) * gain + to_values.mean(0)
    return cv2.cvtColor(np.clip(moved, 0, 255).astype(np.uint8), cv2.COLOR_LAB2BGR)


def encode(frames: Sequence[np.ndarray], fps: float, target: Path) -> None:
    """
    Write a video with H.264.

    Raises:
        subprocess.CalledProcessError: If FFmpeg fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    source = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", f"{fps}", "-i", "-"]
    options = ["-c:v", "libx264", "-crf", f"{CRF}", "-pix_fmt", "yuv420p", "-threads", "1"]
    data = b"".join(frame[:height, :width].tobytes() for frame in frames)
    subprocess.run(["ffmpeg", "-y", "-v", "error", *source, *options, str(target)], input=data, check=True)


def make_swaps(lists: Sequence[Path], folder: Path) -> None:
    """
    Write the swapped videos, their originals and `swaps.csv`.

    Args:
        lists: CSV files of `evaluation_lists.py`.
        folder: Folder to write to.
    """
    videos, rows = list(read_videos(lists)), []
    for video in videos:
        random = np.random.default_rng(zlib.crc32(video.name.encode()))
        style, other = draw_style(random), draw_other(video, videos, random)
        swapped = [
            swap_face(frame, mesh, other.frames[at % len(other.frames)], other.meshes[at % len(other.frames)], style)
            for at, (frame, mesh) in enumerate(zip(video.frames, video.meshes, strict=True))
        ]
        for label, frames, method in (("real", video.frames, ""), ("fake", swapped, "swap")):
            encode(frames, video.fps, folder / label / video.name)
            rows.append((f"{label}/{video.name}", label, video.person, f"{video.dataset} swaps", method))
        print(f"{video.name}: {other.name}, {style}", flush=True)
    with (folder / "swaps.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "group", "dataset", "method"))
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("swaps", type=Path, help="folder to write to")
    parser.add_argument("lists", type=Path, nargs="+", help="CSV files of evaluation_lists.py")
    arguments = parser.parse_args()
    make_swaps(arguments.lists, arguments.swaps)


if __name__ == "__main__":
    main()
