# SPDX-License-Identifier: Apache-2.0
"""The chart of the results: one bar for each headline, the time of this package relative to that of the peer."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .measuring import Row


# Group and part of the description of a row, and what the chart and the short table call it.
HEADLINES = (
    ("start", "`--help`", "start of the command; a script's imports"),
    ("first answer", "wall", "first answer, 10 s of 720p; the usual script"),
    ("first answer", "memory", "its peak memory; the usual script"),
    ("fairness", "run torch", "delay beside three torch processes; the usual script"),
    ("decode", "720p-10s-30.mp4 ÷ Transformers pyav, CPU", "20 frames of 10 s, H.264; Transformers' reader"),
    ("decode", "720p-60s-30.mp4 ÷ Transformers pyav, CPU", "20 frames of 60 s, H.264; Transformers' reader"),
    ("decode", "720p-10s-vp9.webm ÷ torchcodec", "20 frames of 10 s, VP9; torchcodec"),
    ("preprocess", "PIL", "preprocessing; PIL"),
    ("forward", "efficientnet-b0-bilstm, onnx ÷", "EfficientNet-B0 + Bi-LSTM in onnxruntime; eager torch"),
    ("int8", "int8", "frame encoder in int8; in float32"),
    ("faces", "CenterFace", "searching a whole frame; MTCNN"),
    ("faces", "tracking a face", "tracking a face; MTCNN on each frame"),
    ("whole", "efficientnet-b0-bilstm ÷", "file to score, Bi-LSTM; OpenCV script"),
    ("whole", "efficientnet-b0-frames ÷", "file to score with faces; OpenCV and MTCNN script"),
)
_ROW, _LEFT, _WIDTH, _END = 26, 400, 300, 140


@dataclass(frozen=True)
class Headline:
    """A row of the chart: what it is called, and our figure relative to the peer's."""

    name: str
    row: Row
    ratio: float


def headlines(rows: Sequence[Row]) -> list[Headline]:
    """The rows of the chart that were measured beside a peer."""
    found = []
    for group, part, name in HEADLINES:
        row = next((row for row in rows if row.group == group and part in row.what and row.value is not None), None)
        if row is not None and (ratio := _ratio(row)) is not None:
            found.append(Headline(name, row, ratio))
    return found


def _ratio(row: Row) -> float | None:
    """Our figure divided by the peer's; `None` if the row has no samples of both."""
    if not row.samples.get("ours") or not row.samples.get("peer"):
        return None
    return statistics.median(row.samples["ours"]) / statistics.median(row.samples["peer"])


def draw(chosen: Sequence[Headline]) -> str:
    """An SVG picture: bars from 0 to the peer's figure, which is the line at the right."""
    height = _ROW * (len(chosen) + 2)
    width = _LEFT + _WIDTH + _END
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="13" role="img" aria-label="Figures of this package relative to those of other tools">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT - 8}" y="17" text-anchor="end" fill="#555">what; compared with</text>',
        f'<text x="{_LEFT + _WIDTH}" y="17" text-anchor="middle" fill="#555">the other tool = 1</text>',
        f'<line x1="{_LEFT + _WIDTH}" x2="{_LEFT + _WIDTH}" y1="24" y2="{height - 20}" stroke="#999"/>',
    ]
    for number, headline in enumerate(chosen, start=1):
        top, length = number * _ROW, _WIDTH * min(headline.ratio, 1.2)
        color = "#2a6fb0" if headline.ratio <= 1 else "#b0552a"
        lines += [
            f'<text x="{_LEFT - 8}" y="{top + 17}" text-anchor="end" fill="#222">{escape(headline.name)}</text>',
            f'<rect x="{_LEFT}" y="{top + 4}" width="{length:.1f}" height="{_ROW - 8}" fill="{color}"/>',
            f'<text x="{_LEFT + max(length, 0) + 6:.1f}" y="{top + 17}" fill="#222">{headline.ratio:.2f}</text>',
        ]
    lines.append(f'<text x="{_LEFT}" y="{height - 6}" fill="#555">shorter is better</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
