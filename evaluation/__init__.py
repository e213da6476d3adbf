# SPDX-License-Identifier: Apache-2.0
"""Evaluation: benchmarks in their original layout, metrics with intervals, corruptions and calibration."""
