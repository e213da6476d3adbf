# SPDX-License-Identifier: Apache-2.0
"""Run a training plan and write the model folder."""

from collections.abc import Sequence
from dataclasses import replace

from ..common.files import check_folder_target, lock_folder
from ..common.plans import check_plan
from ..common.processes import ProcessGroup
from ..common.processors import usable_cores
from ..evaluation.samples import Sample
from ..scanning.media import check_decode_device
from .checkpointing import read_progress
from .data import Video, load_videos, open_data, refuse_shared, without_unused_fakes
from .fakes import MANIPULATED
from .loop import train_network
from .model_folder import check_initial, count_groups, note_on_initial, save_model
from .networks import make_network
from .plan import TrainingListener, TrainingPlan, TrainingResult


# Each takes the memory of the libraries and of a decoder.
MAX_CROPPERS = 8


def train(plan: TrainingPlan, listener: TrainingListener | None = None) -> TrainingResult:
    """
    Train a model, or resume a training run, and save the calibrated model.

    The videos are decoded and searched for faces once; this takes most of the time of the first call. All data and
    weights are checked before that. With several processes (`accelerate launch`), each of them calls this function.

    Args:
        plan: Recipe, data and output folder.
        listener: Receives the messages of the training.

    Returns:
        The model folder and its metrics on the validation videos; or, after `plan.stop_after` steps, the progress so
        far.

    Raises:
        UsageError: If the requested training is not possible: invalid initial weights, data or folders.
        TrainingFailedError: If the training cannot continue, for example because its loss is not finite or its log is
            damaged.
        OSError: If files cannot be read or written.

    Example:

        >>> from pathlib import Path
        >>> from deepfake_video import Recipe, TrainingPlan, train
        >>> recipe = Recipe.read("frames", steps=200, batch_pairs=8)
        >>> plan = TrainingPlan(data=[Path("FaceForensics++")], recipe=recipe, output=Path("run1"))  # doctest: +SKIP
        >>> result = train(plan)  # doctest: +SKIP
        >>> result.model, result.metrics["auc"].value  # doctest: +SKIP
        (PosixPath('run1/model'), 0.87)
    """
    check_plan(plan, TrainingPlan)
    listener = listener or TrainingListener()
    for folder in (plan.output, plan.crops):
        check_folder_target(folder)
    check_decode_device()
    # Initial weights that do not fit are found here, before hours of cropping; the training creates its own network.
    make_network(plan.recipe)
    check_initial(plan.recipe)
    training, validation = open_data(
        plan.data,
        plan.validation_data,
        share=plan.recipe.validation_share,
        seed=plan.recipe.split_seed,
        on_note=listener.note,
    )
    uses_fakes = plan.recipe.fakes.get(MANIPULATED, 0) > 0
    training = without_unused_fakes(training, uses_fakes=uses_fakes, on_note=listener.note)
    group = ProcessGroup(plan.device)
    with lock_folder(plan.output, group.rank, work="training"):
        if group.device == "cpu":
            plan = replace(plan, device="cpu")
        return _train_in(group, plan, (training, validation), listener)


def _train_in(
    group: ProcessGroup, plan: TrainingPlan, samples: tuple[list[Sample], list[Sample]], listener: TrainingListener
) -> TrainingResult:
    settings, workers = plan.recipe.crop_settings(), plan.workers
    # While the first process cuts out the faces, the others wait.
    croppers = min(usable_cores(), MAX_CROPPERS) if workers is None else workers
    # The first process fills the cache, and the others read it.
    with group.main_process_first():
        training_videos, validation_videos = (
            load_videos(side, settings, plan.crops, workers=croppers, on_skip=listener.skipped) for side in samples
        )
    refuse_shared(training_videos, validation_videos)
    if group.is_first:
        listener.note(f"training: {_describe(training_videos)}")
        listener.note(f"validation: {_describe(validation_videos)}")
        if note := note_on_initial(plan.recipe, validation_videos):
            listener.note(note)
    outcome = train_network(
        make_network(plan.recipe),
        training_videos,
        validation_videos,
        plan.recipe,
        plan.output,
        device=plan.device,
        precision=plan.precision,
        workers=workers,
        pairs_on=plan.pairs_on,
        stop_after=plan.stop_after,
        on_record=listener.logged,
    )
    if outcome is None:
        progress = read_progress(plan.output)
        return TrainingResult(output=plan.output, model=None, steps=progress.step, best_step=progress.best_step)
    metrics = {}
    if group.is_first:
        sides = (training_videos, validation_videos)
        metrics = save_model(outcome, plan.recipe, sides, plan.model, pairs_on=plan.pairs_on, on_note=listener.note)
    # The other processes may use the model next, for example as the initial weights of a second stage.
    group.wait()
    return TrainingResult(
        output=plan.output,
        model=plan.model,
        steps=outcome.progress.step,
        best_step=outcome.progress.best_step,
        metrics=metrics,
    )


def _describe(videos: Sequence[Video]) -> str:
    return "; ".join(f"{name} {count}" for name, count in sorted(count_groups(videos).items()))
