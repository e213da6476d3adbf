# SPDX-License-Identifier: Apache-2.0
"""Calibrate a checkpoint on the scores of a finished evaluation."""

from pathlib import Path

from ..scanning.fingerprint import RUN_NAME
from ..scanning.models import load_model
from .calibration import Calibration, check_new_folder, write_calibration
from .evaluation_result import EvaluationResult
from .plan import EvaluationPlan
from .rescoring import rescore
from .samples import EvaluationError
from .scores import read_scores


def calibrate(
    run: EvaluationResult | str | Path, output: str | Path, *, model: str | Path | None = None
) -> Calibration:
    """
    Fit temperature and bias on the scores of an evaluation, and write a calibrated copy of its checkpoint.

    Use scores of identities on which the calibrated checkpoint will not be evaluated, such as those of the validation
    split, which are used if the folder holds them. No video is read again. Videos that the checkpoint was trained on
    are left out with everyone they show.

    Args:
        run: Result of [`evaluate`], or the folder that it wrote.
        output: Folder of the new checkpoint; must not exist.
        model: Folder or Hub id of the checkpoint; by default that of the run.

    Returns:
        What was fitted.

    Raises:
        EvaluationError: If a class has no score of people whom the checkpoint was not trained on, if the scores are
            those of an ensemble, of a mean over faces, of another checkpoint or of one with more than two labels, or
            if `output` exists.
        ModelLoadError: If the checkpoint cannot be loaded.
        OSError: If `output` cannot be written.

    Example:
        >>> from deepfake_video import EvaluationPlan, evaluate
        >>> plan = EvaluationPlan(split="val", resamples=0, workers=0)
        >>> fitted = calibrate(evaluate("model", "FaceForensics++", plan=plan), "calibrated")
        >>> fitted.num_videos, fitted.folder
        (10, 'calibrated')
    """
    result = run if isinstance(run, EvaluationResult) else _read_result(run)
    folder = Path(output)
    check_new_folder(folder)
    described = result.run
    if not {"models", "weights_sha256", "temperatures", "fake_biases", "face_aggregation"} <= described.keys():
        raise EvaluationError(f"the run does not name the checkpoint of its scores: {RUN_NAME} is missing.")
    if len(described["temperatures"]) > 1:
        raise EvaluationError("an ensemble cannot be calibrated: it has no single checkpoint; evaluate one model.")
    if described["face_aggregation"] == "mean":
        raise EvaluationError(
            "a mean over faces cannot be calibrated, because no model outputs it; choose max or main."
        )
    name = str(model or described["models"])
    loaded = load_model(name)
    found = loaded.description
    made_by = (described["weights_sha256"], described["temperatures"][0], described["fake_biases"][0])
    if made_by != (loaded.identity.weights_sha256, float(found.temperature), float(found.fake_bias)):
        raise EvaluationError(f"{name}: not the checkpoint that produced the scores; evaluate it first.")
    scores = result.clean_scores
    return write_calibration(scores, {}, model=loaded, dataset=result.dataset, split=result.split, folder=folder)


def _read_result(folder: str | Path) -> EvaluationResult:
    """The result of the validation split in the folder of a run, or of everything that is evaluated by default."""
    has_validation = any(score.split == "val" for score in read_scores(folder))
    return rescore(folder, plan=EvaluationPlan(split="val" if has_validation else None, resamples=0))
