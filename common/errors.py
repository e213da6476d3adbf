# SPDX-License-Identifier: Apache-2.0
"""The two kinds of errors that end a command: an invalid request, and work that failed."""


class UsageError(ValueError):
    """
    The request is invalid: an argument, a model folder, a recipe, a data set or an output path.

    Raise it before the work starts. A command ends with exit code 2.
    """


class WorkError(ValueError):
    """
    The work failed although the request was valid: the disk is full, the Hub refuses the request, or a worker died.

    A command ends with exit code 1.
    """
