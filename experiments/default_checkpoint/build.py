# SPDX-License-Identifier: Apache-2.0
"""Make a model folder of averaged weights: `python build.py mean.safetensors FOLDER`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from chain_data import VIEW_MARGIN
from networks import MEAN, STD, load_weights

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.hub.folder import save_hub_folder


def build(weights: Path, folder: Path) -> None:
    """
    Save a model folder, not yet calibrated.

    Args:
        weights: Weights of EfficientNet-Lite2 with timm's names.
        folder: Model folder to write.

    Raises:
        RuntimeError: If the weights do not fit the network.
    """
    config = DeepfakeConfig.from_preset("efficientnet-lite2-frames", num_frames=20, frame_aggregation="mean-logit")
    config.is_trained = True
    model = DeepfakeForVideoClassification(config)
    names = list(model.state_dict())
    backbone = next(name for name in names if name.endswith("conv_stem.weight")).removesuffix("conv_stem.weight")
    layers = {name.rsplit(".", 1)[-1]: name for name in names if name.startswith("classifier.")}
    state = {
        layers[name.removeprefix("classifier.")] if name.startswith("classifier.") else backbone + name: value
        for name, value in load_weights(weights).items()
    }
    model.load_state_dict(state)
    processor = DeepfakeVideoProcessor.from_config(
        config, face_margin=VIEW_MARGIN, image_mean=list(MEAN), image_std=list(STD)
    )
    save_hub_folder(model.eval(), processor, folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="safetensors file of the weights")
    parser.add_argument("folder", type=Path, help="model folder to write")
    arguments = parser.parse_args(argv)

    def command() -> int:
        build(arguments.weights, arguments.folder)
        return OK

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
