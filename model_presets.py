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
"""The feature widths of the torchvision backbones, and the presets of published systems."""

from typing import Any


# Width of the pooled features that each torchvision backbone returns.
BACKBONE_FEATURES: dict[str, int] = {
    "resnext50_32x4d": 2048,
    "resnext101_32x8d": 2048,
    "resnext101_64x4d": 2048,
    "efficientnet_b0": 1280,
    "efficientnet_b1": 1280,
    "efficientnet_b2": 1408,
    "efficientnet_b3": 1536,
    "efficientnet_b4": 1792,
    "efficientnet_b5": 2048,
    "efficientnet_b6": 2304,
    "efficientnet_b7": 2560,
    "shufflenet_v2_x0_5": 1024,
}

# Configuration of each system.
PRESETS: dict[str, dict[str, Any]] = {
    "resnext50-lstm": {
        "backbone": "resnext50_32x4d",
        "image_size": 112,
        "num_frames": 20,
        "rnn_type": "lstm",
        "hidden_size": 2048,
        "num_hidden_layers": 1,
        "pooling": "last",
        "classifier_dropout": 0.4,
    },
    "efficientnet-b0-bilstm": {
        "backbone": "efficientnet_b0",
        "image_size": 224,
        "num_frames": 20,
        "rnn_type": "lstm",
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "bidirectional": True,
        "pooling": "last",
        "classifier_hidden_sizes": [128],
        "classifier_dropout": 0.5,
    },
    "efficientnet-b0-frames": {
        "backbone": "efficientnet_b0",
        "image_size": 224,
        "num_frames": 100,
        "rnn_type": "none",
        "hidden_size": 1280,
        "num_hidden_layers": 0,
        "frame_aggregation": "mean-probability",
        "classifier_dropout": 0.4,
    },
    "efficientnet-lite2-frames": {
        "backbone": "timm/tf_efficientnet_lite2",
        "image_size": 224,
        "num_frames": 20,
        "rnn_type": "none",
        "hidden_size": 1280,
        "num_hidden_layers": 0,
        "frame_aggregation": "mean-logit",
        "classifier_dropout": 0.3,
        "drop_path_rate": 0.2,
    },
    "xception-frames": {
        "backbone": "timm/legacy_xception",
        "image_size": 299,
        "num_frames": 32,
        "rnn_type": "none",
        "hidden_size": 2048,
        "num_hidden_layers": 0,
        "frame_aggregation": "mean-probability",
        "classifier_dropout": 0.5,
    },
    "tiny": {
        "backbone": "shufflenet_v2_x0_5",
        "image_size": 32,
        "num_frames": 4,
        "rnn_type": "lstm",
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "pooling": "mean",
    },
}

# Preprocessing of the checkpoints of a preset, if it does not follow from the configuration.
PRESET_CHOICES: dict[str, dict[str, Any]] = {
    "efficientnet-lite2-frames": {
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "face_margin": 1.15,
    },
}
