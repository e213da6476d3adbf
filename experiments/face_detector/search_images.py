# SPDX-License-Identifier: Apache-2.0
"""
The images that CenterFace searches for faces, of your own videos: `python search_images.py IMAGES VIDEO [VIDEO ...]`.

IMAGES is a file (`.npz`) for `compare.py`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from deepfake_video import face_centerface
from deepfake_video.face_centerface import CenterFaceDetector
from deepfake_video.video_decoding import VideoReader
from deepfake_video.video_errors import VideoError


FRAMES = 3


def searched_images(path: str, *, larger: bool) -> Iterator[np.ndarray]:
    """
    The images that the network sees in some frames of a video.

    Args:
        path: The video.
        larger: Search at the second, larger scale too, which is otherwise done only if no large face is found.

    Yields:
        Images (H, W, 3) uint8 with sides that are multiples of 32.
    """
    seen: list[np.ndarray] = []
    session = face_centerface._load_session()

    def run(names: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        seen.append(feeds["image"][0].transpose(1, 2, 0).astype(np.uint8))
        return list(session.run(names, feeds))

    detector = CenterFaceDetector()
    with (
        mock.patch.object(face_centerface, "_load_session", return_value=SimpleNamespace(run=run)),
        VideoReader(path) as reader,
    ):
        indices = np.linspace(0, reader.num_frames - 1, FRAMES + 2).astype(int)[1:-1]
        for _, frame in reader.frames(np.unique(indices)):
            if faces := detector.detect(frame[None])[0]:
                detector.detect_near(frame, faces[0].box)
            if larger:
                longest = max(frame.shape[:2])
                detector._detect_at(frame, min(max(longest, detector.min_side), detector.max_side) / longest)
    yield from seen


def read_images(path: Path) -> list[np.ndarray]:
    """The images (H, W, 3) uint8 of a file."""
    with np.load(path) as file:
        return [file[name] for name in file.files]


def main() -> None:
    target, *paths = sys.argv[1:]
    images: list[np.ndarray] = []
    for number, path in enumerate(paths):
        try:
            images += searched_images(path, larger=number % 4 == 0)
        except VideoError as error:
            print(error, file=sys.stderr)
    np.savez_compressed(target, *images)
    print(f"{target}: {len(images)} images of {len(paths)} videos")


if __name__ == "__main__":
    main()
