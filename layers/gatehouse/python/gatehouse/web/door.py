"""HTTP routes of one function: each declares what it requires of the caller, and its surface.

FastAPI finds the route and checks types; whatever a caller can see of it is shaped here. Routes are
`async def` and call boto3 directly: an execution environment serves one request at a time, so a
blocking call delays no other request, and a thread would only cost time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from mangum import Mangum
from starlette.exceptions import HTTPException

from gatehouse.core import ids, settings
from gatehouse.core.errors import (
    GatehouseError,
    Internal,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    Unauthorized,
)
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.web import bodies, gateway_event
from gatehouse.web.error_responses import bug_response, error_response
from gatehouse.web.gateway_event import Answer, answer_of, request_id_of
from gatehouse.web.strict_route import strict_route
from gatehouse.web.surfaces import Surface

Requirement = Callable[[Principal], None]


def public(_: Principal) -> None:
    """Require nothing, not even a credential."""


def authenticated(_: Principal) -> None:
    """Require a valid key, with any scopes."""


async def _current_call(request: Request) -> Call:
    call: Call = request.state.call
    return call


Caller = Annotated[Call, Depends(_current_call)]


class Door:
    """One function's routes in the format of one surface; `handler` is what Lambda calls."""

    def __init__(self, surface: Surface, *, title: str) -> None:
        self.surface = surface
        self.needs: dict[Callable[..., Any], Requirement] = {}
        self.app = FastAPI(
            title=title, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
        )
        self.app.router.route_class = strict_route(surface, self._check)
        self.app.add_exception_handler(RequestValidationError, self._on_invalid)
        self.app.add_exception_handler(HTTPException, self._on_http)
        # Off: there is nothing to start, and it would cost a turn of the event loop per request.
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
        """Add a route; a public GET also answers HEAD.

        `needs` has no default: a route without a requirement does not start.
        """

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
            if method == "GET" and needs is public:
                # Monitors and link checkers ask for the headers alone.
                self.app.add_api_route(
                    path,
                    endpoint,
                    methods=["HEAD"],
                    status_code=status,
                    **{**documented, "include_in_schema": False},
                )
            return endpoint

        return register

    def handler(self, event: dict[str, Any], context: Any) -> Answer:
        """Answer API Gateway's proxy event. HEAD is answered as GET is, body included.

        API Gateway sends no body for HEAD, but takes Content-Length from the one that it has.
        Never raises: API Gateway would answer an exception with 502 and a body of its own.
        """
        started = time.perf_counter()
        request_id = request_id_of(event)
        principal: Principal | None = None
        answer: Answer
        try:
            principal = gateway_event.parse_principal(event)
            _refuse_over_limit(principal)
            answer = self._mangum(gateway_event.readable(event, principal), context)
        except GatehouseError as error:
            answer = answer_of(error_response(self.surface, error, event))
        except Exception:  # noqa: BLE001 - any exception gets the surface's body
            answer = answer_of(bug_response(self.surface, event))
        gateway_event.add_headers(answer, request_id, principal)
        gateway_event.log_request(event, answer, principal=principal, started=started)
        return answer

    def _check(self, endpoint: Callable[..., Any], principal: Principal | None) -> None:
        needs = self.needs[endpoint]
        if needs is public:
            return
        if principal is None:
            raise Unauthorized("Unauthorized")
        needs(principal)

    def _on_invalid(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        return self._error(request, bodies.explain(error.errors()))

    def _on_http(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        known = {404: NotFound("Not Found"), 405: MethodNotAllowed("Method Not Allowed")}
        return self._error(request, known.get(error.status_code, Internal("Internal Server Error")))

    def _error(self, request: Request, error: GatehouseError) -> Response:
        return error_response(self.surface, error, request.scope["aws.event"])


def _refuse_over_limit(principal: Principal | None) -> None:
    state = principal.limit_state if principal else None
    if state and state.exceeded:
        raise RateLimited("Rate limit exceeded", retry_after=state.retry_after)


def position(call: Call, listing: str, after: str | None) -> str | None:
    """Return the position in a caller's cursor of one listing; None is the beginning."""
    if after is None:
        return None
    return ids.read_cursor(listing, call.caller.account_id, after, secret=_cursor_secret())


def next_cursor(
    response: Response, call: Call, listing: str, *, following: str | None
) -> str | None:
    """Return the cursor of the next page and set it as a header; None at the end."""
    if following is None:
        return None
    cursor = ids.cursor(listing, call.caller.account_id, following, secret=_cursor_secret())
    response.headers["X-Next-Cursor"] = cursor
    return cursor


def _cursor_secret() -> str:
    """Return what signs cursors: the table's name, whose random part no caller is shown."""
    return settings.MAIN_TABLE.text()
