"""Error responses in the format of a surface."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from gatehouse.core.errors import GatehouseError, Internal
from gatehouse.core.observe import logger
from gatehouse.web.gateway_event import base_url_of, request_id_of
from gatehouse.web.surfaces import Surface


def error_response(surface: Surface, error: GatehouseError, event: dict[str, Any]) -> Response:
    """Return the response to an event for an error, with the headers that its status requires.

    A 401 has no WWW-Authenticate: API Gateway renames that header in a function's answer. Bad
    credentials get it from API Gateway's own response; a function refuses signatures only.
    """
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    body = surface.error_body(error, request_id_of(event), base_url_of(event))
    return JSONResponse(body, error.status, headers=headers)


def bug_response(surface: Surface, event: dict[str, Any]) -> Response:
    """Log the exception that is being handled; return a 500 that does not describe it."""
    logger.exception("unhandled", request_id=request_id_of(event))
    return error_response(surface, Internal("Internal Server Error"), event)
