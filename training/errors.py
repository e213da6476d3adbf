# SPDX-License-Identifier: Apache-2.0
"""Errors in training: the request is not possible, or the training run failed after it had started."""

from ..common.errors import UsageError, WorkError


class TrainingError(UsageError):
    """The requested training is not possible. The message states the reason and what to change."""


class TrainingFailedError(WorkError):
    """A training run has started and cannot continue. The message states the reason and what to change."""
