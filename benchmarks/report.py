# SPDX-License-Identifier: Apache-2.0
"""The rows as a Markdown table and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

from .measuring import Row


PACKAGES = ("torch", "transformers", "av", "torchcodec", "decord", "opencv-python-headless", "onnxruntime", "openvino")
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
    """RESULTS.md and results.json in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Speed compared with other tools",
        "",
        f"The output of `{command}`: medians of interleaved rounds. A ratio below 1 means that this package is faster "
        "than the other tool.",
        "Rows without a goal are for information only. Environment: "
        + ", ".join(f"{name} {value}" for name, value in about.items())
        + ".",
        "",
        "| group | what | figure | goal | met | ours | peer | exactness |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        value = "–" if row.value is None else f"{row.value:.2f}"
        cells = (row.group, row.what, value, row.goal, _MARKS[row.is_met], row.ours, row.peer, row.exactness)
        lines.append("| " + " | ".join(cells) + " |")
    (folder / "RESULTS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    content = {"command": command, "environment": about, "rows": [row.to_dict() for row in rows]}
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
