# SPDX-License-Identifier: Apache-2.0
"""Speed compared with other tools, in one interleaved run: `python -m benchmarks`."""
