# SPDX-License-Identifier: Apache-2.0
"""Receive uploads: a bounded queue, and limits on the size and the time of a request."""

import logging
import math
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..common.text import one_line


# Seconds for which the body of a refused request is read, except after those codes: it would take too long.
LINGER_S = 10.0
_NOT_READ_OUT = (408, 503)
# The one that uvicorn shows.
_LOGGER = logging.getLogger("uvicorn.error")
ONE_OF_BOTH = "send either a file or an address: the form has one field, file or url, and no other"


@dataclass(frozen=True)
class Upload:
    """
    What a client sent.

    Attributes:
        source: The saved file, or an address.
        name: Name of the file as the client gave it; `None` for an address.
    """

    source: Path | str
    name: str | None


def refusal(code: int, status: str, message: str, headers: dict[str, str] | None = None) -> HTTPException:
    """
    The error of a request that is not scored.

    Args:
        code: HTTP status code.
        status: The reason as one word, for programs.
        message: The reason as one sentence, for people.
        headers: Headers of the response.
    """
    # Starlette annotates the detail as a string, and passes on any value.
    return HTTPException(code, {"status": status, "message": message}, headers)  # type: ignore[arg-type]


class ReadingOut:
    """
    ASGI middleware that reads the rest of the body of a refused request, for a limited time, before it answers.

    A client that is still sending when the connection is closed may not receive the response.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A client that expects a response before it sends its body sends none if this is a refusal.
        is_read = any(name == b"expect" for name, _ in scope["headers"])

        async def note() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            code = message.get("status", 0)
            if message["type"] == "http.response.start" and code >= 400 and code not in _NOT_READ_OUT:
                with anyio.move_on_after(LINGER_S):
                    while not is_read:
                        await note()
            await send(message)

        await self._app(scope, note, answer)


class WaitingRoom:
    """
    The queue of requests: one is scored at a time, and a limited number waits.

    Args:
        max_waiting: Number of requests that may wait.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._num_inside = 0
        self._turn = anyio.Semaphore(1)
        self._latest_s = 1.0
        # When requests are refused because the service stops, by what they are doing, and those that do it.
        self._ends_s = {"waiting": math.inf, "accepted": math.inf}
        self._scopes: dict[anyio.CancelScope, str] = {}

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait."""
        return max(self._num_inside - 1, 0)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """
        Take a place in the queue.

        Raises:
            HTTPException: If there is none (429), or the service stops before the block ends (503). `Retry-After` is
                the time that the queue needs if every video takes as long as the latest one.
        """
        if self._num_inside > self._max_waiting:
            wait_s = max(1, math.ceil(self._latest_s * self._num_inside))
            message = f"{self._num_inside} requests are being processed; try again in about {wait_s} s"
            raise refusal(429, "busy", message, {"Retry-After": str(wait_s)})
        self._num_inside += 1
        try:
            with self._until_stopped("accepted"):
                yield
        finally:
            self._num_inside -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """
        Wait until no other request is scored.

        Raises:
            HTTPException: If the service stops before (503).
        """
        with self._until_stopped("waiting"):
            await self._turn.acquire()
        try:
            started_s = time.monotonic()
            yield
            self._latest_s = time.monotonic() - started_s
        finally:
            self._turn.release()

    def stop(self, patience_s: float) -> None:
        """
        Refuse the requests that wait for their turn, and later those that are not finished.

        Args:
            patience_s: Seconds in which the other requests, which arrive or are scored, may finish.
        """
        now_s = anyio.current_time()
        self._ends_s = {"waiting": now_s, "accepted": now_s + patience_s}
        for scope, activity in self._scopes.items():
            scope.deadline = self._ends_s[activity]

    @contextmanager
    def _until_stopped(self, activity: str) -> Iterator[None]:
        with anyio.CancelScope(deadline=self._ends_s[activity]) as scope:
            self._scopes[scope] = activity
            try:
                yield
            finally:
                del self._scopes[scope]
        if scope.cancelled_caught:
            raise refusal(503, "stopping", "the service is stopping; send the request again later")


@asynccontextmanager
async def received(request: Request, folder: Path, *, max_bytes: int, max_s: float) -> AsyncIterator[Upload]:
    """
    Receive a form with a file or an address. The file is removed at the end of the block.

    Args:
        request: The request; its body was not read yet.
        folder: Folder for the file, whose name there is random.
        max_bytes: Maximum size of the body.
        max_s: Seconds in which it must arrive.

    Raises:
        HTTPException: If it is too large (413), too slow (408) or not such a form (400), or cannot be stored (507).
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    limited = Request(request.scope, _limited(request, max_bytes))
    try:
        with anyio.fail_after(max_s):
            form = await limited.form(max_files=1, max_fields=1)
    except HTTPException as error:
        if not isinstance(error.detail, str):
            raise
        # The reason why the body is no form, such as a long name, is behind the error that Starlette turned into this.
        reason = getattr(error.__context__, "__cause__", None)
        if reason is not None:
            said = one_line(reason)
            advice = "use shorter names" if "header size" in said else "send multipart/form-data"
            raise refusal(400, "invalid", f"the form cannot be read ({said}); {advice}") from None
        # What Starlette says otherwise is a sentence about the fields.
        raise refusal(400, "invalid", f"{ONE_OF_BOTH} (multipart/form-data)") from None
    except TimeoutError:
        raise refusal(408, "timeout", f"the request did not arrive within {max_s:g} s") from None
    except ClientDisconnect:
        raise refusal(400, "invalid", "the request ended early") from None
    except UnicodeError as error:
        # Of a charset that the client named.
        raise refusal(400, "invalid", f"the form cannot be read ({one_line(error)}); send it in UTF-8") from None
    except OSError as error:
        raise _not_stored(error) from None
    saved = folder / secrets.token_hex(16)
    try:
        try:
            upload = await _take(form, saved)
        except OSError as error:
            raise _not_stored(error) from None
        finally:
            # The parser keeps the file, too.
            await form.close()
        yield upload
    finally:
        saved.unlink(missing_ok=True)


async def _take(form: FormData, saved: Path) -> Upload:
    """Take the address out of a form, or save its file."""
    match form.multi_items():
        case [("url", str(address))]:
            return Upload(address.strip(), None)
        case [("file", UploadFile() as file)]:
            await run_in_threadpool(_copy, file.file, saved)
            return Upload(saved, file.filename or "")
    raise refusal(400, "invalid", ONE_OF_BOTH)


def _limited(request: Request, max_bytes: int) -> Callable[[], Awaitable[Message]]:
    """Receive the messages of a request until its body is too large."""
    num_bytes = 0

    async def receive() -> Message:
        nonlocal num_bytes
        message = await request.receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > max_bytes:
            raise _too_large(max_bytes)
        return message

    return receive


def _not_stored(error: OSError) -> HTTPException:
    reason = error.strerror or error
    # The service goes on, but whoever runs it has to make room.
    _LOGGER.error("an upload cannot be stored: %s", reason)
    return refusal(507, "not_stored", f"the service cannot store the upload ({reason}); send it again later")


def _too_large(max_bytes: int) -> HTTPException:
    return refusal(413, "too_large", f"the request is larger than {max_bytes:,} bytes")


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("xb") as file:
        shutil.copyfileobj(source, file)
