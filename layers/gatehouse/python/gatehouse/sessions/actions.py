"""Sign in to the page, list and end sessions, and make tickets for sockets."""

from __future__ import annotations

import secrets

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Chain, Change, Origin
from gatehouse.core import ids
from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.errors import Forbidden, NotFound, Unavailable
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Tables
from gatehouse.sessions import rules, store
from gatehouse.sessions.model import TICKET_LIFE, Opened, Session


def sign_in(tables: Tables, call: Call) -> Opened:
    """Open a session of the caller's key; of 20 live ones, the oldest ends.

    Raises Forbidden for a caller who came with a session, and Unavailable.
    """
    caller = call.caller
    if caller.session is not None:
        raise Forbidden("A session cannot open a session: send the key itself")
    idempotency.check(tables.main, call.guard)
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        place, there = rules.choose_place(store.list_of_key(tables.main, caller.key_id), call.now)
        token = secrets.token_urlsafe(rules.TOKEN_BYTES)
        session = Session(
            id=ids.new(call.now),
            key_id=caller.key_id,
            digest=rules.digest_of(token),
            place=place,
            created_at=call.now,
            expires_at=rules.expiry(call.now, caller.expires_at),
            source_address=call.source_address,
        )
        changes = [Change("session.create", _target(session), after=_view(session))]
        if there is not None and rules.is_live(there, call.now):
            changes.append(Change("session.end", _target(there), before=_view(there)))
        try:
            audit.commit(
                tables.main,
                caller.account_id,
                writes=store.create(tables, session, key_digest=caller.key_digest, there=there),
                changes=changes,
                origin=_origin(call),
                now=call.now,
                claim=audit.Claim(call.guard, _target(session)) if call.guard else None,
            )
        except audit.Refused as refused:
            conflict = refused  # somebody else took the place that was free
            continue
        return Opened(session, token)
    raise Unavailable from conflict


def cookie(opened: Opened, *, api_id: str, now: Micros) -> str:
    """Return the Set-Cookie header of a new session."""
    seconds = rules.seconds_left(opened.session, now)
    return rules.set_cookie(rules.cookie_name(api_id), opened.token, seconds=seconds)


def cleared_cookie(*, api_id: str) -> str:
    """Return the Set-Cookie header that removes the cookie."""
    return rules.set_cookie(rules.cookie_name(api_id), "", seconds=0)


def list_live(tables: Tables, call: Call) -> list[Session]:
    """List the live sessions of the caller's key, newest first."""
    sessions = store.list_of_key(tables.main, call.caller.key_id)
    live = [session for session in sessions if rules.is_live(session, call.now)]
    return sorted(live, key=lambda session: session.id, reverse=True)


def end(tables: Tables, call: Call, session_id: str) -> None:
    """End a session of the caller's key. Raises NotFound, and Unavailable if nothing was done."""
    for session in list_live(tables, call):
        if session.id == session_id:
            _end(tables, call, session)
            return
    raise _not_found()


def sign_out(tables: Tables, call: Call) -> None:
    """End the session that the caller came with, if it is still there."""
    for session in list_live(tables, call):
        if session.digest == call.caller.session:
            _end(tables, call, session)


def make_ticket(tables: Tables, call: Call) -> str:
    """Make a ticket with which the caller's key opens one socket within 30 seconds."""
    ticket = secrets.token_urlsafe(rules.TOKEN_BYTES)
    store.put_ticket(
        tables.keys,
        rules.digest_of(ticket),
        key_digest=call.caller.key_digest,
        expires_at=call.now + TICKET_LIFE,
    )
    return ticket


def _end(tables: Tables, call: Call, session: Session) -> None:
    try:
        endings.end(
            tables.main,
            call.caller.account_id,
            writes=store.delete(tables, session),
            changes=[Change("session.end", _target(session), before=_view(session))],
            origin=_origin(call),
            now=call.now,
        )
    except audit.Refused as refused:
        raise _not_found() from refused  # somebody else ended it meanwhile


def _origin(call: Call) -> Origin:
    return Origin.of(call, chain=Chain.MACHINE)


def _target(session: Session) -> str:
    return f"session:{session.id}"


def _view(session: Session) -> dict[str, str]:
    return {"key_id": f"api_key:{session.key_id}", "expires_at": rfc3339(session.expires_at)}


def _not_found() -> NotFound:
    return NotFound("The key has no session with this id", code="SESSION_NOT_FOUND")
