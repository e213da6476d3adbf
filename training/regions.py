# SPDX-License-Identifier: Apache-2.0
"""A second head for training, which says where something was put into a frame: a label is learned from what shows it.

Few pairs say little by a label each; a map of each frame says more. After the many that supervise a mask beside the
label, such as Li et al. 2020, "Face X-ray", https://arxiv.org/abs/1912.13458.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ..modeling_deepfake import DeepfakeForVideoClassification
from .recipe import TrainingError


# Over the side of the picture that of the maps that are read: fine enough to tell parts of a face.
_REDUCTION = 16
# The last stage of that size in each kind of torchvision's backbones; timm's networks tell theirs.
_STAGES = ("features.5", "layer3", "stage3")


class RegionClassifier(nn.Module):
    """
    A network and, beside its answer, a map of where something was put.

    Args:
        network: Whose frame encoder is read half way; it is trained in place. A hook stays on it.

    Raises:
        TrainingError: If its backbone has no stage of a known name.
    """

    def __init__(self, network: DeepfakeForVideoClassification) -> None:
        super().__init__()
        backbone = network.base_model.frame_encoder.backbone
        modules = dict(backbone.named_modules())
        stages = getattr(backbone, "feature_info", [])
        told = [stage["module"] for stage in stages if stage.get("reduction") == _REDUCTION]
        stage = next((modules[name] for name in (*told[-1:], *_STAGES) if name in modules), None)
        if stage is None:
            raise TrainingError(f"recipe: region_weight does not know the stages of {network.config.backbone}.")
        self.network = network
        self._seen: torch.Tensor | None = None
        stage.register_forward_hook(self._keep)
        was_training = network.training
        with torch.no_grad():
            network.eval()
            size = network.config.image_size
            backbone(torch.zeros(1, network.config.num_channels, size, size))
            network.train(was_training)
        if self._seen is None or self._seen.ndim != 4:
            raise TrainingError(f"recipe: region_weight needs a backbone with maps, not {network.config.backbone}.")
        self.head: nn.Conv2d = nn.Conv2d(self._seen.shape[1], 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def _keep(self, _: nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._seen = output

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips `(B, T, C, H, W)` to logits `(B, 2)` and maps of logits `(B * T, h, w)`."""
        logits = self.network(pixel_values).logits
        seen, self._seen = self._seen, None
        maps: torch.Tensor = self.head(seen)
        return logits, maps[:, 0]


def region_loss(maps: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """
    Binary cross entropy of each cell with the share of it that was put there.

    Args:
        maps: Logits `(B * T, h, w)`.
        regions: `(B, T, H, W)` uint8, 255 where nothing of the real picture is left.
    """
    height, width = maps.shape[-2:]
    shares = F.adaptive_avg_pool2d(regions.flatten(0, 1).float() / 255, (height, width))
    return F.binary_cross_entropy_with_logits(maps.float(), shares)
