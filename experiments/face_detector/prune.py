# SPDX-License-Identifier: Apache-2.0
"""
Remove channels of CenterFace: `python prune.py GRAPH IMAGES --output PRUNED`.

In each inverted residual block, channels are removed one by one: each time the one without which the output of the
block changes least on the images, after the remaining weights of the last convolution have been adjusted by least
squares. With G the second moments of the channels and of a constant, removing channel k adds w_k^2 / (G^-1)_kk to the
squared error (Optimal Brain Surgeon, Hassibi and Stork 1992, for linear regression).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from graph_network import Block, GraphNetwork, as_batch
from search_images import read_images


# Channels that remain in each block. Multiples of 16, as onnxruntime computes 8 or 16 channels together.
WIDTHS = (16, 64, 112, 112, 144, 144, 144, 272, 256, 256, 288, 384, 368, 400, 640, 576, 416)
NUM_IMAGES, MAX_PLACES, SEED = 300, 2000, 0
RIDGE = 1e-7


def measure_moments(network: GraphNetwork, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
    """
    Second moments (C + 1, C + 1) of the channels of each block, the last of which is the constant 1.

    Args:
        network: The network.
        images: Images (H, W, 3) uint8.
    """
    random = torch.Generator().manual_seed(SEED)
    blocks = network.blocks()
    moments: list[torch.Tensor | float] = [0.0] * len(blocks)
    for image in images:
        values = network(as_batch(image))
        for number, block in enumerate(blocks):
            channels = values[block.last.inputs[0]][0].flatten(1)
            if channels.shape[1] > MAX_PLACES:
                channels = channels[:, torch.randperm(channels.shape[1], generator=random)[:MAX_PLACES]]
            known = torch.cat([channels, torch.ones(1, channels.shape[1])]).double()
            moments[number] = moments[number] + known @ known.T
    return [torch.as_tensor(moment) for moment in moments]


def choose_channels(moments: torch.Tensor, weights: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Remove channels one by one.

    Args:
        moments: Second moments (C + 1, C + 1).
        weights: Weights (O, C + 1) of a linear layer; the last column is its bias, which stays.
        width: Number of channels that remain.

    Returns:
        The channels that remain (width,), and the weights for them and the bias (O, width + 1).
    """
    weights = weights.double().clone()
    size = len(moments)
    ridge = RIDGE * moments.diagonal().mean() * torch.eye(size, dtype=torch.double)
    inverse = torch.linalg.inv(moments + ridge)
    remains = torch.ones(size, dtype=torch.bool)
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


def narrow(network: GraphNetwork, block: Block, moments: torch.Tensor, width: int) -> None:
    """Narrow a block to a number of channels."""
    matrix, bias = (network.weight(name).detach() for name in block.last.inputs[1:])
    kept, weights = choose_channels(moments, torch.cat([matrix[:, :, 0, 0], bias[:, None]], 1), width)
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
    parser.add_argument("images", type=Path, help="file that search_images.py has written")
    parser.add_argument("--output", type=Path, required=True, help="the pruned graph")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    network = GraphNetwork(arguments.graph)
    images, _ = read_images(arguments.images)
    chosen = np.random.default_rng(SEED).permutation(len(images))[:NUM_IMAGES]
    moments = measure_moments(network, [images[i] for i in chosen])
    for block, moment, width in zip(network.blocks(), moments, WIDTHS, strict=True):
        narrow(network, block, moment, width)
    network.save(arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
