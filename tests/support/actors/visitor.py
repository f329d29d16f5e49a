"""A caller of the rooms, without HTTP, at a time that a test can move."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from gatehouse.accounts import actions as accounts
from gatehouse.core import clock
from gatehouse.core.clock import Micros
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Tables
from gatehouse.keys.model import KeyRequest, Minted

_numbers = itertools.count(1)


@dataclass
class Visitor:
    """An admin with their own account and first key. `now` is the time of their calls."""

    tables: Tables
    principal: Principal
    minted: Minted
    now: Micros

    @property
    def account_id(self) -> str:
        """The id of the visitor's account."""
        return self.principal.account_id

    def call(self, *, token: str | None = None, body: bytes = b"") -> Call:
        """Return the call of a request; `token` is its Idempotency-Key."""
        guard = idempotency.guard(
            token,
            account=self.account_id,
            identity=self.principal.identity_id,
            method="POST",
            path="/test",
            body=body,
            now=self.now,
        )
        return Call(
            request_id=f"request-{next(_numbers)}",
            now=self.now,
            principal=self.principal,
            source_address="203.0.113.7",
            guard=guard,
        )

    def unlimited(self) -> Visitor:
        """Return the same admin with a key that has no rate limit."""
        return replace(self, principal=replace(self.principal, rate_limit=None, limit_state=None))

    def admit(self, key: str, memory: credentials.Memory | None = None) -> Any:
        """Return the verdict for a key at the visitor's time."""
        return credentials.admit(self.tables.keys, key, memory or credentials.Memory(), self.now)


def visitor(tables: Tables, *, now: Micros | None = None) -> Visitor:
    """Create an account and return its admin."""
    at = clock.now() if now is None else now
    opened = accounts.open_account(
        tables, Call(request_id="request-0", now=at), name="Acme", prefix="hk"
    )
    verdict = credentials.admit(tables.keys, opened.minted.secret, credentials.Memory(), at)
    return Visitor(tables, verdict.principal(), opened.minted, at)


def key_request(**fields: Any) -> KeyRequest:
    """Return a request for a key; its default is full grants."""
    return KeyRequest(**{"name": "made", "prefix": "hk", "default_scopes": ("*",), **fields})
