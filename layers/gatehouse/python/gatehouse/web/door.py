"""The way in for HTTP: a route with a declared requirement, a strict body, a shaped error.

FastAPI finds the route and checks types; everything a caller can notice of it is shaped here.
Routes are `async def` and call boto3 directly: an execution environment serves one request at a
time, so there is nobody for a blocking call to hold up, and no thread to pay for.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from mangum import Mangum
from starlette.exceptions import HTTPException

from gatehouse.core import clock, ids
from gatehouse.core.errors import (
    BadInput,
    GatehouseError,
    Internal,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    Unauthorized,
)
from gatehouse.core.observe import logger
from gatehouse.core.principal import Principal
from gatehouse.core.request import Answered, Call
from gatehouse.dynamo import idempotency
from gatehouse.web import bodies
from gatehouse.web.surfaces import Surface

_UNREAD = {"host", "x-forwarded-port", "x-forwarded-proto"}

Requirement = Callable[[Principal], None]
Answer = dict[str, Any]


def public(_: Principal) -> None:
    """Require nothing, not even a credential."""


def authenticated(_: Principal) -> None:
    """Require a live key, whatever it may do."""


async def _current_call(request: Request) -> Call:
    call: Call = request.state.call
    return call


Caller = Annotated[Call, Depends(_current_call)]


class Door:
    """One function's routes in one surface's dialect; `handler` is what Lambda calls."""

    def __init__(self, surface: Surface, *, title: str) -> None:
        """Make a door without routes."""
        self.surface = surface
        self.needs: dict[Callable[..., Any], Requirement] = {}
        self.app = FastAPI(
            title=title, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
        )
        self.app.router.route_class = _strict_route(self)
        self.app.add_exception_handler(RequestValidationError, self._on_invalid)
        self.app.add_exception_handler(HTTPException, self._on_http)
        # Off: there is no start-up to run, and an event loop turn per request to save.
        self._mangum = Mangum(self.app, lifespan="off")

    def route(
        self,
        method: str,
        path: str,
        *,
        needs: Requirement,
        status: int = 200,
        **documented: Any,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Add a route. `needs` has no default: a route without a requirement does not start."""

        def register(endpoint: Callable[..., Any]) -> Callable[..., Any]:
            self.needs[endpoint] = needs
            self.app.add_api_route(
                path,
                endpoint,
                methods=[method],
                status_code=status,
                tags=[self.surface.name],
                **documented,
            )
            return endpoint

        return register

    def handler(self, event: dict[str, Any], context: Any) -> Answer:
        """Answer API Gateway's proxy event. Never raises: a raise shows as 502 with our text."""
        started = time.perf_counter()
        request_id = str(event["requestContext"]["requestId"])
        principal: Principal | None = None
        answer: Answer
        try:
            principal = _principal_of(event)
            if principal and principal.limit_state and principal.limit_state.exceeded:
                over = RateLimited(
                    "Rate limit exceeded", retry_after=principal.limit_state.retry_after
                )
                answer = _packed(self.error_response(over, request_id))
            else:
                answer = self._mangum(_readable(event), context)
        except GatehouseError as error:
            answer = _packed(self.error_response(error, request_id))
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets our body
            answer = _packed(self.bug(request_id))
        _add_headers(answer, request_id, principal)
        _log(event, answer, principal, started)
        return answer

    def error_response(self, error: GatehouseError, request_id: str) -> Response:
        """Shape an error in the surface's dialect."""
        headers = {}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, Unauthorized):
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(
            self.surface.error_body(error, request_id), error.status, headers=headers
        )

    def bug(self, request_id: str) -> Response:
        """Log the exception being handled and tell the caller nothing of it."""
        logger.exception("unhandled", request_id=request_id)
        return self.error_response(Internal("Internal Server Error"), request_id)

    def _on_invalid(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        return self.error_response(bodies.explain(error.errors()), _request_id(request))

    def _on_http(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        known = {404: NotFound("Not Found"), 405: MethodNotAllowed("Method Not Allowed")}
        ours = known.get(error.status_code, Internal("Internal Server Error"))
        return self.error_response(ours, _request_id(request))


def _packed(response: Response) -> Answer:
    """Turn a response that did not go through Mangum into what Lambda returns."""
    return {
        "statusCode": response.status_code,
        "headers": {name.title(): value for name, value in response.headers.items()},
        "body": bytes(response.body).decode(),
        "isBase64Encoded": False,
    }


def send(answer: Answered) -> Response:
    """Send an answer, byte for byte as its repeat will be."""
    return Response(answer.text, answer.status, media_type="application/json")


def position(call: Call, listing: str, after: str | None) -> str | None:
    """Read a caller's cursor of one listing; None is the beginning."""
    return None if after is None else ids.read_cursor(listing, call.caller.account_id, after)


def next_cursor(
    response: Response, call: Call, listing: str, *, following: str | None
) -> str | None:
    """Give the cursor of the next page, in the header too; None at the end."""
    if following is None:
        return None
    cursor = ids.cursor(listing, call.caller.account_id, following)
    response.headers["X-Next-Cursor"] = cursor
    return cursor


def _strict_route(door: Door) -> type[APIRoute]:
    class StrictRoute(APIRoute):
        """Check who calls, then how the body is written, before FastAPI looks at its types."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            needs = door.needs[self.endpoint]
            inner = super().get_route_handler()
            reads_body = self.body_field is not None

            async def handle(request: Request) -> Response:
                try:
                    raw = await request.body()
                    request.state.raw_body = raw
                    request.state.call = _call_of(request, needs, raw)
                    if reads_body:
                        value = bodies.parse(raw, request.headers.get("content-type"))
                        request = _JsonRequest(request, value)
                    return await inner(request)
                except idempotency.Replay as replay:
                    again = send(replay.answer)
                    again.headers["Idempotent-Replayed"] = "true"
                    return again
                except GatehouseError as error:
                    return door.error_response(error, _request_id(request))
                except (RequestValidationError, HTTPException):
                    raise
                except Exception:  # noqa: BLE001 - Mangum would answer it in plain text
                    return door.bug(_request_id(request))

            return handle

    return StrictRoute


class _JsonRequest(Request):
    """A request whose body is read already. FastAPI parses one only where a type announces it."""

    def __init__(self, request: Request, value: Any) -> None:
        headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
        headers.append((b"content-type", b"application/json"))
        super().__init__({**request.scope, "headers": headers}, request.receive)
        self._value = value

    async def body(self) -> bytes:
        return b"{}"  # anything but empty, which FastAPI would take for missing

    async def json(self) -> Any:
        return self._value


def _call_of(request: Request, needs: Requirement, raw: bytes) -> Call:
    event = request.scope["aws.event"]
    now = clock.now()
    principal = _principal_of(event)
    if needs is not public:
        if principal is None:
            raise Unauthorized("Unauthorized")
        needs(principal)
    source = event["requestContext"].get("identity", {}).get("sourceIp")
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
        request_id=_request_id(request),
        now=now,
        principal=principal,
        source_address=source,
        guard=guard,
    )


def _principal_of(event: dict[str, Any]) -> Principal | None:
    context = event["requestContext"].get("authorizer")
    return Principal.from_context(context) if context and "key_id" in context else None


def _request_id(request: Request) -> str:
    return str(request.scope["aws.event"]["requestContext"]["requestId"])


def _readable(event: dict[str, Any]) -> dict[str, Any]:
    """Bring an event to what Mangum can read, or raise BadInput.

    Headers without a value are left out, and those that tell host, port and scheme: nothing
    here reads them, and Mangum stumbles over `[::1]:8080`, Starlette over an unknown scheme.
    """
    if event.get("isBase64Encoded"):
        try:
            base64.b64decode(event.get("body") or "", validate=True)
        except ValueError as error:
            raise BadInput("The body is not base64") from error
    single = _headers(event.get("headers"))
    many = _headers(event.get("multiValueHeaders"))
    return {**event, "headers": single, "multiValueHeaders": many}


def _headers(given: dict[str, Any] | None) -> dict[str, Any]:
    return {
        name: value
        for name, value in (given or {}).items()
        if value not in (None, []) and name.lower() not in _UNREAD
    }


def _add_headers(answer: Answer, request_id: str, principal: Principal | None) -> None:
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store"}
    if principal and principal.limit_state:
        state = principal.limit_state
        headers["RateLimit-Limit"] = str(state.limit)
        headers["RateLimit-Remaining"] = str(state.remaining)
        headers["RateLimit-Reset"] = str(state.reset)
    answer["headers"] = {**(answer.get("headers") or {}), **headers}


def _log(
    event: dict[str, Any], answer: Answer, principal: Principal | None, started: float
) -> None:
    logger.info(
        "request",
        request_id=event["requestContext"]["requestId"],
        method=event.get("httpMethod"),
        route=event.get("resource"),
        status=answer["statusCode"],
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
        key_id=principal.key_id if principal else None,
        account_id=principal.account_id if principal else None,
    )
