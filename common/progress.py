# SPDX-License-Identifier: Apache-2.0
"""Progress bars on standard error."""

import sys

from rich.console import Console
from rich.progress import Progress, ProgressColumn


def make_progress(*columns: str | ProgressColumn, is_hidden: bool = False, speed_period_s: float = 30.0) -> Progress:
    """
    Make progress bars on standard error that are erased when they stop.

    Args:
        columns: Columns of the bars.
        is_hidden: Whether to hide the bars. They are also hidden if standard error is not a terminal.
        speed_period_s: The remaining time follows from this last period, in seconds.
    """
    console = Console(stderr=True)
    return Progress(
        *columns,
        console=console,
        disable=is_hidden or not console.is_terminal,
        transient=True,
        speed_estimate_period=speed_period_s,
        # Lines printed to a terminal appear above the bars. If standard output goes to a file or another program, rich
        # would print them to standard error instead.
        redirect_stdout=sys.stdout.isatty(),
    )
