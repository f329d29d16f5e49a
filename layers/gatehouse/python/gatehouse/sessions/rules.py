"""The cookie of a session, and which place a new session takes. Pure: `now` is an argument."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from gatehouse.core.clock import SECOND, Micros
from gatehouse.sessions.model import LIFE, MOST_SESSIONS, PAGE_HEADER, Session

TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
# What a browser says of requests that the page itself makes. Older ones say nothing.
_OWN_SITE = frozenset({"same-origin", "none"})


def cookie_name(api_id: str) -> str:
    """Return the name of the cookie. It differs between stacks, which may share a host."""
    return f"gatehouse-{api_id}"


def set_cookie(name: str, token: str, *, seconds: int) -> str:
    """Return the Set-Cookie header of a new session; with 0 seconds, of one that ended."""
    return f"{name}={token}; Max-Age={seconds}; Path=/; HttpOnly; Secure; SameSite=Strict"


def find_token(headers: Mapping[str, str], api_id: str) -> str | None:
    """Return the token of a request from the page, None if it has none or is not from the page.

    Names of headers in lower case. Cookies that are set for a parent domain by somebody else
    arrive under the same name: then it is not known which one is ours, and there is none.
    """
    if headers.get(PAGE_HEADER) != "1":
        return None
    if headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        return None
    found = [
        value.strip()
        for name, _, value in (part.partition("=") for part in headers.get("cookie", "").split(";"))
        if name.strip() == cookie_name(api_id)
    ]
    return found[0] if len(found) == 1 else None


def is_well_formed(token: str) -> bool:
    """Check the shape of a token or ticket, so that others cost no table call."""
    return _TOKEN.fullmatch(token) is not None


def digest_of(token: str) -> str:
    """Return the SHA-256 under which the table stores a token: it has 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def expiry(now: Micros, key_expires_at: Micros | None) -> Micros:
    """Return when a new session ends: after twelve hours, and never after its key."""
    return now + LIFE if key_expires_at is None else min(now + LIFE, key_expires_at)


def seconds_left(session: Session, now: Micros) -> int:
    """Return how long the browser keeps the cookie, in whole seconds, rounded down."""
    return max(0, session.expires_at - now) // SECOND


def is_live(session: Session, now: Micros) -> bool:
    """Return whether a session has not expired."""
    return session.expires_at > now


def choose_place(sessions: Sequence[Session], now: Micros) -> tuple[int, Session | None]:
    """Return the place of a new session, and the session that is there now, live or not.

    The first place without a live session; if there is none, that of the oldest.
    """
    by_place = {session.place: session for session in sessions}
    for place in range(MOST_SESSIONS):
        there = by_place.get(place)
        if there is None or not is_live(there, now):
            return place, there
    oldest = min(sessions, key=lambda session: (session.created_at, session.id))
    return oldest.place, oldest
