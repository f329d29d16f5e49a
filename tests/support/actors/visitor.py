"""Calls into the rooms, without HTTP: who calls, and when."""

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
    """An admin of an account of its own, with its first key, at a moment that can be moved."""

    tables: Tables
    principal: Principal
    minted: Minted
    now: Micros

    @property
    def account_id(self) -> str:
        """Name the account."""
        return self.principal.account_id

    def call(self, *, token: str | None = None, body: bytes = b"") -> Call:
        """Make a request's call; with `token`, under that Idempotency-Key."""
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
        """See the same admin as one whose key has no rate limit."""
        return replace(self, principal=replace(self.principal, rate_limit=None, limit_state=None))

    def admit(self, key: str, memory: credentials.Memory | None = None) -> Any:
        """Judge a key now."""
        return credentials.admit(self.tables.keys, key, memory or credentials.Memory(), self.now)


def visitor(tables: Tables, *, now: Micros | None = None) -> Visitor:
    """Open an account and call as its admin."""
    at = clock.now() if now is None else now
    opened = accounts.open_account(
        tables, Call(request_id="request-0", now=at), name="Acme", prefix="hk"
    )
    verdict = credentials.admit(tables.keys, opened.minted.secret, credentials.Memory(), at)
    return Visitor(tables, verdict.principal(), opened.minted, at)


def wish(**fields: Any) -> KeyRequest:
    """Ask for a key, for everything unless said otherwise."""
    return KeyRequest(**{"name": "made", "prefix": "hk", "default_scopes": ("*",), **fields})
