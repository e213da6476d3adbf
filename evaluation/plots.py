# SPDX-License-Identifier: Apache-2.0
"""Plots: ROC curves, score histograms, the reliability diagram, and AUC under corruption."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .evaluation_result import EvaluationResult
from .metric_rows import UNSEEN, group_scores, unseen_scores
from .metrics import calibration_bins, measure, roc_curve
from .samples import EvaluationError
from .warnings import num_videos


if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg")
# The palette of Okabe and Ito, which colour-blind readers can tell apart, and which prints well.
REAL_COLOUR, FAKE_COLOUR = "#0072B2", "#D55E00"
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = "osD^vPX*"
MAX_CURVES = len(COLOURS)


def write_plots(result: EvaluationResult, folder: Path, *, image_format: str = "png") -> list[Path]:
    """
    Write the plots that can be drawn from the scores of videos that the model has not seen before.

    Args:
        result: The result.
        folder: Folder to write to.
        image_format: One of `FORMATS`.

    Returns:
        The files that were written.

    Raises:
        EvaluationError: If matplotlib is not installed.
    """
    unseen = unseen_scores(result.clean_scores)
    scored = [score for score in unseen if score.fake_probability is not None]
    if not scored:
        return []
    probabilities = np.array([score.fake_probability for score in scored], np.float64)
    is_fake = np.array([score.is_fake for score in scored])
    wanted: dict[str, Callable[[Any], None]] = {
        "scores": lambda axes: _draw_histograms(axes, probabilities, is_fake, result.threshold),
        "reliability": lambda axes: _draw_reliability(axes, probabilities, is_fake),
    }
    if is_fake.any() and not is_fake.all():
        wanted["roc"] = lambda axes: _draw_roc(axes, result)
    if any(value is not None for values in result.robustness.values() for value in values):
        wanted["robustness"] = lambda axes: _draw_robustness(axes, result)
    chosen = "" if len(unseen) == len(result.clean_scores) else f", {UNSEEN}"
    return [
        _save(draw, f"{result.dataset}, split {result.split}{chosen}", folder / f"{name}.{image_format}")
        for name, draw in wanted.items()
    ]


def _save(draw: Callable[[Any], None], title: str, file: Path) -> Path:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EvaluationError(
            "plots need matplotlib: pip install 'deepfake-video[plots]', or choose --plots none."
        ) from error
    # A fixed salt and no date: the same numbers give the same file.
    with rc_context({"svg.hashsalt": "deepfake-video", "font.size": 10}):
        figure = Figure(figsize=(6.4, 4.8), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        # Names come from folders: a dollar sign does not begin a formula.
        axes.set_title(title.replace("$", r"\$"), fontsize=11)
        draw(axes)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    return file


def _draw_roc(axes: "Axes", result: EvaluationResult) -> None:
    scored = [score for score in result.clean_scores if score.fake_probability is not None]
    # The same groups as the rows of the table.
    groups = [entry for entry in group_scores(scored) if entry[0] in ("all", "method")]
    for (kind, name, group), colour in zip(groups[:MAX_CURVES], COLOURS, strict=False):
        probabilities = np.array([score.fake_probability for score in group], np.float64)
        is_fake = np.array([score.is_fake for score in group])
        auc = measure(probabilities, is_fake, 0.5)["auc"]
        if auc is None:
            continue
        false_positive, true_positive = roc_curve(probabilities, is_fake)
        width = 2.2 if kind == "all" else 1.3
        label = f"{name}: AUC {auc:.3f}".replace("$", r"\$")
        axes.plot(false_positive, true_positive, color=colour, linewidth=width, label=label)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":")
    axes.set(
        xlabel="real videos called fake (false positive rate)",
        ylabel="fake videos called fake (true positive rate)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    axes.legend(loc="lower right", frameon=False)


def _draw_histograms(axes: "Axes", probabilities: np.ndarray, is_fake: np.ndarray, threshold: float) -> None:
    bins = np.linspace(0, 1, 26)
    for chosen, name, colour in ((~is_fake, "real", REAL_COLOUR), (is_fake, "fake", FAKE_COLOUR)):
        if chosen.any():
            label = f"{name} ({num_videos(int(chosen.sum()))})"
            # Filled and outlined, so that both classes are visible where they overlap.
            axes.hist(probabilities[chosen], bins=bins.tolist(), color=colour, alpha=0.35)
            axes.hist(
                probabilities[chosen], bins=bins.tolist(), color=colour, histtype="step", linewidth=1.6, label=label
            )
    axes.axvline(threshold, color="0.3", linewidth=1, linestyle="--", label=f"threshold {threshold:g}")
    axes.set(xlabel="fake probability", ylabel="videos", xlim=(0, 1))
    axes.legend(frameon=False)


def _draw_reliability(axes: "Axes", probabilities: np.ndarray, is_fake: np.ndarray) -> None:
    bins = calibration_bins(probabilities)
    filled = np.unique(bins)
    means = [float(probabilities[bins == number].mean()) for number in filled]
    shares = [float(is_fake[bins == number].mean()) for number in filled]
    counts = np.array([int((bins == number).sum()) for number in filled])
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":", label="perfectly calibrated")
    axes.plot(means, shares, color=FAKE_COLOUR, linewidth=1.2, alpha=0.6)
    sizes = 20 + 180 * counts / counts.max()
    axes.scatter(means, shares, s=sizes.tolist(), color=FAKE_COLOUR, edgecolors="white", zorder=3)
    for x, y, count in zip(means, shares, counts, strict=True):
        axes.annotate(str(count), (x, y), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=8)
    ece = measure(probabilities, is_fake, 0.5)["ece"]
    axes.set(
        xlabel=f"mean fake probability per bin (labels: number of videos; ECE {ece:.3f})",
        ylabel="share of fake videos per bin",
        xlim=(-0.02, 1.02),
        ylim=(-0.05, 1.1),
    )
    axes.legend(loc="upper left", frameon=False)


def _draw_robustness(axes: "Axes", result: EvaluationResult) -> None:
    for (kind, values), colour, marker in zip(result.robustness.items(), COLOURS, MARKERS, strict=False):
        heights = [np.nan if value is None else value for value in values]
        axes.plot(range(len(heights)), heights, color=colour, marker=marker, markersize=5, linewidth=1.4, label=kind)
    axes.axhline(0.5, color="0.7", linewidth=1, linestyle=":")
    axes.set(xlabel="level of corruption", ylabel="video AUC", xticks=range(6), xticklabels=["none", *"12345"])
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
