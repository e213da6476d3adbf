# SPDX-License-Identifier: Apache-2.0
"""Run the command `deepfake-video` as `python -m deepfake_video`."""

import sys

from .cli import entry


if __name__ == "__main__":
    sys.exit(entry())
