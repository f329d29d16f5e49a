"""Error responses in the format of a surface."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse

from gatehouse.core.errors import GatehouseError, Internal
from gatehouse.core.observe import logger
from gatehouse.web.surfaces import Surface


def error_response(surface: Surface, error: GatehouseError, request_id: str) -> Response:
    """Return the response for an error, with the headers that its status requires.

    A 401 has no WWW-Authenticate: API Gateway renames that header in a function's answer. Bad
    credentials get it from API Gateway's own response; a function refuses signatures only.
    """
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(surface.error_body(error, request_id), error.status, headers=headers)


def bug_response(surface: Surface, request_id: str) -> Response:
    """Log the exception that is being handled; return a 500 that does not describe it."""
    logger.exception("unhandled", request_id=request_id)
    return error_response(surface, Internal("Internal Server Error"), request_id)
