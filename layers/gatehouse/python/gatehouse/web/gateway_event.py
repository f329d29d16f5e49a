"""API Gateway's proxy event and the response that Lambda returns to it."""

from __future__ import annotations

import base64
import time
from typing import Any

from starlette.responses import Response

from gatehouse.core import settings
from gatehouse.core.errors import BadInput
from gatehouse.core.observe import logger
from gatehouse.core.principal import Principal
from gatehouse.core.request import unique_id
from gatehouse.core.text import is_encodable

Answer = dict[str, Any]  # statusCode, headers, body, isBase64Encoded

# Headers that nothing here reads, and whose values can break the libraries between: Mangum fails
# on the host `[::1]:8080`, Starlette on an unknown scheme.
_UNREAD = {"host", "x-forwarded-port", "x-forwarded-proto"}
_PRINCIPAL = "gatehouse.principal"


def request_id_of(event: dict[str, Any]) -> str:
    """Return the id that the answer shows as X-Request-Id."""
    return str(event["requestContext"]["requestId"])


def base_url_of(event: dict[str, Any]) -> str:
    """Return the URL under which callers reach the API, without a slash at the end.

    That is the setting, otherwise the host and the stage that API Gateway saw. A caller cannot
    set them.
    """
    base = settings.BASE_URL.text().rstrip("/")
    if base:
        return base
    context = event["requestContext"]
    path, whole = str(event.get("path") or ""), str(context.get("path") or "")
    stage = whole.removesuffix(path) if path and whole.endswith(path) else ""
    return f"https://{context['domainName']}{stage}" if context.get("domainName") else ""


def source_address_of(event: dict[str, Any]) -> str | None:
    """Return the address that API Gateway saw; callers cannot set it."""
    address: str | None = event["requestContext"].get("identity", {}).get("sourceIp")
    return address


def parse_principal(event: dict[str, Any]) -> Principal | None:
    """Return the principal that the authorizer passed on; None on public routes."""
    context = event["requestContext"].get("authorizer")
    return Principal.from_context(context) if context and "key_id" in context else None


def readable(event: dict[str, Any], principal: Principal | None) -> dict[str, Any]:
    """Return a copy that Mangum can read and that carries the parsed principal.

    Headers without a value are left out. Raises BadInput for a body that is not base64, or not
    Unicode.
    """
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        try:
            base64.b64decode(body, validate=True)
        except ValueError as error:
            raise BadInput("The body is not base64") from error
    elif not is_encodable(body):
        raise BadInput("The body is not UTF-8", code="VALIDATION_CHARSET")
    single = _headers(event.get("headers"))
    many = _headers(event.get("multiValueHeaders"))
    return {**event, "headers": single, "multiValueHeaders": many, _PRINCIPAL: principal}


def principal_of(event: dict[str, Any]) -> Principal | None:
    """Return the principal that `readable` put into its copy."""
    principal: Principal | None = event[_PRINCIPAL]
    return principal


def _headers(headers: dict[str, Any] | None) -> dict[str, Any]:
    return {
        name: value
        for name, value in (headers or {}).items()
        if value not in (None, []) and name.lower() not in _UNREAD
    }


def answer_of(response: Response) -> Answer:
    """Convert a response that did not go through Mangum into what Lambda returns."""
    return {
        "statusCode": response.status_code,
        "headers": {name.title(): value for name, value in response.headers.items()},
        "body": bytes(response.body).decode(),
        "isBase64Encoded": False,
    }


def add_headers(answer: Answer, request_id: str, principal: Principal | None) -> None:
    """Add the headers that every answer has, and the rate limit's where the key has one."""
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store"}
    if principal and principal.limit_state:
        state = principal.limit_state
        headers["RateLimit-Limit"] = str(state.limit)
        headers["RateLimit-Remaining"] = str(state.remaining)
        headers["RateLimit-Reset"] = str(state.reset)
    answer["headers"] = {**(answer.get("headers") or {}), **headers}


def log_request(
    event: dict[str, Any], answer: Answer, *, principal: Principal | None, started: float
) -> None:
    """Write the request's one log line; `started` is from `time.perf_counter`."""
    logger.info(
        "request",
        request_id=request_id_of(event),
        extended_id=unique_id(event["requestContext"]),
        method=event.get("httpMethod"),
        route=event.get("resource"),
        status=answer["statusCode"],
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
        key_id=principal.key_id if principal else None,
        account_id=principal.account_id if principal else None,
    )
