# SPDX-License-Identifier: Apache-2.0
"""The metrics against scikit-learn, against cases computed by hand, and where they are undefined."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics
from transformers import EvalPrediction, Trainer, TrainingArguments

from deepfake_video import video_metrics
from deepfake_video.evaluation.intervals import ClusterBootstrap
from deepfake_video.evaluation.metrics import (
    VIDEO_METRICS,
    deepfakebench_eer,
    equal_error_rate,
    estimate,
    measure,
)


def draw(seed: int, number: int = 80, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    is_fake = random.random(number) < 0.6
    probabilities = 1 / (1 + np.exp(-(1.2 * (is_fake - 0.5) + random.standard_normal(number))))
    return (probabilities.round(1) if ties else probabilities), is_fake


def sklearn_eer(is_fake: np.ndarray, probabilities: np.ndarray) -> float:
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(is_fake, probabilities, drop_intermediate=False)
    return brentq(lambda x: 1 - x - np.interp(x, false_positive, true_positive), 0, 1)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_every_metric_agrees_with_scikit_learn(seed, ties):
    probabilities, is_fake = draw(seed, ties=ties)
    decisions = probabilities >= 0.5
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(is_fake, probabilities, drop_intermediate=False)

    values = measure(probabilities, is_fake, 0.5)

    assert values["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(is_fake, probabilities), abs=1e-6)
    assert values["ap"] == pytest.approx(sklearn_metrics.average_precision_score(is_fake, probabilities), abs=1e-6)
    assert values["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(is_fake, decisions), abs=1e-6
    )
    assert values["f1"] == pytest.approx(sklearn_metrics.f1_score(is_fake, decisions), abs=1e-6)
    assert values["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(is_fake, probabilities), abs=1e-9)
    assert values["tpr_at_1_fpr"] == pytest.approx(true_positive[false_positive <= 0.01].max(), abs=1e-6)
    assert values["sensitivity"] == pytest.approx(sklearn_metrics.recall_score(is_fake, decisions), abs=1e-6)
    assert values["specificity"] == pytest.approx(sklearn_metrics.recall_score(~is_fake, ~decisions), abs=1e-6)
    if not ties:  # on a step both axes meet at once and the root is not unique
        assert values["eer"] == pytest.approx(sklearn_eer(is_fake, probabilities), abs=1e-6)


def test_a_case_computed_by_hand():
    # reals .1 .4 .6, fakes .3 .7 .9: of nine pairs a fake is below a real in .3 < .4 and .3 < .6
    values = measure(np.array([0.1, 0.4, 0.6, 0.3, 0.7, 0.9]), np.array([0, 0, 0, 1, 1, 1]), 0.5)
    assert values["auc"] == pytest.approx(7 / 9)
    assert values["ap"] == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert values["balanced_accuracy"] == pytest.approx(2 / 3)
    assert values["f1"] == pytest.approx(2 / 3)
    assert values["eer"] == pytest.approx(1 / 3)
    assert values["tpr_at_1_fpr"] == pytest.approx(2 / 3)
    assert values["brier"] == pytest.approx((0.01 + 0.16 + 0.36 + 0.49 + 0.09 + 0.01) / 6)
    assert (values["sensitivity"], values["specificity"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_the_calibration_error_computed_by_hand():
    # two bins: .2 is said of four videos and one is fake, .8 of two and both are
    values = measure(np.array([0.2, 0.2, 0.2, 0.2, 0.8, 0.8]), np.array([1, 0, 0, 0, 1, 1]), 0.5)
    assert values["ece"] == pytest.approx(4 / 6 * 0.05 + 2 / 6 * 0.2, abs=1e-6)


def test_scores_of_exactly_one_are_in_the_last_bin():
    """Guo et al. (2017): 100 scores of .975 on average, 92 of them fake, and 100 of .02, all real."""
    probabilities = np.repeat([1.0, 0.95, 0.02], [50, 50, 100])
    is_fake = np.repeat([True, False, True, False], [42, 8, 50, 100])
    assert measure(probabilities, is_fake, 0.5)["ece"] == pytest.approx(0.5 * (0.975 - 0.92) + 0.5 * 0.02, abs=1e-12)


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_certain_and_right_scores_have_no_calibration_error(certain):
    values = measure(np.array([certain] * 4), np.array([bool(certain)] * 4), 0.5)
    assert values["ece"] == 0


@pytest.mark.parametrize(
    ("false_positive", "true_positive", "expected"),
    [
        ([0, 0, 1], [0, 1, 1], 0.0),
        ([0, 1], [0, 1], 0.5),
        ([0, 0.2, 1], [0, 0.6, 1], 1 / 3),
        ([0, 1, 1], [0, 0, 1], 1.0),
    ],
)
def test_the_equal_error_rate_lies_where_the_curve_crosses_the_diagonal(false_positive, true_positive, expected):
    assert equal_error_rate(np.array(false_positive, float), np.array(true_positive, float)) == pytest.approx(expected)


def test_a_score_equal_to_the_threshold_is_fake_as_in_predict():
    values = measure(np.array([0.7, 0.7]), np.array([True, False]), 0.7)
    assert (values["sensitivity"], values["specificity"]) == (1.0, 0.0)


@pytest.mark.parametrize("wrong", [[-2.0, 3.0], [0.5, 1.0001], [0.5, math.nan]])
def test_logits_are_refused_and_never_squashed(wrong):
    with pytest.raises(ValueError, match="logit"):
        measure(np.array(wrong), np.array([False, True]), 0.5)


@pytest.mark.parametrize("count", [3, 11, 71])
def test_the_auc_of_separated_classes_is_exactly_one(count):
    is_fake = np.repeat([False, True], count)
    assert measure(np.linspace(0.01, 0.99, 2 * count), is_fake, 0.5)["auc"] == 1.0


@pytest.mark.parametrize("is_fake", [True, False])
def test_a_single_class_has_no_auc_but_the_metrics_that_need_one_class(is_fake):
    values = measure(np.array([0.2, 0.6, 0.9]), np.array([is_fake] * 3), 0.5)
    assert {name for name, value in values.items() if value is None} == {
        *("auc", "ap", "eer", "balanced_accuracy", "f1", "tpr_at_1_fpr"),
        "specificity" if is_fake else "sensitivity",
    }
    assert values["sensitivity" if is_fake else "specificity"] == pytest.approx(2 / 3 if is_fake else 1 / 3)


def test_of_nothing_every_metric_is_undefined():
    assert measure(np.zeros(0), np.zeros(0, bool), 0.5) == dict.fromkeys(VIDEO_METRICS)


def test_intervals_repeat_with_the_seed_and_hold_the_value():
    probabilities, is_fake = draw(0)
    first, again, other = (estimate(probabilities, is_fake, 0.5, resamples=60, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["auc"] != other["auc"]
    for name, found in first.items():
        # the calibration error of a resample is higher than that of the sample: noise adds to it
        assert name == "ece" or found.low <= found.value <= found.high, name


def test_the_interval_has_the_width_that_theory_gives():
    # specificity of n videos: standard error sqrt(p (1 - p) / n)
    number = 400
    probabilities = np.where(np.arange(number) < 0.8 * number, 0.1, 0.9)
    found = estimate(probabilities, np.zeros(number, bool), 0.5, resamples=400)["specificity"]
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(0.8 * 0.2 / number), rel=0.15)


def test_frames_of_a_video_are_drawn_together():
    # Twenty frames that say the same are one observation: as frames on their own they would look twenty times as sure.
    probabilities, is_fake = draw(3, 30)
    repeated, labels, videos = (np.repeat(values, 20) for values in (probabilities, is_fake, np.arange(30)))
    alone = estimate(probabilities, is_fake, 0.5, resamples=60)["auc"]
    together = estimate(repeated, labels, 0.5, clusters=videos, resamples=60)["auc"]
    assert (together.low, together.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_a_draw_never_lacks_a_class():
    is_fake = np.array([False, True, True, False, True])
    for clusters in ([0, 1, 2, 3, 4], [0, 0, 1, 2, 3]):
        for picked in ClusterBootstrap(is_fake, np.array(clusters)).draws(40, seed=0):
            assert set(is_fake[picked]) == {True, False}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_error_rate_of_deepfakebench_is_computed_as_there(seed, ties):
    probabilities, is_fake = draw(seed, ties=ties)
    # training/metrics/utils.py of DeepfakeBench
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(is_fake, probabilities)
    expected = false_positive[np.nanargmin(np.absolute((1 - true_positive) - false_positive))]
    assert measure(probabilities, is_fake, 0.5, eer=deepfakebench_eer)["eer"] == pytest.approx(expected, abs=1e-6)


def prediction(seed: int, *, as_tuple: bool = False) -> EvalPrediction:
    random = np.random.default_rng(seed)
    labels = np.arange(40) % 2
    logits = random.standard_normal((40, 2)) + np.stack([1 - labels, labels], axis=1)
    return EvalPrediction(predictions=(logits, np.zeros((40, 3, 2))) if as_tuple else logits, label_ids=labels)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_the_metrics_of_a_trainer_agree_with_scikit_learn(as_tuple):
    given = prediction(0, as_tuple=as_tuple)
    logits = given.predictions[0] if as_tuple else given.predictions
    probabilities = softmax(logits, axis=1)[:, 1]
    values = video_metrics(given)
    assert set(values) == set(VIDEO_METRICS)
    assert values["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(given.label_ids, probabilities), abs=1e-6)
    assert values["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(given.label_ids, probabilities))
    assert values["f1"] == pytest.approx(sklearn_metrics.f1_score(given.label_ids, logits.argmax(1)), abs=1e-6)


def test_the_metrics_of_a_trainer_follow_the_label_ids():
    given = prediction(1)
    swapped = EvalPrediction(predictions=given.predictions[:, ::-1], label_ids=1 - given.label_ids)
    assert video_metrics(swapped, fake_index=0) == video_metrics(given)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_batches_that_a_trainer_does_not_concatenate_are_accepted(as_tuple, tmp_path):
    given = prediction(2)

    class Outputs(torch.nn.Module):
        """Returns its input as logits, alone or with other logits of a varying number of frames."""

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            others = torch.zeros(len(logits), len(logits) % 3 + 1, 2)
            return (torch.zeros(()), logits, others) if as_tuple else (torch.zeros(()), logits)

    arguments = TrainingArguments(
        tmp_path, eval_do_concat_batches=False, per_device_eval_batch_size=7, report_to=[], use_cpu=True
    )
    data = [
        {"logits": torch.from_numpy(row), "labels": label}
        for row, label in zip(given.predictions, given.label_ids, strict=True)
    ]
    found = Trainer(Outputs(), arguments, eval_dataset=data, compute_metrics=video_metrics).evaluate()
    for name, value in video_metrics(given).items():
        assert found[f"eval_{name}"] == pytest.approx(value, abs=1e-9), name


def test_undefined_metrics_of_a_trainer_are_left_out():
    given = EvalPrediction(predictions=np.zeros((3, 2)), label_ids=np.zeros(3, int))
    assert set(video_metrics(given)) == {"brier", "ece", "specificity"}


@pytest.mark.parametrize(
    ("logits", "labels"),
    [(np.zeros(3), np.zeros(3)), (np.zeros((3, 2)), np.zeros(2)), (np.full((3, 2), np.nan), np.zeros(3))],
    ids=["no label axis", "fewer labels", "not finite"],
)
def test_wrong_predictions_of_a_trainer_are_an_error(logits, labels):
    with pytest.raises(ValueError, match=r"shape|finite"):
        video_metrics(EvalPrediction(predictions=logits, label_ids=labels))
