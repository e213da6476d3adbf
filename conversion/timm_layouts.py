# SPDX-License-Identifier: Apache-2.0
"""State dicts with a backbone of timm: one that the user names, or an EfficientNet-Lite or Xception by its keys."""

import re
from collections.abc import Mapping, MutableMapping

import torch

from ..timm_backbones import PREFIX, check_timm_name, is_timm
from .backbones import backbone_shapes
from .errors import ConversionError, shown


Shapes = Mapping[str, tuple[int, ...]]

# (blocks, channels of the last block) tell the variants apart.
_LITES: dict[tuple[int, int], str] = {
    (16, 320): "lite0",
    (21, 320): "lite1",
    (21, 352): "lite2",
    (24, 384): "lite3",
    (30, 448): "lite4",
}
_LITE_BLOCK = re.compile(r"blocks\.\d+\.\d+\.conv_dw\.weight")
# timm's port of Cadene's network, which FaceForensics++ and DeepfakeBench use, has the same names but for the head.
XCEPTION = f"{PREFIX}legacy_xception"
_XCEPTION_MARK = re.compile(r"^((?:.+\.)?)block12\.rep\.\d\.pointwise\.weight$")
# DeepfakeBench builds this layer in every Xception and uses it in a mode of its own.
ADJUSTMENT = "adjust_channel."


def restore_pointwise(tensors: MutableMapping[str, torch.Tensor]) -> None:
    """Give the kernels of one pixel that files from before PyTorch 0.4 hold as matrices their four axes again."""
    for key, tensor in tensors.items():
        if key.endswith(".pointwise.weight") and tensor.ndim == 2:
            tensors[key] = tensor[:, :, None, None]


def check_backbone_flag(backbone: str) -> None:
    """
    Raises:
        ConversionError: If `--backbone` names no network of timm.
    """
    try:
        if not is_timm(backbone):
            raise ValueError(f"--backbone takes {PREFIX}NAME; torchvision's networks are recognised without it.")
        check_timm_name(backbone)
    except ValueError as error:
        raise ConversionError(str(error), reason="flags") from error


def find_prefixes(backbone: str, shapes: Shapes, file: str) -> list[str]:
    """
    What the keys of a named backbone begin with in a file, once for each copy of it.

    Raises:
        ConversionError: If the file does not hold its first weight.
    """
    names = [key for key in backbone_shapes(backbone) if not key.endswith("num_batches_tracked")]
    first = next(key for key in names if key.endswith("weight"))
    prefixes = [key.removesuffix(first) for key in shapes if key == first or key.endswith(f".{first}")]
    if not prefixes:
        raise ConversionError(
            f"{shown(file)} holds no {backbone}: it lacks {shown(first)}; leave --backbone out to see what it holds.",
            reason="layout",
        )
    complete = [prefix for prefix in prefixes if all(prefix + name in shapes for name in names)]
    # Parts of a network can have the names of its first layer too; what an incomplete network lacks is named later.
    return complete or [min(prefixes, key=len)]


def find_xceptions(shapes: Shapes) -> list[str]:
    """What the keys of each Xception in a file begin with."""
    return list(dict.fromkeys(match[1] for key in shapes if (match := _XCEPTION_MARK.match(key))))


def find_lite(own: Shapes) -> str | None:
    """
    The EfficientNet-Lite among the keys of a network in timm's names.

    The same keys belong to a variant with torch's padding, see [`padded_as`].
    """
    if any(".se." in key for key in own):
        return None
    blocks = [key for key in own if _LITE_BLOCK.fullmatch(key)]
    last = own.get("conv_head.weight", (0, 0))
    name = _LITES.get((len(blocks), last[1] if len(last) == 4 else 0))
    return f"{PREFIX}tf_efficientnet_{name}" if name else None


def is_lite(backbone: str) -> bool:
    """Whether a backbone was found by [`find_lite`]."""
    return backbone.startswith(f"{PREFIX}tf_efficientnet_lite")


def padded_as(backbone: str, padding: str) -> str:
    """The EfficientNet-Lite with TensorFlow's padding (`"same"`) or torch's."""
    return backbone if padding == "same" else backbone.replace("tf_", "", 1)
