# SPDX-License-Identifier: Apache-2.0
"""Evaluation: benchmarks in the layout of their download, metrics with intervals, corruptions and calibration."""
