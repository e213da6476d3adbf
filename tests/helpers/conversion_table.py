# SPDX-License-Identifier: Apache-2.0
"""
The acceptance table of the converter: layout × wrapper × batch size, with the largest difference of a logit.

    python tests/helpers/conversion_table.py                   # every layout through every wrapper: about ten minutes
    python tests/helpers/conversion_table.py --wrapper plain   # every layout once
    python tests/helpers/conversion_table.py --full-size       # the published sizes too (b4, b7)

Each cell converts a file, loads the folder by AutoModel in this process, and compares its logits with those of the
independent reference network in `legacy_layouts.py`, in float32. Exit code 1 if any cell is beyond the tolerance.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from legacy_files import WRAPPERS, rounded
from legacy_layouts import CASES, FULL_SIZE, Case, build, clips, fake_margin
from transformers import AutoModelForVideoClassification
from transformers.utils import logging

from deepfake_video import ConversionPlan, ConversionResult, Inspection, convert, inspect_checkpoint
from deepfake_video.hub.registration import register


TOLERANCE = 1e-5
BATCH_SIZES = (1, 4)


def convert_file(file: Path, output: Path | None, choices: dict[str, Any], **kwargs: Any) -> ConversionResult:
    """Convert a file with the given choices."""
    return convert(ConversionPlan(checkpoint=file, output=output, **choices, **kwargs))


def inspect_file(file: Path, choices: dict[str, Any]) -> Inspection:
    """Inspect a file with the given choices."""
    return inspect_checkpoint(ConversionPlan(checkpoint=file, **choices))


def differences(case: Case, wrapper: str, folder: Path) -> dict[int, float]:
    """Convert one layout in one wrapper; the largest relative difference at each batch size."""
    network = rounded(build(case), wrapper)
    checkpoint = WRAPPERS[wrapper](network.state_dict(), folder)
    output = folder / "converted"
    result = convert_file(checkpoint, output, case.flags)
    if result.layout.family != case.family:
        raise ValueError(f"detected as {result.layout.family}, not {case.family}")
    model = AutoModelForVideoClassification.from_pretrained(output)
    found = {}
    for size in BATCH_SIZES:
        batch = clips(size)
        expected = fake_margin(network, case, batch)
        with torch.inference_mode():
            logits = model(pixel_values_videos=batch).logits
        found[size] = relative(logits[:, 1] - logits[:, 0], expected)
    return found


def relative(margin: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the largest expected value, or over 1 where all are smaller."""
    return float((margin - expected).abs().max() / expected.abs().max().clamp_min(1.0))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", action="append", help="only layouts whose name holds this; repeatable")
    parser.add_argument("--wrapper", action="append", choices=WRAPPERS, help="only this wrapper; repeatable")
    parser.add_argument("--full-size", action="store_true", help="the published sizes too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable_progress_bar()
    register()
    cases = {**CASES, **(FULL_SIZE if arguments.full_size else {})}
    wanted = arguments.layout or [""]
    worst = 0.0
    print(f"{'layout':26}{'wrapper':22}" + "".join(f"{f'batch {size}':>12}" for size in BATCH_SIZES))
    for name, case in cases.items():
        if not any(part in name for part in wanted):
            continue
        for wrapper in arguments.wrapper or WRAPPERS:
            folder = Path(tempfile.mkdtemp())
            try:
                found = differences(case, wrapper, folder)
            finally:
                shutil.rmtree(folder)
            worst = max(worst, *found.values())
            print(f"{name:26}{wrapper:22}" + "".join(f"{value:12.1e}" for value in found.values()), flush=True)
    print(f"largest difference {worst:.1e}, allowed {TOLERANCE:.0e}: {'ok' if worst <= TOLERANCE else 'FAILED'}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
