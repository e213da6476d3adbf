# SPDX-License-Identifier: Apache-2.0
"""Listen for connections, for the service, the demo and the local page."""

import socket

from .errors import WorkError


def address_family(host: str) -> socket.AddressFamily:
    """Return the family of a host: IPv6 for its addresses, IPv4 for everything else."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def url_host(host: str) -> str:
    """Return a host as it stands in an address, where those of IPv6 are in brackets."""
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """
    Open a socket that accepts connections.

    Args:
        host: Address or name of this machine, not empty: that would be all of its addresses.
        port: Port; 0 for any free one.

    Raises:
        WorkError: If this is not possible, as for a port that is taken.
    """
    try:
        return socket.create_server((host, port), family=address_family(host))
    except (OSError, OverflowError, UnicodeError) as error:
        # Python adds the address to the reason of the system.
        reason = str(getattr(error, "strerror", None) or error).partition(" (while ")[0]
        raise WorkError(
            f"cannot listen on port {port} of {host} ({reason}); choose another --host or --port."
        ) from None
