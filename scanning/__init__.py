# SPDX-License-Identifier: Apache-2.0
"""Score many videos: find and score faces, and report which videos could not be scored, and why."""
