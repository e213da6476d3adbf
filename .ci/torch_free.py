# SPDX-License-Identifier: Apache-2.0
"""
Print what the installed package requires to score videos with onnxruntime: all but torch and its libraries.

Usage: `python .ci/torch_free.py EXTRA ... > requirements.txt`, after `pip install --no-deps .`. The packaged
checkpoint and other models with ONNX graphs are scored, served and reported without torch; heat maps, training,
evaluation and conversion need it.
"""

import importlib.metadata
import re
import sys

from deepfake_video.common.exit_codes import LEFT_OUT


TORCH = {name.replace("_", "-") for name in LEFT_OUT}


def requirements(lines: list[str], extras: list[str]) -> list[str]:
    """The requirements without extras, and those of some extras, except for the libraries in `TORCH`."""
    kept = []
    for line in lines:
        requirement, _, condition = line.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", condition)
        name = re.split(r"[\s<>=!~\[(]", requirement.strip())[0].lower()
        if name not in TORCH and (extra is None or extra[1] in extras):
            kept.append(requirement.strip())
    return kept


if __name__ == "__main__":
    print("\n".join(requirements(importlib.metadata.requires("deepfake-video") or [], sys.argv[1:])))
