# SPDX-License-Identifier: Apache-2.0
"""The version of this package, which its results and reports name."""

__version__ = "0.1.0"
