# SPDX-License-Identifier: Apache-2.0
"""Detects timm backbones in a state dict: one set by the user, an EfficientNet-Lite, or an Xception."""

import re
from collections.abc import MutableMapping

import torch

from ..common.text import quoted
from ..timm_backbones import PREFIX, check_timm_name, is_timm
from .backbones import Shapes, backbone_shapes
from .errors import ConversionError, ConversionOptionError


# (blocks, channels of the last block) identify a variant.
_LITES: dict[tuple[int, int], str] = {
    (16, 320): "lite0",
    (21, 320): "lite1",
    (21, 352): "lite2",
    (24, 384): "lite3",
    (30, 448): "lite4",
}
_LITE_BLOCK = re.compile(r"blocks\.\d+\.\d+\.conv_dw\.weight")
# timm's port of Cadene's network, which FaceForensics++ and DeepfakeBench use; only its head has other names.
XCEPTION = f"{PREFIX}legacy_xception"
_XCEPTION_MARK = re.compile(r"^((?:.+\.)?)block12\.rep\.\d\.pointwise\.weight$")
# DeepfakeBench creates this layer in every Xception and uses it in one special mode only.
ADJUSTMENT = "adjust_channel."


def restore_pointwise(tensors: MutableMapping[str, torch.Tensor]) -> None:
    """Restore the four axes of 1x1 kernels, which files from before PyTorch 0.4 store as matrices; in place."""
    for key, tensor in tensors.items():
        if key.endswith(".pointwise.weight") and tensor.ndim == 2:
            tensors[key] = tensor[:, :, None, None]


def check_backbone_option(backbone: str) -> None:
    """
    Check that `--backbone` names a timm network.

    Args:
        backbone: Value of the option.

    Raises:
        ConversionOptionError: If it does not, or timm is not installed.
    """
    try:
        if not is_timm(backbone):
            raise ValueError(f"--backbone takes {PREFIX}NAME; torchvision networks are detected without it.")
        check_timm_name(backbone)
    except ValueError as error:
        raise ConversionOptionError(str(error)) from error


def find_prefixes(backbone: str, shapes: Shapes, file: str) -> list[str]:
    """
    Return the prefix of each copy of a timm backbone in a file.

    Args:
        backbone: The backbone, as `"timm/NAME"`.
        shapes: Shape of each tensor by key.
        file: Name of the file, for messages.

    Raises:
        ConversionError: If the file does not contain its first weight.
    """
    names = [key for key in backbone_shapes(backbone) if not key.endswith("num_batches_tracked")]
    first = next(key for key in names if key.endswith("weight"))
    prefixes = [key.removesuffix(first) for key in shapes if key == first or key.endswith(f".{first}")]
    if not prefixes:
        raise ConversionError(
            f"{quoted(file)} does not contain {backbone}: missing key {quoted(first)}; omit --backbone to detect the "
            "network.",
            reason="layout",
        )
    complete = [prefix for prefix in prefixes if all(prefix + name in shapes for name in names)]
    # Other parts of a network may have a layer of this name too. If no copy is complete, the shape check names the
    # missing keys.
    return complete or [min(prefixes, key=len)]


def find_xceptions(shapes: Shapes) -> list[str]:
    """Return the prefix of each Xception in a file."""
    return list(dict.fromkeys(match[1] for key in shapes if (match := _XCEPTION_MARK.match(key))))


def find_lite(own: Shapes) -> str | None:
    """
    Return the EfficientNet-Lite with these keys in timm naming, if there is one.

    The variant with torch's padding has the same keys, see [`padded_as`].
    """
    if any(".se." in key for key in own):
        return None
    blocks = [key for key in own if _LITE_BLOCK.fullmatch(key)]
    last = own.get("conv_head.weight", (0, 0))
    name = _LITES.get((len(blocks), last[1] if len(last) == 4 else 0))
    return f"{PREFIX}tf_efficientnet_{name}" if name else None


def is_lite(backbone: str) -> bool:
    """Return whether a backbone was detected by [`find_lite`]."""
    return backbone.startswith(f"{PREFIX}tf_efficientnet_lite")


def padded_as(backbone: str, padding: str) -> str:
    """Return the EfficientNet-Lite variant with TensorFlow's padding (`"same"`) or torch's."""
    return backbone if padding == "same" else backbone.replace("tf_", "", 1)
