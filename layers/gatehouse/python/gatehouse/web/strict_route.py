"""A FastAPI route that checks the caller, then parses the body strictly, before FastAPI does."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from gatehouse.core import clock
from gatehouse.core.errors import GatehouseError
from gatehouse.core.principal import Principal
from gatehouse.core.request import Answered, Call, unique_id
from gatehouse.dynamo import idempotency
from gatehouse.web import bodies, exact
from gatehouse.web.error_responses import bug_response, error_response
from gatehouse.web.gateway_event import principal_of, request_id_of, source_address_of
from gatehouse.web.surfaces import Surface

# Raises where the principal, None without a credential, does not meet an endpoint's requirement.
Check = Callable[[Callable[..., Any], Principal | None], None]


def strict_route(surface: Surface, check: Check) -> type[APIRoute]:
    """Return the route class of one function's routes."""

    class StrictRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            endpoint = self.endpoint
            inner = super().get_route_handler()
            has_body = self.body_field is not None
            parameters = [field.alias for field in self.dependant.query_params]

            async def handle(request: Request) -> Response:
                event = request.scope["aws.event"]
                try:
                    raw = await request.body()
                    request.state.raw_body = raw
                    check(endpoint, principal_of(event))
                    request.state.call = _call(request, raw)
                    bodies.check_query(request.query_params.multi_items(), parameters)
                    value = bodies.parse(
                        raw,
                        request.headers.get("content-type"),
                        exact=bool(event.get("isBase64Encoded")),
                    )
                    if has_body:
                        request = _JsonRequest(request, value)
                    else:
                        bodies.refuse_fields(value)
                    return _exact(await inner(request))
                except idempotency.Replay as replay:
                    response = send(replay.answer)
                    response.headers["Idempotent-Replayed"] = "true"
                    return response
                except GatehouseError as error:
                    return error_response(surface, error, event)
                except (RequestValidationError, HTTPException):
                    raise
                except Exception:  # noqa: BLE001 - Mangum would answer in plain text
                    return bug_response(surface, event)

            return handle

    return StrictRoute


def _exact(response: Response) -> Response:
    body = exact.restored(bytes(response.body))
    if len(body) != len(response.body):
        response.body = body
        response.headers["content-length"] = str(len(body))
    return response


def send(answer: Answered) -> Response:
    """Return the response of an answer, byte for byte as its repeat will be."""
    return Response(answer.text, answer.status, media_type="application/json")


class _JsonRequest(Request):
    """A request whose JSON body is parsed already.

    FastAPI parses a body only where a content type announces it.
    """

    def __init__(self, request: Request, value: Any) -> None:
        headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
        headers.append((b"content-type", b"application/json"))
        super().__init__({**request.scope, "headers": headers}, request.receive)
        self._value = value

    async def body(self) -> bytes:
        return b"{}"  # anything but empty, which FastAPI takes for a missing body

    async def json(self) -> Any:
        return self._value


def _call(request: Request, raw: bytes) -> Call:
    event = request.scope["aws.event"]
    principal = principal_of(event)
    source = source_address_of(event)
    now = clock.now()
    guard = idempotency.guard(
        request.headers.get("idempotency-key") if request.method == "POST" else None,
        account=principal.account_id if principal else "public",
        identity=principal.identity_id if principal else str(source),
        method=request.method,
        path=request.url.path,
        body=raw,
        now=now,
    )
    return Call(
        request_id=unique_id(event["requestContext"]),
        shown_id=request_id_of(event),
        now=now,
        principal=principal,
        source_address=source,
        guard=guard,
    )
