# SPDX-License-Identifier: Apache-2.0
"""Training: face crops cached once, self-blended clips made on the fly, one loop for all architectures."""
