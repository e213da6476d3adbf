# SPDX-License-Identifier: Apache-2.0
"""What [`serve`] needs to know."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..common.errors import UsageError
from ..common.plans import check_fields
from ..scanning.settings import ScanSettings


DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
# Limits on what a visitor may send, of the demo too.
MAX_UPLOAD_BYTES, MAX_DURATION_S = 200_000_000, 1800.0
# Number of requests that may wait while another one is scored.
MAX_WAITING = 16


@dataclass(frozen=True, kw_only=True)
class ServicePlan:
    """
    The settings of the HTTP service.

    Args:
        models: Model folders or Hub ids; several form an ensemble. `"default"`, or none, is the packaged checkpoint.
        device: `"cpu"`, `"cuda"`, `"mps"`, or `"auto"` for the fastest one available.
        settings: How each video is scored. `max_bytes` and `max_duration_s` tighten its limits.
        host: Address to listen on. Requests are not authenticated, so the default is this machine only.
        port: Port to listen on; 0 for any free one.
        max_waiting: Number of requests that may wait while another one is scored. Further ones are refused.
        max_bytes: Maximum size of a request, or of a download, in bytes.
        max_duration_s: Maximum length of a video in seconds.
        allow_addresses: Whether clients may send http(s) addresses, which this machine downloads. Private addresses
            are refused unless the limits of `settings` allow them.

    Raises:
        UsageError: If a value is of another type or out of range.

    Example:

        >>> from deepfake_video import ServicePlan
        >>> ServicePlan(max_waiting=4).host
        '127.0.0.1'
    """

    models: Sequence[str | Path] = ()
    device: str = "auto"
    settings: ScanSettings = field(default_factory=ScanSettings)
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    max_waiting: int = MAX_WAITING
    max_bytes: int = MAX_UPLOAD_BYTES
    max_duration_s: float = MAX_DURATION_S
    allow_addresses: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.host:
            # The system would listen on all addresses.
            raise UsageError("the address to listen on is empty; 0.0.0.0 stands for all addresses of this machine.")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"the port must lie between 0 and 65535, got {self.port}.")
        if self.max_waiting < 0:
            raise UsageError(f"the number of waiting requests must be at least 0, got {self.max_waiting}.")
        if self.max_bytes < 1:
            raise UsageError(f"the maximum size must be at least 1 byte, got {self.max_bytes}.")
        if not 0 < self.max_duration_s < math.inf:
            raise UsageError(f"the maximum length must be a finite time of more than 0 s, got {self.max_duration_s}.")
