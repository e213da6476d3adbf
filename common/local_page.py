# SPDX-License-Identifier: Apache-2.0
"""Serve the page of the folder `browser`, which scores videos inside the browser, on this machine."""

import functools
import json
import sys
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .errors import UsageError
from .listening import address_family


_BUILT = Path("browser", "dist")
PAGE_FOLDER = Path(__file__).resolve().parent.parent / _BUILT
HEADERS_NAME = "headers.json"
BUILD_COMMAND = "npm ci && npm run build"
# The first of these that is free is taken unless a port is named.
PORTS = range(7860, 7960)


def make_page_server(
    folder: Path | None = None, *, host: str | None = None, port: int | None = None
) -> ThreadingHTTPServer:
    """
    Open a server of the built page, with the headers that isolate it and forbid it every other connection.

    Args:
        folder: Folder of the built page; by default that of the checkout from which the package is imported, or else
            that of the working directory.
        host: Address to listen on; this machine only by default. Browsers give other addresses fewer rights unless
            they are reached by https.
        port: Port; the first free one from 7860 by default.

    Returns:
        The server, not yet serving; `server_address` tells its port.

    Raises:
        UsageError: If the page is not built, or the address or port cannot be used.
    """
    if folder is None:
        folder = PAGE_FOLDER if PAGE_FOLDER.exists() else _BUILT.absolute()
    try:
        headers = json.loads((folder / HEADERS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the local page is not built: run `{BUILD_COMMAND}` in the folder browser of a source checkout, and this "
            "command in the checkout."
        ) from error
    handler = functools.partial(_Handler, directory=str(folder), page_headers=headers)
    for candidate in PORTS if port is None else (port,):
        try:
            return _Server((host or "127.0.0.1", candidate), handler)
        except (OSError, OverflowError, UnicodeError) as error:
            problem = error
    raise UsageError(f"the page cannot be served on {host or '127.0.0.1'} ({problem}); choose another --port.")


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], handler: Callable[..., Any]) -> None:
        self.address_family = address_family(address[0])
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A tab that is closed while it loads the page is no defect.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, page_headers: dict[str, str], **options: Any) -> None:
        self._page_headers = page_headers
        # Some systems know no type for these endings, and browsers run scripts of this type only.
        self.extensions_map = {**self.extensions_map, ".js": "text/javascript", ".mjs": "text/javascript"}
        super().__init__(*arguments, **options)

    def end_headers(self) -> None:
        for name, value in self._page_headers.items():
            self.send_header(name, value)
        super().end_headers()

    def send_head(self) -> Any:
        if "\0" in self.translate_path(self.path):
            # No file has such a name, and Python refuses it with an error.
            self.send_error(404)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(404)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: what is opened is nobody's business."""
