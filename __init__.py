# SPDX-License-Identifier: Apache-2.0
"""
Score a video for face manipulation with a Transformers model, and show where in the video and on which face.

The names below are imported when they are first used: the command line answers without loading torch.
"""

import importlib
from typing import TYPE_CHECKING, Any


_MODULES = {
    "configuration_deepfake": ["DeepfakeConfig"],
    "modeling_deepfake": ["DeepfakeForVideoClassification", "DeepfakeModel"],
    "image_processing_deepfake": ["DeepfakeImageProcessor", "DeepfakeVideoProcessor"],
    "face_cropping": ["FaceCropSettings", "FaceTrack", "NoFaceFoundError"],
    "video_decoding": ["VideoError", "VideoLimits", "VideoReader"],
    "hub.registration": ["register"],
    "hub.packaged": ["default_checkpoint"],
    "hub.onnx_export": ["ExportPlan", "ExportResult", "export"],
    "hub.push": ["PushPlan", "PushResult", "push"],
    "scanning": ["FaceClip", "ScanPlan", "ScanResult", "ScanSettings", "VideoResult", "face_clips", "scan"],
    "version": ["__version__"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})


if TYPE_CHECKING:
    from .configuration_deepfake import DeepfakeConfig as DeepfakeConfig
    from .face_cropping import FaceCropSettings as FaceCropSettings
    from .face_cropping import FaceTrack as FaceTrack
    from .face_cropping import NoFaceFoundError as NoFaceFoundError
    from .hub.onnx_export import ExportPlan as ExportPlan
    from .hub.onnx_export import ExportResult as ExportResult
    from .hub.onnx_export import export as export
    from .hub.packaged import default_checkpoint as default_checkpoint
    from .hub.push import PushPlan as PushPlan
    from .hub.push import PushResult as PushResult
    from .hub.push import push as push
    from .hub.registration import register as register
    from .image_processing_deepfake import DeepfakeImageProcessor as DeepfakeImageProcessor
    from .image_processing_deepfake import DeepfakeVideoProcessor as DeepfakeVideoProcessor
    from .modeling_deepfake import DeepfakeForVideoClassification as DeepfakeForVideoClassification
    from .modeling_deepfake import DeepfakeModel as DeepfakeModel
    from .scanning import FaceClip as FaceClip
    from .scanning import ScanPlan as ScanPlan
    from .scanning import ScanResult as ScanResult
    from .scanning import ScanSettings as ScanSettings
    from .scanning import VideoResult as VideoResult
    from .scanning import face_clips as face_clips
    from .scanning import scan as scan
    from .version import __version__ as __version__
    from .video_decoding import VideoError as VideoError
    from .video_decoding import VideoLimits as VideoLimits
    from .video_decoding import VideoReader as VideoReader
