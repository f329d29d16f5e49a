"""Error responses in the format of a surface."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from gatehouse.core.errors import GatehouseError, Internal
from gatehouse.core.observe import log_failure, logger
from gatehouse.web.gateway_event import base_url_of, request_id_of
from gatehouse.web.surfaces import Surface

_OURS = 500


def error_response(surface: Surface, error: GatehouseError, event: dict[str, Any]) -> Response:
    """Return the response for an error, with the headers that its status requires.

    The cause of a 5xx is logged. A 401 has no WWW-Authenticate: API Gateway renames that header in
    a function's answer. Bad credentials get it from API Gateway's own response; a function refuses
    signatures only.
    """
    request_id = request_id_of(event)
    if error.status >= _OURS:
        log_failure(error, request_id=request_id, code=error.code)
    return _response(surface, error, event)


def bug_response(surface: Surface, event: dict[str, Any]) -> Response:
    """Log the exception that is being handled; return a 500 that does not describe it."""
    logger.exception("unhandled", request_id=request_id_of(event))
    return _response(surface, Internal("Internal Server Error"), event)


def _response(surface: Surface, error: GatehouseError, event: dict[str, Any]) -> Response:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    body = surface.error_body(error, request_id_of(event), base_url_of(event))
    return JSONResponse(body, error.status, headers=headers)
