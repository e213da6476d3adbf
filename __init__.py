# SPDX-License-Identifier: Apache-2.0
"""
Score a video for face manipulation with a Transformers model, and show where in the video and on which face.

The names below are imported on first use, so that the command line can answer without loading torch.
"""

import importlib
from typing import TYPE_CHECKING, Any


_MODULES = {
    "common.errors": ["UsageError", "WorkError"],
    "configuration_deepfake": ["DeepfakeConfig"],
    "modeling_deepfake": ["DeepfakeForImageClassification", "DeepfakeForVideoClassification", "DeepfakeModel"],
    "image_processing_deepfake": ["DeepfakeImageProcessor", "DeepfakeVideoProcessor"],
    "face_cropping": ["FaceCropSettings", "FaceTrack", "NoFaceFoundError"],
    "video_decoding": ["VideoError", "VideoLimits", "VideoReader"],
    "hub.registration": ["register"],
    "hub.packaged": ["default_checkpoint"],
    "evaluation.recalibrating": ["calibrate"],
    "evaluation.comparing": ["average_seeds", "compare"],
    "evaluation.evaluation_result": ["EvaluationResult"],
    "evaluation.evaluator": ["evaluate"],
    "evaluation.metrics": ["video_metrics"],
    "evaluation.plan": ["EvaluationPlan"],
    "evaluation.rescoring": ["rescore"],
    "evaluation.verdicts": ["measure_verdicts", "write_verdicts"],
    "hub.onnx_export": ["ExportPlan", "ExportResult", "export"],
    "hub.push": ["PushPlan", "PushResult", "push"],
    "conversion.plan": ["ConversionPlan"],
    "conversion.inspection": ["Inspection", "inspect_checkpoint"],
    "conversion.converting": ["ConversionResult", "convert"],
    "training.plan": ["TrainingListener", "TrainingPlan", "TrainingResult"],
    "training.recipe": ["Recipe"],
    "training.trainer_data": ["DeepfakeCollator", "FaceClipDataset"],
    "training.training_run": ["train"],
    "serving.plan": ["ServicePlan"],
    "serving.service": ["serve"],
    "scanning.clips": ["FaceClip", "face_clips"],
    "scanning.plan": ["ScanPlan", "ScanResult"],
    "scanning.results": ["VideoResult"],
    "scanning.scanner": ["scan"],
    "scanning.settings": ["ScanSettings"],
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
    from .common.errors import UsageError as UsageError
    from .common.errors import WorkError as WorkError
    from .configuration_deepfake import DeepfakeConfig as DeepfakeConfig
    from .conversion.converting import ConversionResult as ConversionResult
    from .conversion.converting import convert as convert
    from .conversion.inspection import Inspection as Inspection
    from .conversion.inspection import inspect_checkpoint as inspect_checkpoint
    from .conversion.plan import ConversionPlan as ConversionPlan
    from .evaluation.comparing import average_seeds as average_seeds
    from .evaluation.comparing import compare as compare
    from .evaluation.evaluation_result import EvaluationResult as EvaluationResult
    from .evaluation.evaluator import evaluate as evaluate
    from .evaluation.metrics import video_metrics as video_metrics
    from .evaluation.plan import EvaluationPlan as EvaluationPlan
    from .evaluation.recalibrating import calibrate as calibrate
    from .evaluation.rescoring import rescore as rescore
    from .evaluation.verdicts import measure_verdicts as measure_verdicts
    from .evaluation.verdicts import write_verdicts as write_verdicts
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
    from .modeling_deepfake import DeepfakeForImageClassification as DeepfakeForImageClassification
    from .modeling_deepfake import DeepfakeForVideoClassification as DeepfakeForVideoClassification
    from .modeling_deepfake import DeepfakeModel as DeepfakeModel
    from .scanning.clips import FaceClip as FaceClip
    from .scanning.clips import face_clips as face_clips
    from .scanning.plan import ScanPlan as ScanPlan
    from .scanning.plan import ScanResult as ScanResult
    from .scanning.results import VideoResult as VideoResult
    from .scanning.scanner import scan as scan
    from .scanning.settings import ScanSettings as ScanSettings
    from .serving.plan import ServicePlan as ServicePlan
    from .serving.service import serve as serve
    from .training.plan import TrainingListener as TrainingListener
    from .training.plan import TrainingPlan as TrainingPlan
    from .training.plan import TrainingResult as TrainingResult
    from .training.recipe import Recipe as Recipe
    from .training.trainer_data import DeepfakeCollator as DeepfakeCollator
    from .training.trainer_data import FaceClipDataset as FaceClipDataset
    from .training.training_run import train as train
    from .version import __version__ as __version__
    from .video_decoding import VideoError as VideoError
    from .video_decoding import VideoLimits as VideoLimits
    from .video_decoding import VideoReader as VideoReader
