# SPDX-License-Identifier: Apache-2.0
"""Making the pictures that go with a result."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..video_decoding import VideoReader
from .evidence import Evidence, Heatmap, Thumbnail
from .gradcam import grad_cam, overlay
from .models import LoadedModel
from .reading import ReadVideo
from .timeline import Window, crop_for, worst_windows


NUM_THUMBNAILS = 5
NUM_HEATMAPS = 3
THUMBNAIL_SIDE = 112
HEATMAP_SIDE = 224


def gather_evidence(
    reader: VideoReader,
    video: ReadVideo,
    windows: Sequence[Window],
    models: Sequence[LoadedModel],
    threshold: float,
) -> Evidence:
    """
    The pictures of a judged video.

    Args:
        reader: The open video.
        video: What was read of it.
        windows: Its timeline.
        models: Those that judged; the first one that judges what a window shows, faces or whole frames, is explained.
        threshold: Windows below it are not explained, but for the worst one.

    Raises:
        VideoError: If a frame that was read before cannot be read again.
    """
    worst = worst_windows(windows, NUM_HEATMAPS)
    explained = worst[:1] + [window for window in worst[1:] if window.entry.fake_probability >= threshold]
    return Evidence(
        thumbnails=_thumbnails(reader, video),
        heatmaps=[_explain(reader, window, _model_for(window, video, models)) for window in explained],
    )


def _model_for(window: Window, video: ReadVideo, models: Sequence[LoadedModel]) -> LoadedModel:
    """The first model that judges faces, for a window of a face, or the first that judges whole frames."""
    return next(
        model for model, faces in zip(models, video.faces, strict=True) if bool(faces) == (window.boxes is not None)
    )


def _thumbnails(reader: VideoReader, video: ReadVideo) -> list[Thumbnail]:
    thumbnails = []
    shown = next((i for i, faces in enumerate(video.faces) if faces), 0)
    for clip in video.clips[shown]:
        indices, first = np.unique(clip.frame_indices, return_index=True)
        chosen = np.unique(np.linspace(0, len(indices) - 1, min(NUM_THUMBNAILS, len(indices))).round().astype(int))
        thumbnails += [
            Thumbnail(
                time_s=float(reader.timestamps_s[indices[i]]),
                track_id=None if clip.track is None else clip.track.track_id,
                jpeg=to_jpeg(clip.frames[first[i]], THUMBNAIL_SIDE),
            )
            for i in chosen
        ]
    return thumbnails


def _explain(reader: VideoReader, window: Window, model: LoadedModel) -> Heatmap:
    boxes = [None] * len(window.frame_indices) if window.boxes is None else list(window.boxes)
    frames = reader.frames(window.frame_indices.tolist())
    crops = [
        crop_for(model.processor, frame, box, window.quarter_turns, window.size)
        for (_, frame), box in zip(frames, boxes, strict=True)
    ]
    cam = grad_cam(model.network, model.pixel_values(crops), model.fake_index)
    hottest = int(cam.maps.sum(axis=(1, 2)).argmax())
    heat = cam.maps[hottest]
    return Heatmap(
        start_s=window.entry.start_s,
        end_s=window.entry.end_s,
        time_s=float(reader.timestamps_s[window.frame_indices[hottest]]),
        track_id=window.entry.track_id,
        fake_probability=window.entry.fake_probability,
        model_id=model.identity.id,
        jpeg=to_jpeg(crops[hottest], HEATMAP_SIDE),
        overlay_jpeg=to_jpeg(overlay(crops[hottest], heat, float(heat.max())), HEATMAP_SIDE),
    )


def to_jpeg(picture: np.ndarray, side: int) -> str:
    """A picture `(h, w, 3)` uint8 RGB, its longer side scaled to `side` pixels, as JPEG in base64."""
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    stream = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode("ascii")
