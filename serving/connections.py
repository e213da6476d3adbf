# SPDX-License-Identifier: Apache-2.0
"""
Bound the connections of the service: how many there are, and how long one may send no request.

Without bounds, clients that connect and send nothing would use up the files that the process may open. Its event loop
would then fill the log with errors instead of answering.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


# Connections beyond one for each request that is scored or waits, such as those that ask for the state of the service.
SPARE_CONNECTIONS = 100
# Seconds in which a new connection, or one whose requests are answered, must send the headers of a request.
HEADERS_S = 30.0


def bounded_connections(most: int, *, headers_s: float = HEADERS_S) -> type[H11Protocol]:
    """
    The protocol of a server whose further connections are closed at once, and idle ones after a time.

    Args:
        most: Maximum number of connections.
        headers_s: Seconds in which a connection must send the headers of a request, up to twice that between two.
    """

    class Connection(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.close()
            else:
                self.loop.call_later(headers_s, self._close_if_idle, (True, None))

        def _close_if_idle(self, before: tuple[bool, Any]) -> None:
            if self.transport.is_closing():
                return
            cycle = self.cycle
            now = (cycle is None or cycle.response_complete, cycle)
            if now[0] and now == before:
                self.transport.close()
            else:
                self.loop.call_later(headers_s, self._close_if_idle, now)

    return Connection
