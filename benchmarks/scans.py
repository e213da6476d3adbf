# SPDX-License-Identifier: Apache-2.0
"""Rows of whole scans: the search for faces, a file to a score, and several processes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from deepfake_video.common.logistic import sigmoid
from deepfake_video.face_cropping import FaceCropSettings, FaceTrack, find_face_tracks, make_detector
from deepfake_video.face_tracking import box_iou
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.framewise import fake_margin
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.video_decoding import VideoReader

from . import scripts
from .bench import NUM_FRAMES, Bench, even_indices, run_together
from .measuring import Row, Times, compare, interleave
from .peers import PlainMTCNN, is_installed


def faces(bench: Bench) -> Iterator[Row]:
    """Whole frames, and following faces, against facenet-pytorch's MTCNN on each whole frame."""
    yield _whole_frames(bench)
    path, settings = bench.face_clip(), FaceCropSettings()
    indices = even_indices(path)
    with VideoReader(path) as reader:
        list(reader.frames(indices))  # the reader keeps them: the search alone is timed
        find = partial(find_face_tracks, reader, indices, settings=settings)
        times, tracks = interleave({"ours": find, "peer": partial(find, detector=PlainMTCNN())}, max(bench.rounds, 5))
        detector = Detector([], device="cpu")
        scores = [_score(detector, reader, tracks[way], len(indices)) for way in ("ours", "peer")]
    found = [sum(track.num_detected for track in tracks[way]) for way in ("ours", "peer")]
    said = (
        f"faces found {found[0]} and {found[1]} in {NUM_FRAMES} frames; boxes' median IoU "
        f"{_median_iou(tracks['ours'][0], tracks['peer'][0]):.2f}; scores of the packaged checkpoint "
        f"{scores[0]:.4f} and {scores[1]:.4f}; one drawn face"
    )
    yield compare("faces", "tracking a face ÷ MTCNN on each frame, 1280x720", times["ours"], times["peer"],
                  goal="≤.4", clock="cpu", exactness=said)  # fmt: skip


def _whole_frames(bench: Bench) -> Row:
    """The default detector on whole frames."""
    path = bench.face_clip()
    with VideoReader(path) as reader:
        frames = np.stack([frame for _, frame in reader.frames(even_indices(path)[::4])])
    ways: dict[str, Callable[[], Any]] = {"ours": partial(make_detector(FaceCropSettings()).detect, frames),
            "peer": partial(PlainMTCNN().detect, frames)}  # fmt: skip
    times, answers = interleave(ways, max(bench.rounds, 5))
    found = [sum(map(len, answers[way])) for way in ("ours", "peer")]
    return compare("faces", "CenterFace ÷ MTCNN, a whole frame of 1280x720", times["ours"], times["peer"],
                   goal="≤.12", clock="cpu",
                   exactness=f"faces found {found[0]} and {found[1]} in {len(frames)} frames")  # fmt: skip


def _score(detector: Detector, reader: VideoReader, tracks: list[FaceTrack], clip_length: int) -> float:
    model = detector.models[0]
    logits = detector.clip_logits(model, model.processor.crop_clips(reader, tracks[:1], clip_length)).logits
    return float(sigmoid(fake_margin(logits, model.fake_index))[0])


def _median_iou(one: FaceTrack, other: FaceTrack) -> float:
    boxes = dict(zip(other.frame_indices.tolist(), other.boxes, strict=True))
    pairs = zip(one.frame_indices.tolist(), one.boxes, strict=True)
    return float(np.median([box_iou(box, boxes[index]) for index, box in pairs if index in boxes]))


def whole(bench: Bench) -> Iterator[Row]:
    """From a file to a score, against three scripts."""
    cases: list[tuple[str, dict[str, Any], Callable[..., float], str, bool]] = [
        ("resnext50-lstm", {"recurrence": "per-frame"}, scripts.read_all_then_judge, "≤.65", False),
        ("efficientnet-b0-bilstm", {}, scripts.seek_then_judge, "≤.45", False),
        ("efficientnet-b0-frames", {}, scripts.face_by_face, "", True),
    ]
    for preset, changes, script, goal, with_faces in cases[1:2] if bench.quick else cases:
        what = f"{preset} ÷ its script ({script.__name__})"
        if not is_installed("cv2"):
            yield Row("whole", what, exactness="not measured: opencv-python-headless is not installed")
            continue
        folder, network = bench.model(preset, **changes)
        path = bench.face_clip() if with_faces else bench.plain_clip()
        settings = ScanSettings(faces="auto" if with_faces else "none", num_frames=NUM_FRAMES)
        detector = Detector([folder], device="cpu", settings=settings)
        ways: dict[str, Callable[[], Any]] = {
            "ours": partial(detector.score, path),
            "peer": partial(script, path, network),
        }
        times, answers = interleave(ways, bench.rounds)
        note = f"scores {answers['ours'].fake_probability:.5f} and {answers['peer']:.5f}"
        note += "; the crops differ by design" * with_faces
        yield compare("whole", what, times["ours"], times["peer"], goal=goal, exactness=note)


def folder(bench: Bench) -> Iterator[Row]:
    """Throughput of two processes of one thread against one, compared with processes that only compute."""
    model, _ = bench.model("efficientnet-b0-bilstm")
    videos = [str(bench.plain_clip())] * (2 if bench.quick else 4)
    jobs = {"scan": ["scanning", model, *videos], "hashing": ["hashing"], "multiplying matrices": ["multiplying"]}
    single, double = ({name: Times() for name in jobs} for _ in range(2))
    for _ in range(max(1, bench.rounds // 2)):
        for name, job in jobs.items():
            single[name].wall.append(run_together([job]))
            double[name].wall.append(run_together([job, job]))
    gains = {name: 2 * float(np.median(single[name].wall) / np.median(double[name].wall)) for name in jobs}
    bounds = " and ".join(f"{gain:.2f} ({name})" for name, gain in gains.items() if name != "scan")
    yield Row("folder", "throughput of 2 processes of 1 thread ÷ 1 process", gains["scan"], "≥1.8",
              f"{2 * len(videos) / np.median(double['scan'].wall):.2f} videos/s",
              f"{len(videos) / np.median(single['scan'].wall):.2f} videos/s",
              f"two processes that only compute, each in its own memory, reach {bounds}",
              {f"{name}, {count}": taken[name].wall for name in jobs
               for count, taken in (("one process", single), ("two processes", double))})  # fmt: skip
