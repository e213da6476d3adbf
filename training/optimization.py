# SPDX-License-Identifier: Apache-2.0
"""The optimiser and the learning-rate schedule."""

import math

import torch
from torch import nn

from .recipe import Recipe


def make_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Create AdamW over the trainable parameters of a module; biases and norms are not decayed."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LambdaLR:
    """Create a schedule with a linear warm-up and a cosine decay to 0."""

    def rate(step: int) -> float:
        if step < recipe.warmup_steps:
            return (step + 1) / recipe.warmup_steps
        share = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
