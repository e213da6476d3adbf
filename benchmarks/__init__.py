# SPDX-License-Identifier: Apache-2.0
"""Speed beside the peers, in one interleaved run: `python -m benchmarks`."""
