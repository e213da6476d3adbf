# SPDX-License-Identifier: Apache-2.0
"""The description of `POST /score` for OpenAPI. Its results are described by `scanning/result.schema.json`."""

import json
from importlib.resources import files
from typing import Any

from fastapi import FastAPI


_FORM = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The video. Its name is only displayed."},
        "url": {"type": "string", "format": "uri", "description": "Address of a video, if the service allows it."},
    },
    "minProperties": 1,
    "maxProperties": 1,
}
_REFUSAL = {
    "type": "object",
    "required": ["status", "message"],
    "properties": {
        "status": {"type": "string", "description": "The reason as one word."},
        "message": {"type": "string", "description": "The reason as one sentence."},
    },
}


def _said(description: str, *names: str) -> dict[str, Any]:
    schemas = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


# Arguments of the route.
SCORE_DOCUMENTATION: dict[str, Any] = {
    "openapi_extra": {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
    "responses": {
        200: _said("The video was scored.", "Result"),
        400: _said("The request is not a form with one file or address.", "Refusal"),
        403: _said("The service does not fetch addresses.", "Refusal"),
        408: _said("The request took too long to arrive.", "Refusal"),
        413: _said("The request or the video is too large or too long.", "Refusal", "Result"),
        422: _said("The video cannot be scored; `status` and `message` give the reason.", "Result"),
        429: {
            **_said("Too many requests are waiting.", "Refusal"),
            "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
        },
        500: _said("A defect of the service.", "Refusal"),
        503: _said("The service is stopping.", "Refusal"),
        507: _said("The service cannot store the upload.", "Refusal"),
    },
}


def add_result_schema(app: FastAPI) -> None:
    """
    Add the schemas that [`SCORE_DOCUMENTATION`] refers to.

    Args:
        app: The application, with all its routes.
    """
    text = files("deepfake_video.scanning").joinpath("result.schema.json").read_text(encoding="utf-8")
    result = json.loads(text.replace("#/$defs/", "#/components/schemas/"))
    schemas = {**result.pop("$defs"), "Result": result, "Refusal": _REFUSAL}
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
