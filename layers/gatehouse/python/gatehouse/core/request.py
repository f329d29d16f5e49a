"""One request as the rooms see it: who, from where, when, and its claim to be done once."""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unauthorized
from gatehouse.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Guard:
    """One request's claim on its Idempotency-Key."""

    digest: str
    body_hash: str
    now: Micros


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that holds no secret, as it goes out: HTTP status and JSON text."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """`principal` is None on public routes; `source_address` is API Gateway's own finding."""

    request_id: str
    now: Micros
    principal: Principal | None = None
    source_address: str | None = None
    guard: Guard | None = None

    @property
    def caller(self) -> Principal:
        """Name the caller of a route that needs one."""
        if self.principal is None:
            raise Unauthorized("Unauthorized")
        return self.principal
