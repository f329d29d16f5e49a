from __future__ import annotations

from dataclasses import dataclass

from gatehouse.core.clock import HOUR, SECOND, Micros

MOST_SESSIONS = 20  # live ones of a key; one more ends the oldest
LIFE: Micros = 12 * HOUR
TICKET_LIFE: Micros = 30 * SECOND

# Only the page sends this header, and another site's form or image cannot.
PAGE_HEADER = "x-gatehouse-page"


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in to the page. It acts as its key, and ends with it on the next request.

    `digest` is the SHA-256 of the token in the cookie; `place` is which of the key's sessions it
    is, from 0.
    """

    id: str
    key_id: str
    digest: str
    place: int
    created_at: Micros
    expires_at: Micros
    source_address: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session and the token for its cookie, which is shown once."""

    session: Session
    token: str
