# SPDX-License-Identifier: Apache-2.0
"""Check that the optional packages of a feature are installed."""

import importlib.util

from .errors import UsageError


class MissingPackageError(UsageError):
    """A feature requires packages that are not installed; the message contains the command that installs them."""


def missing_packages(*names: str) -> list[str]:
    """Return those of the given top-level packages that are not installed, without importing any of them."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def require_packages(feature: str, *names: str, extra: str) -> None:
    """
    Check that the packages of a feature are installed.

    Args:
        feature: Name of the feature, used as the subject of the error message.
        names: Top-level packages.
        extra: The extra of this package that installs them.

    Raises:
        MissingPackageError: If one is not installed.

    Example:

        >>> from deepfake_video.common.packages import require_packages
        >>> require_packages("the export", "json", extra="export")
    """
    if missing := missing_packages(*names):
        raise MissingPackageError(f"{feature} needs {', '.join(missing)}: pip install 'deepfake-video[{extra}]'.")
