# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of a result: thumbnails of the faces and Grad-CAM heat maps."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..face_cropping import FaceTrack
from ..video_sources import MediaReader
from .clip_reading import ReadVideo
from .evidence import Evidence, Heatmap, Thumbnail
from .jpeg import to_jpeg
from .results import TimelineEntry, VideoResult
from .scoring_model import HeatmapError, ScoringModel
from .stills import draw_still
from .timeline import Window, crop_for, top_windows


NUM_THUMBNAILS = 5
NUM_HEATMAPS = 3
THUMBNAIL_SIDE = 112
HEATMAP_SIDE = 224
# From cold to hot, readable without colour vision: anchors of the "inferno" map of Matplotlib (CC0).
_HEAT_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
_STRONGEST_TINT = 0.6


def gather_evidence(
    reader: MediaReader,
    video: ReadVideo,
    windows: Sequence[Window],
    models: Sequence[ScoringModel],
    threshold: float,
) -> tuple[Evidence, list[str]]:
    """
    Draw the pictures of a scored video.

    Args:
        reader: The open video.
        video: The clips read from it.
        windows: Its timeline.
        models: The models that scored it. Each heat map explains the first model that takes the same kind of input as
            the window (faces or whole frames).
        threshold: Windows below it get no heat map, except for the one with the highest fake probability.

    Returns:
        The pictures, and warnings that say which ones cannot be drawn.

    Raises:
        VideoError: If a frame that was read before cannot be read again.
    """
    worst = top_windows(windows, NUM_HEATMAPS)
    explained = worst[:1] + [window for window in worst[1:] if window.entry.fake_probability >= threshold]
    heatmaps: list[Heatmap] = []
    warnings = []
    try:
        heatmaps = [_explain(reader, window, _model_for(window, video, models)) for window in explained]
    except HeatmapError as error:
        warnings.append(str(error))
    still, thumbnails = draw_still(reader, windows), _thumbnails(reader, video)
    return Evidence(still=still, thumbnails=thumbnails, heatmaps=heatmaps), warnings


def photo_windows(video: ReadVideo, result: VideoResult) -> list[Window]:
    """
    Make a window of each face of a photo, or of the whole photo, so that its pictures are drawn like those of a video.

    Args:
        video: The clips of the photo.
        result: Its result.
    """
    scores = {face.track_id: face.fake_probability for face in result.faces}
    tracks: list[FaceTrack | None] = [person.track for person in video.people]
    windows = []
    for track in tracks or [None]:
        track_id = None if track is None else track.track_id
        probability = result.fake_probability if track_id is None else scores[track_id]
        entry = TimelineEntry(start_s=0.0, end_s=0.0, fake_probability=probability or 0.0, track_id=track_id)
        turns, size = (0, None) if track is None else (track.quarter_turns, track.size)
        boxes = None if track is None else track.boxes
        windows.append(
            Window(entry=entry, frame_indices=np.zeros(1, int), boxes=boxes, quarter_turns=turns, size=size)
        )
    return windows


def _model_for(window: Window, video: ReadVideo, models: Sequence[ScoringModel]) -> ScoringModel:
    """The first model that scores faces, for a window of a face, or the first one that scores whole frames."""
    return next(
        model for model, faces in zip(models, video.faces, strict=True) if bool(faces) == (window.boxes is not None)
    )


def _thumbnails(reader: MediaReader, video: ReadVideo) -> list[Thumbnail]:
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


def _explain(reader: MediaReader, window: Window, model: ScoringModel) -> Heatmap:
    boxes = [None] * len(window.frame_indices) if window.boxes is None else list(window.boxes)
    frames = reader.frames(window.frame_indices.tolist())
    crops = [
        crop_for(model.processor, frame, box, window.quarter_turns, window.size)
        for (_, frame), box in zip(frames, boxes, strict=True)
    ]
    cam = model.grad_cam(model.pixel_values(crops))
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


def overlay(picture: np.ndarray, heat: np.ndarray, strongest: float) -> np.ndarray:
    """
    Tint a picture by its heat map.

    Args:
        picture: Array of shape (H, W, 3), uint8 RGB.
        heat: Array of shape (h, w), one of [`GradCam.maps`].
        strongest: Heat that gets the full tint: the maximum over all pictures that are shown together.

    Returns:
        Array of shape (H, W, 3), uint8 RGB. Where there is no heat, the picture is unchanged.
    """
    size = (picture.shape[1], picture.shape[0])
    scaled = Image.fromarray((heat / max(strongest, 1e-12)).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    level = np.clip(np.asarray(scaled), 0.0, 1.0)
    steps = np.linspace(0.0, 1.0, len(_HEAT_COLOURS))
    colours = np.stack([np.interp(level, steps, channel) for channel in zip(*_HEAT_COLOURS, strict=True)], axis=-1)
    share = (_STRONGEST_TINT * np.sqrt(level))[..., None]
    return (picture * (1.0 - share) + colours * share).round().astype(np.uint8)
