# SPDX-License-Identifier: Apache-2.0
"""The ways in which training scripts wrap a state dict in a file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn


State = dict[str, torch.Tensor]


def _save(content: Any, path: Path, **kwargs: Any) -> Path:
    torch.save(content, path, **kwargs)
    return path


def _prefixed(state: State, prefix: str) -> State:
    return OrderedDict((prefix + key, value) for key, value in state.items())


def _cast(state: State, dtype: torch.dtype) -> State:
    return OrderedDict((key, value.to(dtype) if value.is_floating_point() else value) for key, value in state.items())


def _lightning(state: State, path: Path) -> Path:
    content = {
        "epoch": 3,
        "global_step": 1200,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": _prefixed(state, "model."),
        "loops": {"fit_loop": {"epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_auc'}": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 1e-4, "name": "x"},
    }
    return _save(content, path / "epoch=3.ckpt")


def _deepspeed(state: State) -> dict[str, Any]:
    """What DeepSpeed's engine saves for one process."""
    return {
        "module": state,
        "buffer_names": [key for key in state if "running" in key],
        "optimizer": None,
        "param_shapes": [OrderedDict((key, value.shape) for key, value in state.items())],
        "frozen_param_fragments": None,
        "lr_scheduler": {"last_batch_iteration": 3, "_last_lr": [1e-4]},
        "data_sampler": None,
        "sparse_tensor_module_names": [],
        "global_steps": 3,
        "ds_config": {"train_batch_size": 8, "zero_optimization": {"stage": 1}},
        "ds_version": "0.16.0",
    }


def _safetensors(state: State, path: Path) -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, path / "model.safetensors")
    return path / "model.safetensors"


WRAPPERS: dict[str, Callable[[State, Path], Path]] = {
    "plain": lambda state, path: _save(state, path / "model.pt"),
    "state_dict": lambda state, path: _save({"state_dict": state, "epoch": 3}, path / "model.pth"),
    "model_state_dict": lambda state, path: _save({"model_state_dict": state, "loss": 0.1}, path / "model.pt"),
    "net": lambda state, path: _save({"net": state, "opt": {"param_groups": []}, "iteration": 7}, path / "best.pth"),
    "model": lambda state, path: _save({"model": state}, path / "model.pt"),
    "network": lambda state, path: _save({"network": state, "epoch": 3}, path / "model.pt"),
    "weights": lambda state, path: _save({"weights": state}, path / "model.pt"),
    "model_state": lambda state, path: _save({"model_state": state, "auc": 0.9}, path / "model.pt"),
    "ema": lambda state, path: _save({"ema": {"module": state}, "updates": 12}, path / "model.pt"),
    "DeepSpeed": lambda state, path: _save(_deepspeed(state), path / "mp_rank_00_model_states.pt"),
    "SWA": lambda state, path: _save(
        {"n_averaged": torch.tensor(5), **_prefixed(state, "module.")}, path / "averaged.pt"
    ),
    "module.": lambda state, path: _save(_prefixed(state, "module."), path / "parallel.pt"),
    "_orig_mod.": lambda state, path: _save(_prefixed(state, "_orig_mod."), path / "compiled.pt"),
    "state_dict + module.": lambda state, path: _save({"state_dict": _prefixed(state, "module.")}, path / "a.pth"),
    "lightning": _lightning,
    "old stream (.tar)": lambda state, path: _save(
        {"state_dict": state}, path / "model.pth.tar", _use_new_zipfile_serialization=False
    ),
    "half": lambda state, path: _save(_cast(state, torch.float16), path / "half.pt"),
    "bfloat16": lambda state, path: _save(_cast(state, torch.bfloat16), path / "bfloat16.pt"),
    ".safetensors": _safetensors,
}
ROUNDING = {"half": torch.float16, "bfloat16": torch.bfloat16}


def rounded(network: nn.Module, wrapper: str) -> nn.Module:
    """The network with the weights that the wrapper keeps of it."""
    if wrapper in ROUNDING:
        network.load_state_dict(_cast(network.state_dict(), ROUNDING[wrapper]))
    return network
