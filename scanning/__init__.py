# SPDX-License-Identifier: Apache-2.0
"""Score many videos: find and score faces, and report which videos could not be scored, and why."""

import importlib
from typing import TYPE_CHECKING, Any


# Imported on first use: a missing file is reported without loading torch.
_MODULE_OF = {
    "Detector": "detector",
    "FaceClip": "clips",
    "ScanObserver": "plan",
    "ScanPlan": "plan",
    "ScanResult": "plan",
    "ScanSettings": "settings",
    "VideoResult": "results",
    "face_clips": "clips",
    "scan": "scanner",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


if TYPE_CHECKING:
    from .clips import FaceClip as FaceClip
    from .clips import face_clips as face_clips
    from .detector import Detector as Detector
    from .plan import ScanObserver as ScanObserver
    from .plan import ScanPlan as ScanPlan
    from .plan import ScanResult as ScanResult
    from .results import VideoResult as VideoResult
    from .scanner import scan as scan
    from .settings import ScanSettings as ScanSettings
