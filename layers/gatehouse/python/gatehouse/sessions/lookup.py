"""Find the key behind the cookie of a session or behind a ticket, for the authorizer.

Kept apart from the actions, which load more: every request waits for the authorizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.dynamo.table import Table
from gatehouse.sessions import rules, store


def find_token(event: Mapping[str, Any]) -> str | None:
    """Return the session's token in a request of the page; None if the request has none."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return rules.find_token(headers, str(event["requestContext"].get("apiId")))


def find_ticket(event: Mapping[str, Any]) -> str | None:
    """Return the ticket in a socket's address; None if it has none."""
    ticket: str | None = (event.get("queryStringParameters") or {}).get("ticket")
    return ticket


def digest_of(token: str) -> str:
    """Return the SHA-256 under which the table stores a token."""
    return rules.digest_of(token)


def find_key(keys: Table, token: str, *, now: Micros) -> str | None:
    """Return the digest of the key that a session belongs to. One table call; raises Unavailable.

    None if the session is unknown, ended or expired.
    """
    if not rules.is_well_formed(token):
        return None
    return store.find_key(keys, rules.digest_of(token), now=now)


def take_ticket(keys: Table, ticket: str, *, now: Micros) -> str | None:
    """Use up a ticket and return the digest of its key. One table call; raises Unavailable.

    None if the ticket is unknown, used or expired.
    """
    if not rules.is_well_formed(ticket):
        return None
    return store.take_ticket(keys, rules.digest_of(ticket), now=now)
