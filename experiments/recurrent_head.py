# SPDX-License-Identifier: Apache-2.0
"""
Test whether a Bi-LSTM over the features of a frame classifier finds more manipulated videos than the frame mean.

`python experiments/recurrent_head.py DATA --output FOLDER` computes the frame features of bursts of consecutive frames
of each video once, trains three heads on the people of the training part with several seeds, and prints the area under
the ROC curve on held-out people. `features/` in FOLDER keeps the features. The heads are a linear layer on the mean of
the features, a Bi-LSTM over the features, and a Bi-LSTM over the frame logits. The unchanged frame classifier is
listed too.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from deepfake_video import DeepfakeForVideoClassification, DeepfakeVideoProcessor, face_clips
from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.evaluation.metrics import measure
from deepfake_video.evaluation.samples import Sample
from deepfake_video.hub.packaged import DEFAULT_CHECKPOINT
from deepfake_video.video_errors import VideoError


# The packaged checkpoint was trained on other people than those that its division holds out.
sys.path.append(str(Path(__file__).parent / "default_checkpoint"))
from chain_data import divide_people


# Frames of a video: bursts of consecutive frames, evenly spaced over it.
NUM_FRAMES, BURST = 32, 8
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY, DROPOUT, HIDDEN = 300, 16, 1e-3, 0.05, 0.3, 64


@dataclass(frozen=True)
class Features:
    """
    What the frame classifier sees of the videos of one part.

    Attributes:
        frames: Frame features (N, T, D) float32.
        logits: Frame logits (N, T, 2) float32.
        is_fake: Labels (N,) bool.
    """

    frames: torch.Tensor
    logits: torch.Tensor
    is_fake: torch.Tensor


class RecurrentHead(nn.Module):
    """A Bi-LSTM over each burst, the mean of its states over time and bursts, and a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.lstm = nn.LSTM(width, HIDDEN, batch_first=True, bidirectional=True)
        self.dropout, self.classifier = nn.Dropout(DROPOUT), nn.Linear(2 * HIDDEN, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From inputs (B, T, D), T a multiple of the burst length, to logits (B, 2)."""
        bursts = self.norm(inputs).reshape(-1, BURST, inputs.shape[-1])
        states = self.lstm(bursts)[0].reshape(len(inputs), -1, 2 * HIDDEN)
        logits: torch.Tensor = self.classifier(self.dropout(states.mean(1)))
        return logits


class MeanHead(nn.Module):
    """A linear layer on the mean of the features over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Dropout(DROPOUT), nn.Linear(width, 2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From inputs (B, T, D) to logits (B, 2)."""
        logits: torch.Tensor = self.layers(inputs.mean(1))
        return logits


# The input of each head, and how it is made.
HEADS: dict[str, tuple[Callable[[Features], torch.Tensor], type[nn.Module]]] = {
    "linear layer on the mean of the features": (lambda part: part.frames, MeanHead),
    "Bi-LSTM over the features": (lambda part: part.frames, RecurrentHead),
    "Bi-LSTM over the frame logits": (lambda part: part.logits, RecurrentHead),
}


def encode(samples: Sequence[Sample], model_folder: str, cache: Path) -> Features:
    """
    Compute the features of videos, or read those that an earlier run has stored; videos without a face are left out.

    Args:
        samples: Videos.
        model_folder: Folder of a frame classifier.
        cache: Folder of the features.
    """
    cache.mkdir(parents=True, exist_ok=True)
    model = DeepfakeForVideoClassification.from_pretrained(model_folder).eval()
    processor = DeepfakeVideoProcessor.from_pretrained(model_folder)
    processor.frame_sampling, processor.burst_length = "bursts", BURST
    parts, labels = [], []
    for sample in samples:
        file = cache / f"{sample.key.replace('/', '~')}.safetensors"
        if not file.exists():
            try:
                clip = face_clips(sample.path, processor, num_frames=NUM_FRAMES)[0].pixel_values_videos
            except VideoError as error:
                print(error, file=sys.stderr)
                continue
            with torch.inference_mode():
                features = model.get_frame_features(clip)
                logits = model(pixel_values_videos=clip).frame_logits
            save_file({"frames": features[0].float().contiguous(), "logits": logits[0].float().contiguous()}, file)
        tensors = load_file(file)
        if len(tensors["frames"]) == NUM_FRAMES:
            parts.append(tensors)
            labels.append(sample.is_fake)
    return Features(
        torch.stack([part["frames"] for part in parts]),
        torch.stack([part["logits"] for part in parts]),
        torch.tensor(labels),
    )


def train_head(head: nn.Module, inputs: torch.Tensor, is_fake: torch.Tensor, *, seed: int) -> None:
    """
    Train a head for `STEPS` steps on batches with as many real as fake videos.

    Args:
        head: Head, trained in place.
        inputs: Its inputs (N, T, D).
        is_fake: Labels (N,) bool.
        seed: Seed of the batches and of dropout.
    """
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    reals, fakes = (~is_fake).nonzero()[:, 0], is_fake.nonzero()[:, 0]
    head.train()
    for _ in range(STEPS):
        chosen = torch.cat([part[torch.randint(len(part), (BATCH // 2,))] for part in (reals, fakes)])
        loss = nn.functional.cross_entropy(head(inputs[chosen]), is_fake[chosen].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    head.eval()


def compare(train: Features, test: Features, seeds: Sequence[int]) -> dict[str, list[float]]:
    """
    Train every head with every seed.

    Args:
        train: Videos of the training people.
        test: Videos of other people.
        seeds: Seeds.

    Returns:
        Areas under the ROC curve on the test by the name of the head, one per seed; the frame classifier has one.
    """
    areas = {"frame classifier, mean of the logits": [_area(test.logits.mean(1), test.is_fake)]}
    for name, (inputs_of, head_type) in HEADS.items():
        areas[name] = []
        for seed in seeds:
            torch.manual_seed(seed)
            head = head_type(inputs_of(train).shape[-1])
            train_head(head, inputs_of(train), train.is_fake, seed=seed)
            with torch.inference_mode():
                areas[name].append(_area(head(inputs_of(test)), test.is_fake))
    return areas


def _area(logits: torch.Tensor, is_fake: torch.Tensor) -> float:
    return measure(logits.softmax(-1)[:, 1].double().numpy(), is_fake.numpy(), 0.5)["auc"] or 0.0


def _compare_and_print(arguments: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    train, test = (
        encode([sample for sample in part if sample.path.is_file()], arguments.model, arguments.output / "features")
        for part in divide_people(arguments.data)
    )
    print(f"{len(train.is_fake)} training videos, {len(test.is_fake)} test videos of other people\n")
    print("| head | AUC, mean | deviation |\n|---|---|---|")
    for name, areas in compare(train, test, range(arguments.seeds)).items():
        deviation = f"{np.std(areas, ddof=1):.3f}" if len(areas) > 1 else "–"
        print(f"| {name} | {np.mean(areas):.3f} | {deviation} |")
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="data sets; 30 %% of the people are held out")
    parser.add_argument("--output", required=True, type=Path, help="folder that keeps the features")
    parser.add_argument(
        "--model", default=str(DEFAULT_CHECKPOINT), help="frame classifier (default: the packaged one)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _compare_and_print(arguments))


if __name__ == "__main__":
    sys.exit(main())
