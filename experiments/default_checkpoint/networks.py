# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite2 as it is trained, the teacher, and the comparison of networks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from chain_data import ValidationVideo, view_crops
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch import nn

from deepfake_video import DeepfakeForVideoClassification


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
State = dict[str, torch.Tensor]


def make_lite2(initial: Path) -> nn.Module:
    """
    EfficientNet-Lite2 of timm with two classes (real, fake), and with dropout and stochastic depth in training.

    Args:
        initial: Weights of the backbone with timm's names; those of a classifier are ignored.

    Raises:
        RuntimeError: If the weights do not fit the backbone.
    """
    network: nn.Module = timm.create_model("tf_efficientnet_lite2", num_classes=2, drop_rate=0.3, drop_path_rate=0.1)
    head = network.get_submodule("classifier")
    assert isinstance(head, nn.Linear)
    # timm draws the weights of a head with two classes from [-0.7, 0.7], which is a thousand times too large here.
    nn.init.normal_(head.weight, std=0.005)
    nn.init.zeros_(head.bias)
    backbone = {name: value for name, value in load_weights(initial).items() if not name.startswith("classifier.")}
    kept = {name: value for name, value in network.state_dict().items() if name.startswith("classifier.")}
    network.load_state_dict({**backbone, **kept})
    return network.to(memory_format=torch.channels_last)


def load_weights(path: Path) -> State:
    """Weights of a safetensors file, in single precision."""
    return {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}


def save_weights(state: State, path: Path) -> None:
    """Save weights in half precision."""
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file({name: value.contiguous().cpu() for name, value in halved.items()}, path)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move the exponential moving average of the weights and statistics; faster in the first steps."""
    share = 1 - min(decay, (step + 1) / (step + 10))
    for kept, parameter in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(parameter, share)
    for buffer, value in zip(average.buffers(), network.buffers(), strict=True):
        buffer.copy_(torch.lerp(buffer, value, share) if buffer.is_floating_point() else value)


def group_parameters(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """The trained parameters as AdamW takes them; biases and norms are not decayed."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0},
    ]


def normalise(frames: torch.Tensor) -> torch.Tensor:
    """Pixel values (N, 3, H, W) float32 of frames (N, H, W, 3) uint8."""
    mean, std = (torch.tensor(values, device=frames.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((frames.permute(0, 3, 1, 2).float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


class FolderNetwork(nn.Module):
    """
    A frame classifier of a model folder, called like a network of timm.

    Args:
        folder: Model folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.model = DeepfakeForVideoClassification.from_pretrained(folder).eval().float()
        self.image_size: int = self.model.config.image_size

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (N, 2) of pixel values (N, 3, H, W)."""
        logits: torch.Tensor = self.model(pixel_values_videos=pixels[None]).frame_logits[0]
        return logits


@torch.no_grad()
def score_videos(network: nn.Module, videos: Sequence[ValidationVideo], size: int) -> np.ndarray:
    """
    Compute the mean logit of each video's frames.

    Args:
        network: From pixel values (N, 3, H, W) to logits (N, 2).
        videos: Validation videos.
        size: Input size of the network in pixels.
    """
    network.eval()
    scores = []
    for video in videos:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(normalise(view_crops(video.frames, size))).float()
        scores.append(float((logits[:, 1] - logits[:, 0]).mean()))
    return np.array(scores)


def compute_aucs(videos: Sequence[ValidationVideo], scores: np.ndarray) -> dict[str, float]:
    """
    Compute the area under the ROC curve of each validation set; DFDC and GRID count as one.

    Args:
        videos: Validation videos.
        scores: Score of each video.
    """
    # GRID has real videos only: the real talking heads beside the videos of DFDC.
    joint = {"dfdc": "dfdc+grid", "grid": "dfdc+grid"}
    names = np.array([joint.get(video.dataset, video.dataset) for video in videos])
    labels = np.array([video.is_fake for video in videos])
    return {
        name: round(float(roc_auc_score(labels[names == name], scores[names == name])), 3)
        for name in sorted(set(names))
        if len(set(labels[names == name])) == 2
    }


def compare(network: nn.Module, videos: Sequence[ValidationVideo], size: int) -> dict[str, float]:
    """Compute the areas under the ROC curve of a network, see [`compute_aucs`] and [`score_videos`]."""
    return compute_aucs(videos, score_videos(network, videos, size))


def sharpen_gradient(network: nn.Module, compute_loss: Callable[[], torch.Tensor], radius: float) -> None:
    """
    Replace the gradient by the one at the nearby weights where the loss is highest, to first order.

    This is the second step of sharpness-aware minimisation (Foret et al. 2021, https://arxiv.org/abs/2010.01412); the
    running statistics of batch normalisation are not updated again.

    Args:
        network: Network whose weights have a gradient.
        compute_loss: Computes the loss of the same batch again.
        radius: Distance to these weights.
    """
    moved = {weight: weight.grad for weight in network.parameters() if weight.grad is not None}
    norm = torch.stack([gradient.norm() for gradient in moved.values()]).norm() + 1e-12
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 0.0
    with torch.no_grad():
        for weight, gradient in moved.items():
            weight.add_(gradient, alpha=float(radius / norm))
            weight.grad = None
    compute_loss().backward()
    with torch.no_grad():
        for weight, gradient in moved.items():
            weight.sub_(gradient, alpha=float(radius / norm))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum
