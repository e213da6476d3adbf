# SPDX-License-Identifier: Apache-2.0
"""Many videos: find the faces, score them, and say what could not be judged and why."""

import importlib
from typing import TYPE_CHECKING, Any


# Imported when first used: a missing file is reported without loading torch.
_MODULE_OF = {"Detector": "detector", "ScanSettings": "settings", "VideoResult": "results", "scan": "detector"}

__all__ = ["Detector", "ScanSettings", "VideoResult", "scan"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


if TYPE_CHECKING:
    from .detector import Detector as Detector
    from .detector import scan as scan
    from .results import VideoResult as VideoResult
    from .settings import ScanSettings as ScanSettings
