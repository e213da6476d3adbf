# Copyright 2026 The deepfake-video authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Processors that convert a video, a clip or a list of frames to `pixel_values_videos`, with or without face crops."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub.dataclasses import validate_typed_dict
from huggingface_hub.errors import StrictDataclassError
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ChannelDimension, PILImageResampling, SizeDict
from transformers.processing_utils import Unpack, VideosKwargs
from transformers.utils import TensorType, auto_docstring, cached_file
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import (
    VideoInput,
    VideoMetadata,
    infer_channel_dimension_format,
    make_batched_metadata,
    make_batched_videos,
)

from .clip_sampling import Clip as Clip
from .clip_sampling import ClipSampler
from .configuration_deepfake import DeepfakeConfig
from .face_centerface import GRAPH_NAME, copy_graph, has_graph, has_own_graph, register_graph_folder
from .model_presets import PRESET_CHOICES
from .photo_pictures import to_displayed_frames
from .timm_backbones import is_timm, timm_input
from .video_decoding import FrameArray, FrameSource, VideoReader, select_frames


# Where and how `from_pretrained` looks for files.
_DOWNLOAD_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


class DeepfakeVideoProcessorKwargs(VideosKwargs, total=False):  # type: ignore[call-arg]
    r"""
    antialias (`bool`, *optional*, defaults to `True`):
        Whether to resize with antialiasing. Checkpoints trained on frames resized bilinearly by OpenCV require
        `False`.
    channel_order (`str`, *optional*, defaults to `"rgb"`):
        `"bgr"` for checkpoints that were trained on OpenCV frames in their original channel order. `image_mean` and
        `image_std` apply in this order.
    frame_sampling (`str`, *optional*, defaults to `"even"`):
        `"even"` spreads the frames over the whole video, `"first"` takes the first ones, `"bursts"` takes evenly
        placed runs of `burst_length` consecutive frames.
    burst_length (`int`, *optional*, defaults to 1):
        Consecutive frames in a burst.
    do_crop_faces (`bool`, *optional*, defaults to `False`):
        Whether to find the main face and crop each frame to it.
    face_margin (`float`, *optional*, defaults to 1.3):
        Side of the crop relative to the side of the face box.
    face_square (`bool`, *optional*, defaults to `True`):
        Whether the crop is a square; otherwise it has the aspect ratio of the box, and resizing stretches it.
    face_padding (`str`, *optional*, defaults to `"reflect"`):
        Fill of pixels outside the frame: `"reflect"` or `"zero"`.
    face_detector (`str`, *optional*, defaults to `"centerface"`):
        Face detector: `"centerface"` or `"mtcnn"`. A checkpoint stores the detector that it was trained with.
    face_min_size (`int`, *optional*, defaults to 40):
        Smallest face, in pixels of the searched frame, that the first search looks for.
    face_min_score (`float`, *optional*, defaults to 0.9):
        Smallest detection score of a face.
    """

    antialias: bool | None
    channel_order: Literal["rgb", "bgr"] | None
    frame_sampling: Literal["even", "first", "bursts"] | None
    burst_length: int | None
    do_crop_faces: bool | None
    face_margin: float | int | None
    face_square: bool | None
    face_padding: Literal["reflect", "zero"] | None
    face_detector: Literal["centerface", "mtcnn"] | None
    face_min_size: int | None
    face_min_score: float | int | None


# Settings that each step requires, and the interpolation modes of torchvision.
_NEEDED = {
    "do_resize": ("size",),
    "do_center_crop": ("crop_size",),
    "do_rescale": ("rescale_factor",),
    "do_normalize": ("image_mean", "image_std"),
}
_RESAMPLINGS = (PILImageResampling.NEAREST, PILImageResampling.BILINEAR, PILImageResampling.BICUBIC)


class DeepfakeProcessorDefaults:
    """Default settings of both processors, and their validation; settings of a checkpoint folder take precedence."""

    resample = PILImageResampling.BILINEAR
    image_mean = [0.485, 0.456, 0.406]
    image_std = [0.229, 0.224, 0.225]
    size = {"height": 224, "width": 224}
    default_to_square = False
    do_resize = True
    do_pad = False
    do_center_crop = False
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = False
    num_frames = 20
    antialias = True
    channel_order = "rgb"
    frame_sampling: Literal["even", "first", "bursts"] = "even"
    burst_length = 1
    do_crop_faces = False
    face_margin = 1.3
    face_square = True
    face_padding = "reflect"
    face_detector = "centerface"
    face_min_size = 40
    face_min_score = 0.9
    valid_kwargs = DeepfakeVideoProcessorKwargs
    model_input_names = ["pixel_values_videos"]

    def choices(self) -> dict[str, Any]:
        """Return every setting by name, as the constructor accepts it."""
        values = {name: getattr(self, name, None) for name in self.valid_kwargs.__annotations__}
        return {name: dict(value) if isinstance(value, SizeDict) else value for name, value in values.items()}

    def save_pretrained(
        self, save_directory: str | PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """
        Write the settings and, for CenterFace, its graph, so that the folder works without this package.

        Args:
            save_directory (`str` or `os.PathLike`):
                Folder, which is created if necessary.
            push_to_hub (`bool`, *optional*, defaults to `False`):
                Whether to upload the same files to the Hub.
            kwargs:
                `repo_id`, by default the name of the folder, and the arguments of `push_to_hub`.
        """
        # The folder refers to the code that is saved with it, never to that of the repository it was loaded from.
        self.auto_map: dict[str, str] = {}
        written: list[str] = super().save_pretrained(save_directory)  # type: ignore[misc]
        if self.do_crop_faces and self.face_detector == "centerface" and has_graph():
            copy_graph(Path(save_directory))
        if push_to_hub:
            # The parent would upload before the graph is there; this saves into a temporary folder and uploads that.
            repo_id = kwargs.pop("repo_id", None) or Path(save_directory).name
            self.push_to_hub(repo_id, **kwargs)  # type: ignore[attr-defined]
        return written

    def check_choices(self) -> None:
        """
        Check all settings.

        Raises:
            ValueError: If a setting has the wrong type or is out of range.
        """
        try:
            validate_typed_dict(self.valid_kwargs, self.choices())
        except StrictDataclassError as error:
            raise ValueError(f"{type(self).__name__}: {error.__cause__ or error}") from error
        for name in ("size", "crop_size"):
            for side in dict(getattr(self, name) or {}).values():
                # torch cannot resize to a single pixel.
                if side is not None and not 2 <= side <= 4096:
                    raise ValueError(f"{name} must lie between 2 and 4096 pixels, got {side}.")
        size = dict(self.size or {})
        if self.do_pad and not (size.get("height") and size.get("width")):
            raise ValueError(f"do_pad requires a size with height and width, got {size}.")
        for flag, needed in _NEEDED.items():
            if getattr(self, flag) and any(getattr(self, name) is None for name in needed):
                raise ValueError(f"{flag} requires {' and '.join(needed)}.")
        if not isinstance(self.resample, int) or self.resample not in _RESAMPLINGS:
            known = ", ".join(f"{number:d} ({number.name.lower()})" for number in _RESAMPLINGS)
            raise ValueError(f"resample must be one of {known}, got {self.resample!r}.")
        for name in ("num_frames", "burst_length"):
            value = getattr(self, name)
            if value is None or not 1 <= value <= 10_000:
                raise ValueError(f"{name} must lie between 1 and 10000, got {value}.")
        fps = getattr(self, "fps", None)
        if fps is not None:
            raise ValueError(f"fps cannot be a setting: num_frames is one. Give each call fps={fps!r} instead.")
        # This raises an error that describes the inconsistency.
        select_frames(self.num_frames, self.num_frames, sampling=self.frame_sampling, burst_length=self.burst_length)
        for name in ("image_mean", "image_std", "rescale_factor"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value).all() and (name == "image_mean" or np.all(value))):
                raise ValueError(f"{name} must be finite and, except for the mean, not zero, got {value}.")
            if np.size(value) not in (1, 3):
                raise ValueError(f"{name} must be one number or three, got {value}.")


@auto_docstring(custom_intro="Turns videos or clips into the input of [`DeepfakeForVideoClassification`].")
class DeepfakeVideoProcessor(DeepfakeProcessorDefaults, ClipSampler, BaseVideoProcessor):
    def __init__(self, **kwargs: Unpack[DeepfakeVideoProcessorKwargs]) -> None:
        super().__init__(**kwargs)
        # An invalid setting is reported here, not at the first video.
        self.check_choices()
        self.face_settings()
        self._check_size()

    def _check_size(self) -> None:
        """Refuse a size to which no frame can be resized, or that gives the crops of a face different shapes."""
        size = {name: side for name, side in dict(self.size or {}).items() if side is not None}
        is_box = {"height", "width"} <= size.keys()
        keeps_ratio = "shortest_edge" in size or {"max_height", "max_width"} <= size.keys()
        if self.do_resize and not (is_box or keeps_ratio):
            needed = "height and width, max_height and max_width, or shortest_edge"
            raise ValueError(f"size must have {needed}, got {size}.")
        if self.do_crop_faces and not (self.do_resize and (is_box or self.face_square)):
            raise ValueError(
                "do_crop_faces requires do_resize, and a size with height and width unless face_square is set: "
                f"otherwise the crops of a face differ in shape; got do_resize={self.do_resize} and {size}."
            )

    @classmethod
    def get_video_processor_dict(
        cls, pretrained_model_name_or_path: str | PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Load the stored settings, and find the detector's graph in the same folder if it is not beside this code."""
        choices, unused = super().get_video_processor_dict(pretrained_model_name_or_path, **kwargs)
        _find_graph(choices, pretrained_model_name_or_path, kwargs)
        return choices, unused

    @classmethod
    def from_config(cls, config: DeepfakeConfig, **kwargs: Any) -> "DeepfakeVideoProcessor":
        """
        Create the processor for a configuration: face crops in its image size and number of frames, with the
        normalisation of timm for a timm backbone.
        """
        size = {"height": config.image_size, "width": config.image_size}
        choices = {"size": size, "num_frames": config.num_frames, "do_crop_faces": True}
        if is_timm(config.backbone):
            stated = timm_input(config.backbone)
            choices |= {"image_mean": list(stated.mean), "image_std": list(stated.std)}
        return cls(**{**choices, **kwargs})

    @classmethod
    def from_preset(cls, name: str, **kwargs: Any) -> "DeepfakeVideoProcessor":
        """
        Create the processor for a preset of [`DeepfakeConfig`].

        Args:
            name (`str`):
                As in [`DeepfakeConfig.from_preset`].
            kwargs:
                Settings to change.

        Raises:
            ValueError: If there is no preset of that name, or a setting is invalid.
        """
        return cls.from_config(DeepfakeConfig.from_preset(name), **{**PRESET_CHOICES.get(name, {}), **kwargs})

    @auto_docstring
    def preprocess(self, videos: VideoInput, **kwargs: Unpack[DeepfakeVideoProcessorKwargs]) -> BatchFeature:
        if kwargs.get("fps") is not None:
            kwargs.setdefault("num_frames", None)
        if isinstance(videos, list | tuple) and not videos:
            raise ValueError("The list of videos is empty.")
        if isinstance(videos, Path):
            videos = str(videos)
        videos = make_batched_videos(
            [str(video) if isinstance(video, Path) else video for video in videos]
            if isinstance(videos, list | tuple)
            else videos
        )
        has_files = any(isinstance(video, str) for video in videos)
        if has_files or self._choice(kwargs, "do_crop_faces"):
            stated = make_batched_metadata(videos, kwargs.pop("video_metadata", None))
            read = [self._read_main_clip(*pair, kwargs) for pair in zip(videos, stated, strict=True)]
            videos, metadata = [clip.frames for clip, _ in read], [metadata for _, metadata in read]
            kwargs.update(do_sample_frames=False, video_metadata=metadata, input_data_format="channels_last")
        return super().preprocess(videos, **kwargs)

    def _read_main_clip(
        self, video: str | np.ndarray | torch.Tensor, metadata: VideoMetadata, kwargs: dict[str, Any]
    ) -> tuple[Clip, VideoMetadata]:
        # A file is sampled unless the caller disables it, because decoding all frames of a film is never intended.
        sampled = kwargs.get("do_sample_frames", isinstance(video, str) or self.do_sample_frames)
        opened: Any = (
            VideoReader(video)
            if isinstance(video, str)
            else nullcontext(FrameArray(_to_frames(video), fps=metadata.fps))
        )
        with opened as source:
            if isinstance(video, str):
                metadata = _metadata_of(source)
            indices = np.arange(source.num_frames)
            if sampled:
                # Without metadata, the rate of an array is not known; that of the source is an assumption.
                indices = self.frame_indices(source.num_frames, metadata.fps, **kwargs)
            clip = self.read_clips(source, indices, max_faces=1, **kwargs)[0]
        # An array may itself consist of frames that were taken from a longer video.
        numbers = metadata.frames_indices
        if numbers is None or len(numbers) != source.num_frames:
            numbers = range(source.num_frames)
        return clip, replace(metadata, frames_indices=[int(numbers[index]) for index in clip.frame_indices])

    def resize_frame(self, frame: np.ndarray, **kwargs: Any) -> np.ndarray:
        """Resize one frame to the input size of the network, so that large frames do not accumulate in memory."""
        if not self._choice(kwargs, "do_resize"):
            return frame
        size = self._standardize_kwargs(size=self._choice(kwargs, "size"), default_to_square=False)["size"]
        # (height, width, channels) -> (channels, height, width) as a view: torchvision resizes either layout
        image = torch.from_numpy(frame).permute(2, 0, 1)
        options = {name: self._choice(kwargs, name) for name in ("resample", "antialias", "do_pad")}
        return self._resize_or_fit(image, size, **options).permute(1, 2, 0).numpy()

    def _resize_or_fit(
        self, images: torch.Tensor, size: SizeDict, resample: Any, antialias: bool, do_pad: bool
    ) -> torch.Tensor:
        if not do_pad:
            if images.shape[-2:] == (size.height, size.width):
                return images
            return self.resize(images, size=size, resample=resample, antialias=antialias)
        height, width = images.shape[-2:]
        if (height, width) == (size.height, size.width):
            return images
        scale = min(size.height / height, size.width / width)
        fitted = SizeDict(height=max(round(height * scale), 1), width=max(round(width * scale), 1))
        images = self.resize(images, size=fitted, resample=resample, antialias=antialias)
        top, left = (size.height - fitted.height) // 2, (size.width - fitted.width) // 2
        right, bottom = size.width - fitted.width - left, size.height - fitted.height - top
        return torch.nn.functional.pad(images, (left, right, top, bottom))

    def fetch_videos(self, video_url_or_urls: Any, sample_indices_fn: Any = None) -> Any:
        """Read whole frames `(T, H, W, 3)` and metadata with the reader of this package, not with Transformers."""
        if isinstance(video_url_or_urls, list):
            return list(zip(*[self.fetch_videos(item, sample_indices_fn) for item in video_url_or_urls], strict=True))
        with VideoReader(video_url_or_urls) as reader:
            metadata = _metadata_of(reader)
            indices = (
                np.arange(reader.num_frames) if sample_indices_fn is None else sample_indices_fn(metadata=metadata)
            )
            clip = self.read_clips(reader, indices, do_crop_faces=False, do_resize=False)[0]
        metadata.frames_indices = clip.frame_indices.tolist()
        return clip.frames, metadata

    def sample_frames(self, metadata: VideoMetadata, **kwargs: Any) -> np.ndarray:
        """
        Select the frames of a clip in memory; see [`frame_indices`] for files.

        Raises:
            ValueError: If more frames are requested than the clip has.
        """
        indices = self.frame_indices(metadata.total_num_frames, metadata.fps, **kwargs)
        if len(indices) > metadata.total_num_frames:
            raise ValueError(
                f"{len(indices)} frames were requested, but the clip has {metadata.total_num_frames}: "
                "give a smaller num_frames, or do_sample_frames=False to use the clip as it is."
            )
        return indices

    def _preprocess(
        self,
        videos: list[torch.Tensor],
        do_resize: bool,
        size: SizeDict,
        resample: Any,
        antialias: bool,
        do_pad: bool,
        do_center_crop: bool,
        crop_size: SizeDict,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | Sequence[float] | None,
        image_std: float | Sequence[float] | None,
        channel_order: str,
        return_tensors: str | TensorType | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        clips = []
        for video in videos:  # (num_frames, channels, height, width)
            if do_rescale:
                _check_range(video, rescale_factor)
            if do_resize:
                video = self._resize_or_fit(video, size, resample, antialias, do_pad)
            if do_center_crop:
                video = self.center_crop(video, crop_size)
            if channel_order == "bgr":
                video = video.flip(1)
            clips.append(
                self.rescale_and_normalize(video, do_rescale, rescale_factor, do_normalize, image_mean, image_std)
            )
        return BatchFeature(data={"pixel_values_videos": clips}, tensor_type=return_tensors)


@auto_docstring(custom_intro="Turns the frames of a clip into the input of [`DeepfakeForVideoClassification`].")
class DeepfakeImageProcessor(DeepfakeProcessorDefaults, TorchvisionBackend):
    def __init__(self, **kwargs: Unpack[DeepfakeVideoProcessorKwargs]) -> None:
        super().__init__(**kwargs)
        self.check_choices()

    @classmethod
    def get_image_processor_dict(
        cls, pretrained_model_name_or_path: str | PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As `get_video_processor_dict` of [`DeepfakeVideoProcessor`]."""
        choices, unused = super().get_image_processor_dict(pretrained_model_name_or_path, **kwargs)
        _find_graph(choices, pretrained_model_name_or_path, kwargs)
        return choices, unused

    @auto_docstring
    def preprocess(self, images: Any, **kwargs: Unpack[DeepfakeVideoProcessorKwargs]) -> BatchFeature:
        r"""
        images (`ImageInput`):
            The frames of one clip, a single frame, or a list of clips. Pictures of Pillow are taken as a viewer shows
            them: upright, and in sRGB.
        """
        return DeepfakeVideoProcessor(**self.choices()).preprocess(to_displayed_frames(images), **kwargs)


def _find_graph(choices: dict[str, Any], folder: str | PathLike[str], kwargs: dict[str, Any]) -> None:
    """Register the folder of stored settings that crop faces by CenterFace, if its graph is there and not here."""
    if choices.get("do_crop_faces") and choices.get("face_detector") == "centerface" and not has_own_graph():
        wanted = {name: kwargs[name] for name in _DOWNLOAD_OPTIONS if name in kwargs}
        quietly = {f"_raise_exceptions_for_{case}": False for case in ("missing_entries", "connection_errors")}
        graph = cached_file(folder, GRAPH_NAME, **wanted, **quietly)
        if graph is not None:
            register_graph_folder(Path(graph).parent)


def _metadata_of(source: FrameSource) -> VideoMetadata:
    return VideoMetadata(
        total_num_frames=source.num_frames,
        fps=source.fps,
        width=source.width,
        height=source.height,
        duration=source.duration_s,
        video_backend="pyav",
    )


def _check_range(clip: torch.Tensor, rescale_factor: float | Sequence[float]) -> None:
    """Raise `ValueError` if a clip of floats was rescaled before; black is 0 in either range."""
    if clip.is_floating_point() and np.all(np.abs(rescale_factor) < 1) and clip.amax() <= 1 and clip.any():
        raise ValueError(
            "The clip is to be rescaled, but its values already lie between 0 and 1: give uint8, or do_rescale=False."
        )


def _to_frames(video: np.ndarray | torch.Tensor) -> np.ndarray:
    """Convert a clip in either channel layout to `(T, H, W, 3)` uint8 RGB."""
    frames = video.cpu().numpy() if isinstance(video, torch.Tensor) else np.asarray(video)
    if infer_channel_dimension_format(frames) == ChannelDimension.FIRST:
        frames = frames.transpose(0, 2, 3, 1)
    if frames.dtype != np.uint8 or frames.shape[-1] != 3:
        raise ValueError(
            f"Face detection requires RGB frames of dtype uint8, got {frames.dtype} with {frames.shape[-1]} channels: "
            "give uint8, or pass face crops with do_crop_faces=False, and with do_rescale=False if their values "
            "already lie between 0 and 1."
        )
    return frames


DeepfakeVideoProcessor.register_for_auto_class("AutoVideoProcessor")
DeepfakeImageProcessor.register_for_auto_class("AutoImageProcessor")

__all__ = ["DeepfakeImageProcessor", "DeepfakeVideoProcessor"]
