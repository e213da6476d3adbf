# SPDX-License-Identifier: Apache-2.0
"""The rows as a page with a chart, and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

from .chart import draw, headlines
from .measuring import Row


PACKAGES = ("torch", "transformers", "av", "torchcodec", "decord", "opencv-python-headless", "onnxruntime", "openvino")
CHART_NAME, PAGE_NAME, ROWS_NAME = "results.svg", "RESULTS.md", "results.json"
_MARKS = {True: "yes", False: "**no**", None: ""}


def environment() -> dict[str, str]:
    """What the figures depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    machine = {"machine": platform.machine(), "cores": str(os.cpu_count()), "threads": str(torch.get_num_threads())}
    return {**machine, "load average at the start": load, **versions}


def write(rows: Sequence[Row], about: dict[str, str], command: str, folder: Path) -> None:
    """RESULTS.md, its chart and results.json in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"command": command, "environment": about, "rows": [row.to_dict() for row in rows]}
    (folder / ROWS_NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write_page(folder)


def write_page(folder: Path) -> None:
    """RESULTS.md and its chart from results.json in the same folder."""
    content = json.loads((folder / ROWS_NAME).read_text(encoding="utf-8"))
    rows = [Row(**{name: value for name, value in row.items() if name != "is_met"}) for row in content["rows"]]
    chosen = headlines(rows)
    (folder / CHART_NAME).write_text(draw(chosen), encoding="utf-8")
    met = [row.is_met for row in rows if row.is_met is not None]
    lines = [
        "# Speed compared with other tools",
        "",
        f"![Figures of this package relative to those of other tools]({CHART_NAME})",
        "",
        f"{sum(met)} of {len(met)} goals are met. Output of `{content['command']}`: medians of interleaved rounds.",
        ", ".join(f"{name} {value}" for name, value in content["environment"].items()) + ".",
        "",
        "| what; compared with | this package | the other tool | goal | met |",
        "|---|---|---|---|---|",
        *(_line(h.name, h.row.ours, h.row.peer, h.row.goal, _MARKS[h.row.is_met]) for h in chosen),
        "",
        "## Every row",
        "",
        "A ratio below 1 means that this package is faster. Rows without a goal are for information.",
        "",
        "| group | what | figure | goal | met | ours | peer | exactness |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        value = "–" if row.value is None else f"{row.value:.2f}"
        lines.append(
            _line(row.group, row.what, value, row.goal, _MARKS[row.is_met], row.ours, row.peer, row.exactness)
        )
    (folder / PAGE_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
