# SPDX-License-Identifier: Apache-2.0
"""Version of this package, which results and reports contain."""

__version__ = "0.1.0"
