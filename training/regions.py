# SPDX-License-Identifier: Apache-2.0
"""An auxiliary head, used in training only, that predicts the altered region of each frame.

A map per frame carries more information than one label per clip, which helps where few pairs are available. Many
methods supervise a mask in addition to the label, such as Li et al. 2020, "Face X-ray",
https://arxiv.org/abs/1912.13458.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..modeling_deepfake import DeepfakeForVideoClassification
from .errors import TrainingError


# Side of the image over the side of the feature maps that are read: fine enough to resolve parts of a face.
_REDUCTION = 16
# The last stage of that size in torchvision's backbones; timm's networks describe theirs in `feature_info`.
_STAGES = ("features.5", "layer3", "stage3")


class RegionClassifier(nn.Module):
    """
    A network with an auxiliary head that predicts the altered region of each frame.

    Args:
        network: Network that is trained in place. A forward hook stays on one stage of its frame encoder.

    Raises:
        TrainingError: If the backbone has no stage that is known.
    """

    def __init__(self, network: DeepfakeForVideoClassification) -> None:
        super().__init__()
        backbone = network.base_model.frame_encoder.backbone
        modules = dict(backbone.named_modules())
        stages = getattr(backbone, "feature_info", [])
        described = [stage["module"] for stage in stages if stage.get("reduction") == _REDUCTION]
        stage = next((modules[name] for name in (*described[-1:], *_STAGES) if name in modules), None)
        if stage is None:
            raise TrainingError(f"recipe: region_weight does not support the backbone {network.config.backbone}.")
        self.network = network
        self._maps: torch.Tensor | None = None
        stage.register_forward_hook(self._keep_maps)
        was_training = network.training
        with torch.no_grad():
            network.eval()
            size = network.config.image_size
            backbone(torch.zeros(1, network.config.num_channels, size, size))
            network.train(was_training)
        if self._maps is None or self._maps.ndim != 4:
            raise TrainingError(
                f"recipe: region_weight requires a convolutional backbone, got {network.config.backbone}."
            )
        self.head: nn.Conv2d = nn.Conv2d(self._maps.shape[1], 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def _keep_maps(self, _: nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._maps = output

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Classify clips and predict their altered regions.

        Args:
            pixel_values: Clips (B, T, C, H, W).

        Returns:
            Logits (B, 2), and maps of logits (B * T, h, w).
        """
        logits = self.network(pixel_values).logits
        maps, self._maps = self._maps, None
        predicted: torch.Tensor = self.head(maps)
        return logits, predicted[:, 0]


def region_loss(maps: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """
    Binary cross entropy between each cell of the maps and the altered share of that cell.

    Args:
        maps: Logits (B * T, h, w).
        regions: Masks (B, T, H, W) uint8, 255 where a pixel is fully altered.

    Returns:
        Mean loss, a scalar.
    """
    height, width = maps.shape[-2:]
    shares = F.adaptive_avg_pool2d(regions.flatten(0, 1).float() / 255, (height, width))
    return F.binary_cross_entropy_with_logits(maps.float(), shares)
