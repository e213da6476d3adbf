# SPDX-License-Identifier: Apache-2.0
"""Benchmarks as they are downloaded, the field's metrics, and how scores hold up when a video is degraded."""
