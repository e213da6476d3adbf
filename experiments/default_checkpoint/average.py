# SPDX-License-Identifier: Apache-2.0
"""
Average the weights of several runs, and compare networks on the validation sets.

`python average.py DATA WORK c.safetensors d.safetensors --output mean.safetensors` averages files of weights, with
equal shares unless `--shares` gives others. A single file, or a model folder, is compared only.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from chain_data import add_folders, validation_videos
from networks import FolderNetwork, State, compare, load_weights, make_lite2
from safetensors.torch import save_file

from deepfake_video.common.exit_codes import OK, run_command


def average_weights(states: Sequence[State], shares: Sequence[float]) -> State:
    """Weighted mean of the weights and running statistics; counters are those of the last network."""
    total = sum(shares)
    mean: State = {}
    for name, last in states[-1].items():
        weighted = [share * state[name] for share, state in zip(shares, states, strict=True)]
        mean[name] = torch.stack(weighted).sum(0) / total if last.is_floating_point() else last
    return mean


def _average(data: Path, work: Path, paths: Sequence[Path], shares: Sequence[float], output: Path | None) -> int:
    videos = validation_videos(data, work)
    if len(paths) == 1 and paths[0].is_dir():
        network = FolderNetwork(paths[0])
        print(compare(network, videos, network.image_size))
        return OK
    mean = average_weights([load_weights(path) for path in paths], shares)
    if output is not None:
        save_file(mean, output)
    lite2 = make_lite2()
    lite2.load_state_dict(mean)
    print(compare(lite2, videos))
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folders(parser)
    parser.add_argument("weights", type=Path, nargs="+", help="safetensors files, or one model folder")
    parser.add_argument("--shares", type=float, nargs="+", help="relative share of each file")
    parser.add_argument("--output", type=Path, help="file of the mean")
    arguments = parser.parse_args(argv)
    shares = arguments.shares or [1.0] * len(arguments.weights)
    if len(shares) != len(arguments.weights):
        parser.error("--shares must give one number per file of weights.")
    torch.set_num_threads(1)
    return run_command(lambda: _average(arguments.data, arguments.work, arguments.weights, shares, arguments.output))


if __name__ == "__main__":
    sys.exit(main())
