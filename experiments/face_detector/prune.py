# SPDX-License-Identifier: Apache-2.0
"""
Remove channels of CenterFace: `python prune.py GRAPH PORTRAIT [PORTRAIT ...] --output PRUNED`.

The inverted residual blocks are narrowed from the first to the last. In each, the weights of the last convolution are
fitted to what the original computes there, by least squares over composed images, and channels are removed one by one:
each time the one without which the error grows least. With G the second moments of the channels and of a constant,
removing channel k adds w_k^2 / (G^-1)_kk to the squared error (Optimal Brain Surgeon, Hassibi and Stork 1992, for
linear regression). As the later blocks see the outputs of the narrowed ones, they correct their errors.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from composites import Composites
from graph_network import Block, GraphNetwork, Values, as_batch
from torch.nn import functional as F

from deepfake_video.face_centerface import _decode


# Channels that remain in each block. Multiples of 16, as onnxruntime computes 8 or 16 channels together.
WIDTHS = (16, 80, 128, 128, 160, 160, 160, 304, 288, 288, 320, 416, 400, 448, 704, 656, 512)
NUM_IMAGES, MAX_PLACES, SEED = 300, 3000, 0
# Keeps weights that the images do not determine near those of the original.
RIDGE = 1e-5
# Weight of the places outside the faces, and side of the region around a face relative to its box.
OUTSIDE, REGION = 0.1, 1.4


@dataclass(frozen=True)
class Moments:
    """
    Weighted second moments of the inputs of a linear layer with each other and with its wanted outputs.

    Attributes:
        inputs: (C + 1, C + 1); the last input is the constant 1.
        outputs: (O, C + 1).
    """

    inputs: torch.Tensor
    outputs: torch.Tensor

    def fit(self, weights: torch.Tensor) -> torch.Tensor:
        """Fit weights (O, C + 1), near to the given ones where they are not determined."""
        ridge = self._ridge()
        return torch.linalg.solve(self.inputs + ridge, (self.outputs + weights @ ridge).T).T

    def choose(self, weights: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Remove channels one by one.

        Args:
            weights: Fitted weights (O, C + 1); the last column is the bias, which stays.
            width: Number of channels that remain.

        Returns:
            The channels that remain (width,), and the weights for them and the bias (O, width + 1).
        """
        weights, inverse = weights.clone(), torch.linalg.inv(self.inputs + self._ridge())
        remains = torch.ones(len(inverse), dtype=torch.bool)
        while int(remains.sum()) > width + 1:
            cost = (weights**2).sum(0) / inverse.diagonal()
            cost[~remains] = torch.inf
            cost[-1] = torch.inf
            worst = int(cost.argmin())
            row = inverse[worst : worst + 1] / inverse[worst, worst]
            weights = weights - weights[:, worst : worst + 1] * row
            inverse = inverse - inverse[:, worst : worst + 1] * row
            remains[worst] = False
            weights[:, worst] = 0
            inverse[worst] = inverse[:, worst] = 0
            inverse[worst, worst] = 1
        return remains[:-1].nonzero()[:, 0], weights[:, remains]

    def _ridge(self) -> torch.Tensor:
        size = len(self.inputs)
        return RIDGE * self.inputs.diagonal().mean() * torch.eye(size, dtype=self.inputs.dtype)


def weigh_faces(values: Values, height: int, width: int) -> torch.Tensor:
    """Weights (1, 1, height, width) of the pixels: 1 around the faces that the original finds, `OUTSIDE` elsewhere."""
    maps = (values[name][0].numpy() for name in ("heat", "log_sides", "offsets", "landmarks"))
    weights = torch.full((1, 1, height, width), OUTSIDE)
    for box in _decode(*maps)[0]:
        center, reach = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * REGION / 2
        x0, y0 = np.maximum(center - reach, 0).astype(int)
        x1, y1 = np.ceil(center + reach).astype(int)
        weights[..., y0:y1, x0:x1] = 1
    return weights


def measure(original: GraphNetwork, network: GraphNetwork, block: Block, images: Sequence[np.ndarray]) -> Moments:
    """
    Measure the inputs of the last convolution of a block, and what it should compute from them.

    Args:
        original: The original.
        network: The network whose first blocks have been narrowed.
        block: The block.
        images: Images (H, W, 3) uint8.
    """
    random = torch.Generator().manual_seed(SEED)
    total, other = network.addition_after(block)
    inputs: torch.Tensor | float = 0.0
    outputs: torch.Tensor | float = 0.0
    for image in images:
        wanted, values = original(as_batch(image)), network(as_batch(image))
        channels = values[block.last.inputs[0]][0]
        target = wanted[total][0] - (values[other][0] if other else 0)
        weights = F.interpolate(weigh_faces(wanted, *image.shape[:2]), channels.shape[1:], mode="area").flatten()
        places = torch.randperm(channels[0].numel(), generator=random)[:MAX_PLACES]
        known = torch.cat([channels.flatten(1), torch.ones(1, channels[0].numel())])[:, places].double()
        weighted = known * weights[places]
        inputs, outputs = inputs + weighted @ known.T, outputs + target.flatten(1)[:, places].double() @ weighted.T
    return Moments(torch.as_tensor(inputs), torch.as_tensor(outputs))


def narrow(network: GraphNetwork, block: Block, moments: Moments, width: int) -> None:
    """Narrow a block to a number of channels."""
    matrix, bias = (network.weight(name).detach().double() for name in block.last.inputs[1:])
    fitted = moments.fit(torch.cat([matrix[:, :, 0, 0], bias[:, None]], 1))
    kept, weights = moments.choose(fitted, width)
    for layer in (block.first, block.depthwise):
        for name in layer.inputs[1:]:
            network.replace(name, network.weight(name).detach()[kept])
    network.replace(block.last.inputs[1], weights[:, :-1, None, None])
    network.replace(block.last.inputs[2], weights[:, -1])


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="graph of make_graph.py")
    parser.add_argument("portraits", nargs="+", type=Path, help="pictures of people")
    parser.add_argument("--output", type=Path, required=True, help="the pruned graph")
    parser.add_argument("--images", type=int, default=NUM_IMAGES, help="number of images (default: %(default)s)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    original, network = GraphNetwork(arguments.graph), GraphNetwork(arguments.graph)
    composites = Composites(arguments.portraits, SEED)
    images = [composites.draw(*composites.size()) for _ in range(arguments.images)]
    for block, width in zip(network.blocks(), WIDTHS, strict=True):
        narrow(network, block, measure(original, network, block, images), width)
        print(f"{block.last.output}: {width} channels", flush=True)
    network.save(arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
