# SPDX-License-Identifier: Apache-2.0
"""
The HTTP service: `POST /score` scores a video, and `GET /health`, `/version` and `/docs` describe the service.

This module needs FastAPI and uvicorn (extra `serve`).
"""

import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from ..common.listening import listen, url_host
from ..common.plans import check_plan
from ..scanning.detector import Detector
from ..scanning.results import SCHEMA_VERSION
from ..version import __version__
from .connections import SPARE_CONNECTIONS, bounded_connections
from .judging import judge, limits_for_uploads, without_folders
from .openapi import SCORE_DOCUMENTATION, add_result_schema
from .plan import ServicePlan
from .reception import ReadingOut, WaitingRoom, received, refusal


# Seconds for which a service that is stopped waits for the requests that it has accepted.
STOP_S = 30
# Everything but these is 422: the request is well-formed, but its video cannot be scored.
_CODES = {"ok": 200, "too_large": 413}
_NO_ADDRESSES = "this service does not fetch addresses; upload the file, or start the service with --allow-addresses"


def serve(plan: ServicePlan, *, on_start: Callable[[str], None] = lambda address: None) -> None:
    """
    Run the service until the process is interrupted or terminated. Requests in progress are finished first.

    Args:
        plan: Its settings.
        on_start: Called with the address of the service once it accepts connections.

    Raises:
        UsageError: If a model cannot be loaded, or a limit in the environment is invalid.
        WorkError: If the service cannot listen on the port.
    """
    check_plan(plan, ServicePlan)
    detector = load_detector(plan)
    with (
        tempfile.TemporaryDirectory(prefix="deepfake-video-serve-") as folder,
        listen(plan.host, plan.port) as listener,
    ):
        app = build_service(detector, plan, Path(folder))
        # A client that does not read its answer is cut off.
        config = uvicorn.Config(
            app,
            http=bounded_connections(plan.max_waiting + 1 + SPARE_CONNECTIONS),
            # So many more are opened in one go, before they are counted.
            backlog=SPARE_CONNECTIONS,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_S + 5,
        )
        on_start(f"http://{url_host(plan.host)}:{listener.getsockname()[1]}")
        _Server(config, app.state.room).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells the queue of the service when it stops, so that every accepted request receives an answer."""

    def __init__(self, config: uvicorn.Config, room: WaitingRoom) -> None:
        super().__init__(config)
        self._room = room

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._room.stop(STOP_S)
        await super().shutdown(sockets)


def load_detector(plan: ServicePlan) -> Detector:
    """
    Load the models of a service, with its limits.

    Args:
        plan: Settings of the service.

    Raises:
        UsageError: If a model cannot be loaded, or a limit in the environment is invalid.
    """
    limits = limits_for_uploads(plan.settings.limits, max_bytes=plan.max_bytes, max_duration_s=plan.max_duration_s)
    models = [str(model) for model in plan.models]
    return Detector(models, device=plan.device, settings=replace(plan.settings, limits=limits))


def build_service(detector: Detector, plan: ServicePlan, folder: Path) -> FastAPI:
    """
    Build the ASGI application of the service.

    Args:
        detector: What [`load_detector`] returned.
        plan: Settings of the service.
        folder: Existing folder for uploads. Each is removed when its request ends.

    Returns:
        The application, for any ASGI server. It may run in one process only, because its queue, `state.room`, is in
        memory.
    """
    app = FastAPIOffline(
        title="deepfake-video",
        version=__version__,
        description="Scores videos for face manipulation. A score is a reason to examine a video, never proof.",
        redoc_url=None,
        # A redirect names http, so that a client behind an encrypting proxy would send its video again, unencrypted.
        redirect_slashes=False,
        # Swagger UI would otherwise send the description to a server of its makers for validation.
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.add_middleware(ReadingOut)
    app.state.room = room = WaitingRoom(plan.max_waiting)
    # What applies to a download applies to an upload.
    max_s = limits_for_uploads(detector.settings.limits).max_download_s
    _add_descriptions(app, detector, room)

    @app.post("/score", **SCORE_DOCUMENTATION)
    async def score(request: Request) -> Response:
        """Score one video. Send a form (multipart/form-data) with either a `file` or, if allowed, a `url`."""
        if request.query_params:
            raise refusal(400, "invalid", "query parameters are not supported")
        async with (
            room.place(),
            received(request, folder, max_bytes=plan.max_bytes, max_s=max_s) as upload,
        ):
            if upload.name is None and not plan.allow_addresses:
                raise refusal(403, "forbidden", _NO_ADDRESSES)
            async with room.turn():
                if await request.is_disconnected():
                    return Response(status_code=400)
                work = partial(judge, detector, upload.source, name=upload.name)
                examination = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        result = examination.result
        return Response(result.to_json(), _CODES.get(result.status, 422), media_type="application/json")

    add_result_schema(app)
    return app


def _add_descriptions(app: FastAPI, detector: Detector, room: WaitingRoom) -> None:
    model = without_folders(detector.identity)

    @app.get("/health")
    async def health() -> dict[str, str | int]:
        """Whether the service runs, and how many requests wait."""
        return {"status": "ok", "waiting": room.num_waiting}

    @app.get("/version")
    async def version() -> dict[str, Any]:
        """Versions of the package and of the schema of results, and the weights."""
        return {"version": __version__, "schema_version": SCHEMA_VERSION, "model": vars(model)}

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        said: Any = error.detail
        if not isinstance(said, dict):
            said = {"status": "invalid", "message": str(said)}
        return JSONResponse(said, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return JSONResponse({"status": "error", "message": "an error in the service; see its log"}, 500)
