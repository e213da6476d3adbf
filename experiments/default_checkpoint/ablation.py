# SPDX-License-Identifier: Apache-2.0
"""
Short trainings, each without one ingredient of the recipe or with another one, with several seeds:
`python ablation.py DATA WORK --initial IMAGENET --teacher FOLDER --output RUNS`.

Prints a table of mean and standard deviation over the seeds. Finished runs are kept in RUNS and not repeated.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from chain_data import ValidationVideo, validation_videos
from mixed_pairs import MANIPULATED_COPY, SELF_BLENDED_COPY
from networks import compute_aucs, score_videos
from other_blends import CROSS_BLENDED, CURRICULUM, TIME_SHIFTED, TRUE_SHAPE
from train import MIX, Schedule, Variant, add_inputs, train

from deepfake_video.common.exit_codes import OK, run_command
from deepfake_video.common.files import write_atomically
from deepfake_video.training.fakes import MANIPULATED, SELF_BLENDED


STEPS, SIZE, NUM_SEEDS, FRAMES = 200, 128, 3, 6
# The radius of Foret et al. 2021 for ImageNet.
SHARPNESS_RADIUS = 0.05
BLENDED = MIX[SELF_BLENDED] + MIX[SELF_BLENDED_COPY]
MANIPULATIONS = MIX[MANIPULATED] + MIX[MANIPULATED_COPY]
RECIPE = "the recipe"


def _with_other_blends(kind: str, share: float) -> dict[str, float]:
    """The mix of the recipe in which another kind takes the place of a share of the self-blended pairs."""
    kept = {SELF_BLENDED: MIX[SELF_BLENDED] * (1 - share)} if share < 1 else {}
    return {**kept, kind: MIX[SELF_BLENDED] * share, **{key: MIX[key] for key in MIX if key != SELF_BLENDED}}


# Without copies or manipulated videos, the other pairs keep their proportions. What is added takes the place of half
# of the self-blended pairs, or of all of them where it is another way of making them.
VARIANTS = {
    RECIPE: Variant(),
    "without re-encoded copies": Variant(mix={SELF_BLENDED: BLENDED, MANIPULATED: MANIPULATIONS}),
    "without manipulated videos": Variant(mix={kind: MIX[kind] for kind in (SELF_BLENDED, SELF_BLENDED_COPY)}),
    "without the teacher": Variant(teacher_weight=0.0),
    "with cross-blends": Variant(mix=_with_other_blends(CROSS_BLENDED, 0.5)),
    "with faces of other moments": Variant(mix=_with_other_blends(TIME_SHIFTED, 0.5)),
    "with a curriculum": Variant(mix=_with_other_blends(CURRICULUM, 1.0)),
    "with masks of the true shape": Variant(mix=_with_other_blends(TRUE_SHAPE, 1.0)),
    "with sharpness-aware minimisation": Variant(sharpness_radius=SHARPNESS_RADIUS),
}
# The same runs as the recipe, judged with the weights of the last step.
NOT_AVERAGED = "without averaging of the weights"
# Share of the real people that are called real in all their videos, at the threshold of `detect`.
SPECIFICITY = 0.9
DETECTED = "detected"


def detect(videos: Sequence[ValidationVideo], scores: np.ndarray) -> float:
    """
    Compute the share of the fakes above the threshold at which 90 % of the real people have no video above it.

    Args:
        videos: Validation videos.
        scores: Score of each video.
    """
    highest: dict[str, float] = {}
    for video, score in zip(videos, scores, strict=True):
        if not video.is_fake:
            highest[video.person] = max(highest.get(video.person, -np.inf), float(score))
    threshold = float(np.quantile(list(highest.values()), SPECIFICITY))
    return round(float(np.mean([score > threshold for v, score in zip(videos, scores, strict=True) if v.is_fake])), 3)


def judge(videos: Sequence[ValidationVideo], scores: np.ndarray) -> dict[str, float]:
    """The areas under the ROC curve by validation set, and the share of detected fakes (see `detect`)."""
    return {**compute_aucs(videos, scores), DETECTED: detect(videos, scores)}


def format_table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """
    A Markdown table of mean and standard deviation over the seeds; of a single seed, its figures.

    Args:
        results: Variant -> figures of each seed.
    """
    columns = list(next(iter(results.values()))[0])
    lines = [["variant", *columns], ["---"] * (len(columns) + 1)]
    for name, runs in results.items():
        figures = np.array([[run[column] for column in columns] for run in runs])
        cells = [f"{mean:.3f}" for mean in figures.mean(axis=0)]
        if len(runs) > 1:
            cells = [f"{cell} ± {spread:.3f}" for cell, spread in zip(cells, figures.std(axis=0, ddof=1), strict=True)]
        lines.append([name, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run_ablation(
    data: Path, work: Path, folder: Path, *, initial: Path, teacher: Path, steps: int, seeds: int
) -> None:
    """
    Train every variant with every seed, and print the table.

    Args:
        data: Folder of the data.
        work: Folder of crops and copies.
        folder: Folder of the runs.
        initial: ImageNet weights of the backbone.
        teacher: Model folder of the teacher.
        steps: Steps of each run.
        seeds: Number of seeds.
    """
    schedule = Schedule(small_steps=steps, steps=steps, small_part=1.0, small_size=SIZE)
    videos = validation_videos(data, work, frames=FRAMES)
    results: dict[str, list[Mapping[str, float]]] = {}
    for seed in range(seeds):
        for name, variant in VARIANTS.items():
            run = folder / f"{name.replace(' ', '-')}-{seed}"
            figures = run / "figures.json"
            if not figures.exists():
                seeded = replace(variant, seed=seed)
                training = train(data, work, run, initial=initial, teacher=teacher, schedule=schedule, variant=seeded)
                networks = {"averaged": training.average, "last": training.network}
                judged = {key: judge(videos, score_videos(network, videos, SIZE)) for key, network in networks.items()}
                write_atomically(figures, json.dumps(judged).encode())
            found = json.loads(figures.read_text())
            results.setdefault(name, []).append(found["averaged"])
            if name == RECIPE:
                results.setdefault(NOT_AVERAGED, []).append(found["last"])
        print(format_table(results), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_inputs(parser, output="folder of the runs")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS, help="number of seeds (default: %(default)s)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)

    def command() -> int:
        run_ablation(
            arguments.data,
            arguments.work,
            arguments.output,
            initial=arguments.initial,
            teacher=arguments.teacher,
            steps=arguments.steps,
            seeds=arguments.seeds,
        )
        return OK

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
