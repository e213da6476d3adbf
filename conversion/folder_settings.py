# SPDX-License-Identifier: Apache-2.0
"""Layout and choices as the fields of our configuration and processor."""

from typing import Any

from .choices import Choices
from .layout import Layout


def config_fields(layout: Layout, choices: Choices) -> dict[str, Any]:
    """Return the fields of `DeepfakeConfig` with which our network computes the same function."""
    fields: dict[str, Any] = {
        "backbone": layout.backbone,
        "image_size": choices["image_size"],
        "num_frames": choices["num_frames"],
        "classifier_hidden_sizes": list(layout.head.sizes[:-1]),
        "classifier_activation": choices.get("activation", "none"),
        "is_trained": True,
    }
    if layout.backbone.startswith("efficientnet"):
        fields |= {
            "conv_padding": choices["padding"],
            "conv_padding_image_size": choices.get("padding_image_size"),
            "stem_padding": choices["stem_padding"],
            "batch_norm_eps": choices["batch_norm_eps"],
        }
    if layout.rnn is None:
        return {
            **fields,
            "rnn_type": "none",
            "hidden_size": layout.num_features,
            "num_hidden_layers": 0,
            "frame_aggregation": choices["frame_aggregation"],
        }
    return {
        **fields,
        "rnn_type": layout.rnn.kind,
        "hidden_size": layout.rnn.hidden_size,
        "num_hidden_layers": layout.rnn.num_layers,
        "bidirectional": layout.rnn.bidirectional,
        "recurrence": "sequence" if choices.as_sequence else choices["recurrence"],
        "frame_aggregation": "features",
        "pooling": choices["pooling"],
        **({"attention_hidden_size": layout.attention_size} if layout.attention else {}),
    }


def processor_fields(choices: Choices) -> dict[str, Any]:
    """Return the fields of `DeepfakeVideoProcessor` that prepare frames like the legacy program."""
    size = choices["image_size"]
    mean, std = list(choices["image_mean"]), list(choices["image_std"])
    return {
        "size": {"height": size, "width": size},
        "resample": 2,
        "antialias": choices["antialias"],
        "do_pad": choices["do_pad"],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": (mean, std) != ([0.0] * 3, [1.0] * 3),
        "image_mean": mean,
        "image_std": std,
        "channel_order": choices["channel_order"],
        "num_frames": choices["num_frames"],
        "frame_sampling": choices["frame_sampling"],
        "do_crop_faces": choices["faces"] == "auto",
        "face_margin": choices["face_margin"],
        "face_square": choices["face_square"],
        "face_padding": choices["face_padding"],
    }
