# SPDX-License-Identifier: Apache-2.0
"""Worker processes of `train_gpu.py`, one per core: decode videos, hand their crops over, then re-encode them."""

import multiprocessing as mp
import shutil
from pathlib import Path

import cv2
import media
import numpy as np


# Where the workers leave crops for the trainer: in memory if there is room.
SHM = Path("/dev/shm" if shutil.disk_usage("/dev/shm").free > 6e9 else "/tmp") / "copies"


def work(number: int, groups: list[list[dict]], oval: int, out: mp.Queue, stop: mp.Event, room: mp.Semaphore) -> None:
    """Decode a share of the videos, hand their crops over, then make copies of them until the end."""
    cv2.setNumThreads(1)
    random = np.random.default_rng([7, number])
    count = 0

    def hand_over(kind: str, info: dict, **arrays: np.ndarray) -> None:
        nonlocal count
        name = SHM / f"{number}-{count}.npz"
        count += 1
        np.savez(name, **arrays)
        out.put((kind, info, str(name)))

    loaded = []
    for group in groups:
        videos = []
        for entry in group:
            try:
                video = media.read_video(Path(entry["video"]), Path(entry["mesh"]), oval)
                crops, meshes = media.crops_of(video, video.kept)
            except Exception as error:
                print("left out:", entry["video"], repr(error), flush=True)
                continue
            hand_over("original", entry, crops=crops, meshes=meshes, at=video.kept)
            videos.append((entry, trim(video)))
        if videos and not videos[0][0]["fake"]:
            loaded.append(videos)
    out.put(("done", {}, ""))
    while loaded and not stop.is_set():
        videos = loaded[random.integers(len(loaded))]
        if not room.acquire(timeout=1):
            continue
        try:
            has_fakes = len(videos) > 1
            if has_fakes and random.random() < 0.6:
                re_encode(videos, random, hand_over)
            else:
                blend_and_encode(videos[0], random, oval, hand_over)
        except Exception as error:
            room.release()
            print("copy failed:", repr(error)[:200], flush=True)


def trim(video: media.FaceVideo) -> media.FaceVideo:
    """Only the part of the frames in which the face moves, to save memory."""
    side = (video.boxes[:, 2] - video.boxes[:, 0])[:, None]
    center = (video.boxes[:, :2] + video.boxes[:, 2:]) / 2
    low = np.maximum(np.floor((center - side).min(0)), 0).astype(int)
    high = np.minimum(np.ceil((center + side).max(0)), video.frames.shape[2:0:-1]).astype(int)
    frames = np.ascontiguousarray(video.frames[:, low[1] : high[1], low[0] : high[0]])
    return media.FaceVideo(frames, video.meshes - low.astype(np.float32), video.boxes - np.tile(low, 2), video.kept)


def cut(part: media.FaceVideo, frames: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    return media.crops_of(media.FaceVideo(frames, part.meshes, part.boxes, part.kept), part.kept, scale)


def re_encode(videos: list, random: np.random.Generator, hand_over) -> None:
    chain = media.draw_chain(random)
    shortest = min(len(video.frames) for _, video in videos)
    start = int(random.integers(max(1, shortest - media.COPY_LENGTH + 1)))
    chosen = [videos[0], videos[1 + random.integers(len(videos) - 1)]]
    results = []
    for _, video in chosen:
        part = media.region(video, start)
        frames, scale = media.encode(part.frames, chain)
        results.append(cut(part, frames, scale))
    count = min(len(crops) for crops, _ in results)
    hand_over("re", chosen[1][0], real=results[0][0][:count], fake=results[1][0][:count], meshes=results[0][1][:count])


def blend_and_encode(item: tuple, random: np.random.Generator, oval: int, hand_over) -> None:
    entry, video = item
    chain = media.draw_chain(random)
    start = int(random.integers(max(1, len(video.frames) - media.COPY_LENGTH + 1)))
    part = media.region(video, start)
    blended = media.self_blend(part, random, oval)
    real, scale = media.encode(part.frames, chain)
    fake, _ = media.encode(blended, chain)
    crops, meshes = cut(part, real, scale)
    hand_over("sb", entry, real=crops, fake=cut(part, fake, scale)[0], meshes=meshes)
