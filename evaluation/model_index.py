# SPDX-License-Identifier: Apache-2.0
"""The block `model-index` of a model card."""

from huggingface_hub import EvalResult, ModelCardData

from .evaluation_result import EvaluationResult
from .warnings import num_videos


# Metrics that depend on the threshold.
_AT_THRESHOLD = ("balanced_accuracy", "f1", "specificity")
# Type and name of each metric on a model card.
_CARD_METRICS = {
    "auc": ("roc_auc", "Video AUC"),
    "ap": ("average_precision", "Video AP"),
    "eer": ("equal_error_rate", "Video EER"),
    "balanced_accuracy": ("balanced_accuracy", "Video balanced accuracy"),
    "f1": ("f1", "Video F1"),
    "brier": ("brier_score", "Video Brier score"),
    "specificity": ("specificity", "Video specificity"),
}


def model_index(result: EvaluationResult, model_name: str) -> str:
    """
    Format the metrics as the YAML block `model-index`, without the videos that the model has seen before.

    Args:
        result: Its rows of data sets are listed, or its first row if there is one data set. A comment gives the
            number of videos that were left out.
        model_name: Name of the model.
    """
    videos = [row for row in result.rows if row.level == "video"]
    listed = [row for row in videos if row.kind == "dataset"] or videos[:1]
    results = []
    for row in listed:
        name = result.dataset if row.kind == "all" else row.name
        for metric, (card_type, card_name) in _CARD_METRICS.items():
            value = row.estimates[metric].value
            at = f" at the threshold {result.threshold:g}" if metric in _AT_THRESHOLD else ""
            if value is not None:
                results.append(
                    EvalResult(
                        task_type="video-classification",
                        dataset_type=name.lower().replace(" ", "-"),
                        dataset_name=name,
                        dataset_split=result.split,
                        metric_type=card_type,
                        metric_name=f"{card_name}{at}",
                        metric_value=round(value, 4),
                    )
                )
    num_seen = sum(score.seen is not None for score in result.clean_scores)
    left_out = f"# Left out: {num_videos(num_seen)} that the model has seen before.\n" if num_seen else ""
    return f"{left_out}{ModelCardData(model_name=model_name, eval_results=results).to_yaml()}\n"
