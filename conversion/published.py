# SPDX-License-Identifier: Apache-2.0
"""Facts about published systems that their state dicts do not contain."""

from typing import Any

from ..model_presets import PRESET_CHOICES, PRESETS


def _facts_of_preset(name: str) -> dict[str, Any]:
    """How a preset of the model configurations prepares frames."""
    config = PRESETS[name]
    facts = {key: config[key] for key in ("image_size", "num_frames", "frame_aggregation") if key in config}
    choices = PRESET_CHOICES.get(name, {})
    return facts | {key: tuple(value) if isinstance(value, list) else value for key, value in choices.items()}


_TIGHT_BOX = {"face_margin": 1.0, "face_square": False}
_HALVES = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
_FROM_0_TO_1 = {"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
_BILSTM = {**_facts_of_preset("efficientnet-b0-bilstm"), "faces": "none"}

# How the published programs with exactly these keys prepare frames. Keys do not determine it: it is assumed, and the
# assumption is reported.
FACTS: dict[str, dict[str, Any]] = {
    "resnext50-lstm": {
        **_facts_of_preset("resnext50-lstm"),
        "channel_order": "bgr",
        "frame_sampling": "first",
        **_TIGHT_BOX,
    },
    "efficientnet-b0-bilstm": _BILSTM,
    "efficientnet-b0-bilstm-attention": {**_BILSTM, **_FROM_0_TO_1, "attention_activation": "tanh"},
    # Scored on crops resized by OpenCV, without antialiasing; trained on images resized by Pillow, with it.
    "efficientnet-b0-frames": {**_facts_of_preset("efficientnet-b0-frames"), **_TIGHT_BOX, "antialias": False},
    "icpr2020dfdc": {"image_size": 224, "num_frames": 32, "frame_aggregation": "mean-logit"},
    "deepfakebench": {"image_size": 256, "num_frames": 32, **_HALVES, "stem_padding": "none"},
    "deepfakebench-xception": {"image_size": 256, "num_frames": 32, **_HALVES},
    # Rössler et al., 2019: a square of 1.3 times the side of the face box.
    "faceforensics-xception": {"image_size": 299, "num_frames": 32, **_HALVES, "face_margin": 1.3},
    "efficientnet-lite2-frames": _facts_of_preset("efficientnet-lite2-frames"),
    "xception-frames": {**_facts_of_preset("xception-frames"), **_HALVES},
    # Shiohara and Yamasaki, 2022: pixels from 0 to 1, an eighth of the box more on each side, stretched to a square by
    # OpenCV, without antialiasing.
    "self-blended-images": {
        "image_size": 380,
        "num_frames": 32,
        "frame_aggregation": "mean-probability",
        **_FROM_0_TO_1,
        "face_margin": 1.25,
        "face_square": False,
        "antialias": False,
    },
    "selimsef-dfdc": {
        "image_size": 380,
        "num_frames": 32,
        # A third of the box on each side; the longer side fills the input, black fills the rest.
        "face_margin": 5 / 3,
        "face_square": False,
        "face_padding": "zero",
        "do_pad": True,
    },
}
# Choices that change the score and that no key determines: only a preset confirms that they are as published.
PRESET_FACTS: dict[str, dict[str, Any]] = {
    "resnext50-lstm": {"recurrence": "per-frame", "fake_index": 0},
    "efficientnet-b0-bilstm": {"recurrence": "sequence", "pooling": "last", "activation": "relu", "fake_index": 1},
    "efficientnet-b0-frames": {"fake_index": 1},
    "efficientnet-lite2-frames": {"padding": "same", "fake_index": 1},
    "xception-frames": {"fake_index": 1},
    "deepfakebench": {"fake_index": 1},
    "deepfakebench-xception": {"fake_index": 1},
    "faceforensics-xception": {"fake_index": 1},
    "self-blended-images": {"fake_index": 1},
}
# Systems whose program is published and settles what their keys leave open.
PRESET_NAMES = tuple(PRESET_FACTS)
# Values in published programs, by the family of the keys; for messages.
SEEN: dict[str, dict[str, str]] = {
    "resnext50-lstm": {
        "recurrence": "per-frame in every known program with these keys, which omit batch_first",
        "pooling": "published with the same keys: mean in the training notebook and its copies, last in the web "
        "application and the prediction notebook",
        "fake_index": "0 in the training notebook and web application",
    },
    "efficientnet-b0-bilstm": {
        "recurrence": "sequence in the published program",
        "pooling": "last in the published program; similar programs use the mean",
        "activation": "relu in the published program",
        "fake_index": "1 in the published program",
    },
    "efficientnet-b0-bilstm-attention": {"recurrence": "sequence in the published program"},
    "efficientnet-b0-frames": {"fake_index": "1 in the published program"},
    "deepfakebench": {"fake_index": "1 in DeepfakeBench"},
    "deepfakebench-xception": {"fake_index": "1 in DeepfakeBench"},
    "faceforensics-xception": {"fake_index": "1 in FaceForensics++"},
    "self-blended-images": {"fake_index": "1 in the published program"},
}
