# SPDX-License-Identifier: Apache-2.0
"""`python -m deepfake_video`: the command `deepfake-video`."""

import sys

from .cli import entry


if __name__ == "__main__":
    sys.exit(entry())
