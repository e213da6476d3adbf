# SPDX-License-Identifier: Apache-2.0
"""Write `browser/src/constants.json`: the constants of the package's algorithms, which the page must share.

A test compares the file with the package, so that a constant is changed in one place only.
"""

import json
from pathlib import Path
from typing import Any

from deepfake_video import (
    face_centerface,
    face_search,
    face_tracking,
    video_pictures,
    video_timestamps,
    video_unread,
    watched_frames,
)
from deepfake_video.face_cropping import FaceCropSettings
from deepfake_video.scanning import (
    clip_reading,
    detector,
    different_frames,
    graphs,
    html_report,
    illustrating,
    media,
    not_judged,
    photo_reader,
    preprocessing,
    results,
    stills,
    timeline,
    verdict,
    verdict_bands,
)
from deepfake_video.scanning.settings import MIN_FACE_COVERAGE, ScanSettings
from deepfake_video.version import __version__
from deepfake_video.video_errors import VideoLimits


FILE = Path(__file__).resolve().parent.parent / "browser" / "src" / "constants.json"


def constants() -> dict[str, Any]:
    """The constants by topic, with the names that the TypeScript uses."""
    centerface = face_centerface.CenterFaceDetector()
    finer = centerface.finer()
    search = FaceCropSettings()
    return {
        "version": __version__,
        "schemaVersion": results.SCHEMA_VERSION,
        "graphsVersion": graphs.GRAPHS_VERSION,
        "modelId": results.DEFAULT_ID,
        "terms": results.DEFAULT_TERMS,
        "untrainedWarning": results.UNTRAINED_WARNING,
        "photoWarning": results.PHOTO_WARNING,
        "sequenceHint": media.SEQUENCE_HINT,
        "scanSettings": ScanSettings(timeline=True, engine="onnx").to_dict(),
        "decisionThreshold": detector.DECISION_THRESHOLD,
        "minFaceCoverage": MIN_FACE_COVERAGE,
        "lowFaceCoverage": clip_reading.LOW_FACE_COVERAGE,
        "supportedPreprocessing": preprocessing._SUPPORTED,
        "maxFramePixels": VideoLimits.max_frame_pixels,
        "maxPhotoBytes": photo_reader.MAX_PHOTO_BYTES,
        "video": {
            "gapS": video_timestamps.GAP_S,
            "minDifferenceS": video_unread.MIN_DIFFERENCE_S,
            "gapIntervals": video_timestamps.GAP_INTERVALS,
            "maxClockStepS": video_timestamps.MAX_CLOCK_STEP_S,
            "maxGapS": video_timestamps.MAX_GAP_S,
            "clockLength": video_timestamps._CLOCK_LENGTH,
            "nominalFps": video_timestamps.NOMINAL_FPS,
            "maxPixelAspect": video_pictures.MAX_PIXEL_ASPECT,
            "pixelAspectTolerance": video_pictures.PIXEL_ASPECT_TOLERANCE,
        },
        "centerface": {
            "heights": face_centerface._HEIGHTS,
            "large": face_centerface._LARGE,
            "regionScale": face_centerface._REGION_SCALE,
            "regionSide": face_centerface._REGION_SIDE,
            "stride": face_centerface._STRIDE,
            "multiple": face_centerface._MULTIPLE,
            "lowestHeat": face_centerface._LOWEST_HEAT,
            "sureHeat": face_centerface._SURE_HEAT,
            "maxChecks": face_centerface._MAX_CHECKS,
            "maxOverlap": face_centerface._MAX_OVERLAP,
            "tolerance": face_centerface._TOLERANCE,
            "oddsFactor": face_centerface._ODDS_FACTOR,
            "boxShift": face_centerface._BOX_SHIFT.tolist(),
            "boxFactor": face_centerface._BOX_FACTOR.tolist(),
            "minSide": centerface.min_side,
            "maxSide": search.max_side,
            "finerMaxSide": finer.max_side,
            "finerMinFaceSize": finer.min_face_size,
        },
        "search": {
            "thumbnailSide": watched_frames.THUMBNAIL_SIDE,
            "wholeSearchEvery": face_search.WHOLE_SEARCH_EVERY,
            "gapScore": face_search.GAP_SCORE,
            "fineFrames": face_search._FINE_FRAMES,
            "moreFramesFactor": face_search._MORE_FRAMES_FACTOR,
            "maxMoreFrames": face_search._MAX_MORE_FRAMES,
            "seldom": face_search._SELDOM,
            "turnedShare": face_search._TURNED_SHARE,
            "turnedFrames": face_search._TURNED_FRAMES,
            "smoothBoxes": search.smooth_boxes,
        },
        "tracking": {
            "minIou": face_tracking.MIN_IOU,
            "sizesPerSecond": face_tracking.SIZES_PER_SECOND,
            "maxSizes": face_tracking.MAX_SIZES,
            "maxGrowth": face_tracking.MAX_GROWTH,
            "maxInterpolatedS": face_tracking.MAX_INTERPOLATED_S,
            "maxGap": face_tracking.MAX_GAP,
            "denseS": face_tracking.DENSE_S,
            "cutLevel": face_tracking.CUT_LEVEL,
            "cutRatio": face_tracking.CUT_RATIO,
            "loneCutLevel": face_tracking._LONE_CUT_LEVEL,
            "maxAspectChange": face_tracking.MAX_ASPECT_CHANGE,
        },
        "timeline": {
            "denseIntervalS": timeline.DENSE_INTERVAL_S,
            "windowFrames": timeline.WINDOW_FRAMES,
            "hopFrames": timeline.HOP_FRAMES,
            "maxDenseFrames": timeline.MAX_DENSE_FRAMES,
        },
        "evidence": {
            "thumbnails": illustrating.NUM_THUMBNAILS,
            "heatmaps": illustrating.NUM_HEATMAPS,
            "heatColors": illustrating._HEAT_COLOURS,
            "strongestTint": illustrating._STRONGEST_TINT,
            "stillSide": stills.STILL_SIDE,
            "stillColor": stills._COLOUR,
        },
        "report": {
            "stretches": html_report.MAX_STRETCHES,
            "tickStepsS": html_report.TICK_STEPS_S,
            "maxTicks": html_report.MAX_TICKS,
            "shortS": html_report.SHORT_S,
            "notJudged": not_judged.REASONS,
        },
        "verdict": {
            "noBands": verdict.NO_BANDS,
            "notForPhotos": verdict.NOT_FOR_PHOTOS,
            "maxUnreadShare": verdict.MAX_UNREAD_SHARE,
            "stillTolerance": different_frames.STILL_TOLERANCE,
            "boundSettings": verdict_bands.BOUND_SETTINGS,
            "notCovered": verdict_bands.NOT_COVERED,
            "format": verdict_bands._FORMAT,
        },
    }


def constants_text() -> str:
    """The text of the file."""
    return json.dumps(constants(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(constants_text(), encoding="utf-8")
