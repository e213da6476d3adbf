# SPDX-License-Identifier: Apache-2.0
"""What the reader of an evaluation should know: videos without a score, limits of the metrics, videos seen before."""

from collections.abc import Iterable, Sequence

from .known_videos import PARTS
from .metric_rows import Row
from .scores import Score


# Videos that a line names, and unscored videos that are listed; scores.csv names all.
MAX_SEEN, MAX_UNSCORED = 5, 20
# With this many real videos or more, a false positive rate of 1 % is at least one video.
MIN_REALS_FOR_FPR = 100
_WAS_SEEN = "was seen in {}, itself or a person in it, and is"
_WERE_SEEN = "were seen in {}, themselves or people in them, and are"


def list_unscored(scores: Iterable[Score]) -> list[dict[str, str | None]]:
    """List key, corruption, status and message of each video without a score."""
    return [
        {"key": score.key, "corruption": score.corruption, "status": score.status, "message": score.message}
        for score in scores
        if score.fake_probability is None
    ]


def unscored_lines(unscored: Sequence[dict[str, str | None]]) -> list[str]:
    """Name the videos of [`list_unscored`] and why each has no score; of many, only the first."""
    lines = []
    for entry in unscored[:MAX_UNSCORED]:
        cell = f" ({entry['corruption']})" if entry["corruption"] else ""
        lines.append(f"not scored: {entry['key']}{cell}: {entry['message'] or entry['status']}")
    if len(unscored) > MAX_UNSCORED:
        lines.append(f"and {len(unscored) - MAX_UNSCORED} more")
    return lines


def make_warnings(rows: Sequence[Row]) -> list[str]:
    """Return warnings about the limitations of the metrics in the rows."""
    warnings = []
    # The last row of this level counts those seen before too, if there are any.
    result, whole = rows[0], next((row for row in rows if row.kind == "pooled"), rows[0])
    for row in rows:
        if row.level == "video" and row.undefined:
            warnings.append(f"{row.name}: {row.undefined}")
    missing = whole.num_real + whole.num_fake - whole.num_scored
    if missing:
        counts = "it counts in the coverage but is" if missing == 1 else "they count in the coverage but are"
        warnings.append(f"{num_videos(missing)} could not be scored: {counts} left out of all other metrics")
    if 0 < result.num_real < MIN_REALS_FOR_FPR and result.estimates["auc"].value is not None:
        warnings.append(
            f"with only {num_videos(result.num_real, 'real ')}, TPR at 1 % FPR equals the TPR without any false alarm"
        )
    return warnings


def seen_warnings(scores: Sequence[Score]) -> list[str]:
    """Count and name the videos that, or people in which, the model has seen before, for each part of its record."""
    lines = []
    for part in PARTS:
        keys = sorted(score.key for score in scores if score.seen == part)
        if keys:
            listed = ", ".join(keys[:MAX_SEEN]) + (f" and {len(keys) - MAX_SEEN} more" if len(keys) > MAX_SEEN else "")
            said = _WAS_SEEN if len(keys) == 1 else _WERE_SEEN
            lines.append(
                f"{len(keys)} of {num_videos(len(scores))} {said.format(part)} left out of the result: {listed}"
            )
    return lines


def num_videos(number: int, kind: str = "") -> str:
    """A number of videos of a kind, such as "2 real videos"."""
    return f"{number} {kind}video{'' if number == 1 else 's'}"
