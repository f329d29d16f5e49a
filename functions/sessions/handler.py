"""Signing in to the page: sessions of a key, and tickets for its sockets of live logs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import BaseModel

from gatehouse.core import ids
from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.dynamo import connection
from gatehouse.sessions import actions as sessions
from gatehouse.sessions.model import Session
from gatehouse.web.door import Caller, Door, authenticated
from gatehouse.web.envelopes import Answer, answer
from gatehouse.web.fields import id_in_path
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()

door = Door(ADMIN, title="Sessions")
handler = door.handler


class SessionView(BaseModel):
    """A live session. `current`: the request came with it."""

    id: str
    key_id: str
    created_at: str
    expires_at: str
    source_address: str | None
    current: bool


class Ticket(BaseModel):
    """For `?ticket=` in the address of one socket, within 30 seconds."""

    ticket: str


@door.route("POST", "/auth/session", needs=authenticated, status=204)
async def sign_in(request: Request, call: Caller) -> Response:
    """Open a session of the key that is sent, for the page: a cookie for at most 12 hours.

    Of 20 live sessions of a key, the oldest ends. A session opens no session.
    """
    opened = sessions.sign_in(TABLES, call)
    cookie = sessions.cookie(opened, api_id=_api_id(request), now=call.now)
    return Response(status_code=204, headers={"Set-Cookie": cookie})


@door.route("DELETE", "/auth/session", needs=authenticated, status=204)
async def sign_out(request: Request, call: Caller) -> Response:
    """End the session that the request came with, and clear the cookie."""
    sessions.sign_out(TABLES, call)
    cookie = sessions.cleared_cookie(api_id=_api_id(request))
    return Response(status_code=204, headers={"Set-Cookie": cookie})


@door.route("GET", "/auth/sessions", needs=authenticated, response_model_exclude_unset=True)
async def list_sessions(call: Caller) -> Answer[list[SessionView]]:
    """List the live sessions of the caller's key, newest first: at most 20."""
    live = sessions.list_live(TABLES, call)
    return answer(call, [_view(one, current=one.digest == call.caller.session) for one in live])


@door.route("DELETE", "/auth/sessions/{id}", needs=authenticated, status=204)
async def end(call: Caller, id: Annotated[str, id_in_path("session")]) -> None:
    """End one session of the caller's key."""
    session_id = ids.read(id, kind="session")
    if session_id is None:
        raise BadInput("Invalid session id", code="VALIDATION_INVALID_ID")
    sessions.end(TABLES, call, session_id)


@door.route("POST", "/auth/socket-ticket", needs=authenticated, response_model_exclude_unset=True)
async def ticket(call: Caller) -> Answer[Ticket]:
    """Return a ticket that opens one socket of live logs as the caller's key."""
    return answer(call, Ticket(ticket=sessions.make_ticket(TABLES, call)))


def _api_id(request: Request) -> str:
    event: dict[str, Any] = request.scope["aws.event"]
    return str(event["requestContext"].get("apiId"))


def _view(session: Session, *, current: bool) -> SessionView:
    return SessionView(
        id=f"session:{session.id}",
        key_id=f"api_key:{session.key_id}",
        created_at=rfc3339(session.created_at),
        expires_at=rfc3339(session.expires_at),
        source_address=session.source_address,
        current=current,
    )
