# SPDX-License-Identifier: Apache-2.0
"""Face crops on disk: each video is decoded and searched for faces once, regardless of how often it is used.

There is one safetensors file per video, named by the hash of its content and of the settings. Only the frames that a
batch needs are read from it.
"""

import hashlib
import json
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..common.exit_codes import FAILED
from ..common.files import write_atomically
from ..common.processes import spawned_pool
from ..evaluation.sample_reading import ImageSequence
from ..evaluation.samples import Sample
from ..face_cropping import MTCNNDetector, NoFaceFoundError, find_face_tracks
from ..image_processing_deepfake import Clip, DeepfakeVideoProcessor
from ..scanning.file_stamps import hash_files
from ..scanning.results import RESULT_VERSION
from ..video_decoding import VideoError, VideoReader
from .copies import make_copies
from .errors import TrainingError


FORMAT = 3
# A face fills the middle of its crop, so smaller scales need no search.
_LANDMARK_SIDE = 128


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    """
    Settings of the face crops.

    Attributes:
        size: Side of a crop in pixels.
        margin: Side of a crop divided by the side of the face box; larger than that of a network if the view is
            augmented.
        num_frames: Number of frames of each video.
        burst_length: Number of consecutive frames among them; 1 spaces all of them evenly.
        search_images: Detect the face in images too; otherwise, and where none is found, an image is taken whole, as
            `evaluate` takes it.
        copies: Number of re-encoded copies of each video; still images have none.
    """

    size: int
    margin: float
    num_frames: int
    burst_length: int = 1
    search_images: bool = False
    copies: int = 0

    def processor(self) -> DeepfakeVideoProcessor:
        """Create the processor that reads a video and cuts out the faces."""
        return DeepfakeVideoProcessor(
            size={"height": self.size, "width": self.size},
            num_frames=self.num_frames,
            frame_sampling="bursts" if self.burst_length > 1 else "even",
            burst_length=self.burst_length,
            do_crop_faces=True,
            face_margin=self.margin,
        )


def check_settings(
    where: str, processor: DeepfakeVideoProcessor, trained: DeepfakeVideoProcessor, names: Iterable[str]
) -> None:
    """
    Check that a processor prepares frames as a training does; otherwise its model would score other inputs.

    Args:
        where: Start of the error message.
        processor: Processor of the network.
        trained: Processor with the settings of the training.
        names: Names of the settings that are compared.

    Raises:
        TrainingError: If a setting differs.
    """
    chosen, used = processor.choices(), trained.choices()
    for name in names:
        if chosen[name] != used[name]:
            raise TrainingError(f"{where}: {name} must be {used[name]!r}, as in the training, got {chosen[name]!r}.")


@dataclass(frozen=True)
class CachedCrops:
    """
    The crops of the main face of a video on disk.

    Attributes:
        path: The safetensors file: `frames` (T, S, S, 3) uint8, `landmarks` (T, 5, 2) in pixels, NaN where unknown.
        frame_indices: Index of each crop's frame in the video, ascending.
        num_copies: Number of re-encoded copies, see [`~training.copies.make_copies`].
        sha256: SHA-256 of the video file, or of the concatenated images.
        whole: True for images that were taken whole: the network sees all of them, instead of the middle of a crop.
    """

    path: Path
    frame_indices: tuple[int, ...]
    sha256: str | None = None
    num_copies: int = 0
    whole: bool = False

    def read(self, start: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Read frames (length, S, S, 3) uint8 and landmarks (length, 5, 2) float32, starting at a crop."""
        with safe_open(self.path, "np") as file:
            stop = start + length
            return file.get_slice("frames")[start:stop], file.get_slice("landmarks")[start:stop]

    def read_copy(self, number: int, position: float, *, blended: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """
        Read one frame (1, S, S, 3) uint8 of a copy and its landmarks (1, 5, 2) float32.

        Args:
            number: Index of the copy.
            position: Position in the copy, from 0 to 1.
            blended: Read the self-blended version, which only a real video has.
        """
        with safe_open(self.path, "np") as file:
            frames = file.get_slice("blends" if blended else "copies")
            count = frames.get_shape()[1]
            index = min(int(position * count), count - 1)
            return frames[number, index : index + 1], file.get_slice("copy_landmarks")[number, index : index + 1]


def cache_crops(
    samples: Sequence[Sample], settings: CropSettings, folder: Path, *, workers: int = 1
) -> Iterator[tuple[Sample, CachedCrops | str]]:
    """
    Cache the crops of each sample, unless they are in the cache already.

    Args:
        samples: Videos or face images.
        settings: Settings of the crops.
        folder: Folder of the cache; several training runs may share it.
        workers: Processes that decode videos and detect faces.

    Yields:
        Each sample in order, with its crops or the reason why it has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = ((sample, settings, folder) for sample in samples)
    if workers <= 1:
        yield from zip(samples, map(_cache_one, jobs), strict=True)
        return
    with spawned_pool(workers, _begin_worker) as pool:
        yield from zip(samples, pool.map(_cache_one, jobs, chunksize=4), strict=True)


def _begin_worker() -> None:
    torch.set_num_threads(1)
    # On termination by the main process, an unfinished file is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))


def _cache_one(job: tuple[Sample, CropSettings, Path]) -> CachedCrops | str:
    sample, settings, folder = job
    try:
        sha256 = hash_files(sample.files)
        if sha256 is None:
            # Raises the error that describes the problem.
            _make(sample, settings)
            return f"{sample.path}: cannot be read"
        # The format and result version are part of the name, because another version may make other crops. The copies
        # are drawn by the name of the original.
        origin = [sample.dataset, sample.original, sample.is_fake, sample.path.stem] if settings.copies else []
        key = json.dumps([FORMAT, RESULT_VERSION, asdict(settings), sha256, origin])
        name = hashlib.sha256(key.encode()).hexdigest()
        # Subfolders by the first two letters avoid folders with a hundred thousand files.
        path = folder / name[:2] / f"{name[2:]}.safetensors"
        cached = _open_cached(path, sha256)
        if cached is None:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, _make(sample, settings))
            cached = _open_cached(path, sha256)
        return cached or f"{path}: cannot be read after it was written"
    except VideoError as error:
        return str(error)
    except OSError as error:
        return f"{sample.path}: {error.strerror or error}"


def _open_cached(path: Path, sha256: str) -> CachedCrops | None:
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata()
            indices, whole = tuple(json.loads(metadata["frame_indices"])), json.loads(metadata["whole"])
            copies = file.get_slice("copies").get_shape()[0] if "copies" in file.keys() else 0  # noqa: SIM118
            return CachedCrops(path, indices, sha256, copies, whole)
    except (OSError, SafetensorError):
        return None


def _make(sample: Sample, settings: CropSettings) -> bytes:
    processor = settings.processor()
    source: Any = nullcontext(ImageSequence(sample.images)) if sample.images else VideoReader(sample.path)
    with source as frames:
        indices = processor.frame_indices(frames.num_frames)
        clip = _crop(frames, np.unique(indices), processor, sample, settings)
        landmarks = np.stack([_find_landmarks(frame) for frame in clip.frames])
        arrays = {"frames": np.ascontiguousarray(clip.frames), "landmarks": landmarks}
        if settings.copies and not sample.images:
            arrays |= _make_copies(frames, sample, clip, landmarks, settings)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    metadata = {"frame_indices": clip.frame_indices.tolist(), "whole": clip.track is None}
    return save(tensors, {name: json.dumps(value) for name, value in metadata.items()})


def _make_copies(
    source: Any, sample: Sample, clip: Clip, landmarks: np.ndarray, settings: CropSettings
) -> dict[str, np.ndarray]:
    """Make the copies; a rotated video has none."""
    track = clip.track
    if track is None or track.quarter_turns:
        return {}
    kept, places = np.unique(clip.frame_indices, return_index=True)
    track = track.on_frames(kept)
    # Landmarks from pixels of the crops to pixels of the video.
    sides = np.rint((track.boxes[:, 2:] - track.boxes[:, :2]).max(1) * settings.margin)[:, None]
    corners = np.rint((track.boxes[:, :2] + track.boxes[:, 2:] - sides) / 2)
    points = landmarks[places] * (sides / settings.size)[:, None] + corners[:, None]
    return make_copies(
        source, sample, track, points, count=settings.copies, size=settings.size, margin=settings.margin
    )


def _crop(
    source: Any, indices: np.ndarray, processor: DeepfakeVideoProcessor, sample: Sample, settings: CropSettings
) -> Clip:
    """Crop the main face; images, unless a face is searched and found in them, are taken whole."""
    if not sample.images or settings.search_images:
        try:
            tracks = find_face_tracks(source, indices, settings=processor.face_settings())
            return processor.crop_clips(source, tracks[:1], len(tracks[0].frame_indices))[0]
        except NoFaceFoundError:
            if not sample.images:
                raise
    return processor.read_clips(source, indices, do_crop_faces=False)[0]


def _find_landmarks(frame: np.ndarray) -> np.ndarray:
    """Detect eyes, nose and corners of the mouth (5, 2) float32 in pixels of a crop; NaN if no face is detected."""
    detector = MTCNNDetector(max_side=_LANDMARK_SIDE, min_side=_LANDMARK_SIDE, min_face_size=_LANDMARK_SIDE // 3)
    center = np.array(frame.shape[1::-1]) / 2
    faces = [face for face in detector.detect(frame[None])[0] if face.landmarks is not None]
    if not faces:
        return np.full((5, 2), np.nan, np.float32)
    nearest = min(faces, key=lambda face: float(np.abs((face.box[:2] + face.box[2:]) / 2 - center).sum()))
    return np.asarray(nearest.landmarks, np.float32)
