"""One request as the rooms see it: who, from where, when, and its claim to be done once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatehouse.clock import Micros
from gatehouse.errors import Unauthorized
from gatehouse.principal import Principal

if TYPE_CHECKING:
    # It brings the table along, and models that know a Call are pure.
    from gatehouse.idempotency import Guard


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
