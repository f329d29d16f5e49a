"""One request as the rooms see it: caller, source address, time, and its Idempotency-Key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unauthorized
from gatehouse.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Guard:
    """The Idempotency-Key of one request: hash of caller and place, hash of the body.

    `place` is the key with the method and path that it was sent to.
    """

    digest: str
    body_hash: str
    now: Micros
    place: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer without a secret: HTTP status and JSON text, as they are sent."""

    status: int
    text: str


@dataclass(slots=True)
class Counted:
    """Whether a request was within the limit of changes; None until it is counted."""

    within: bool | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """`principal` is None on public routes; `source_address` is what API Gateway saw.

    `request_id` is unique, since no caller can choose it: the audit trail and leases use it.
    `shown_id` is the answer's X-Request-Id, which a caller's own header can set.
    """

    request_id: str
    now: Micros
    principal: Principal | None = None
    source_address: str | None = None
    guard: Guard | None = None
    shown_id: str = ""
    counted: Counted = field(default_factory=Counted, compare=False, repr=False)

    @property
    def caller(self) -> Principal:
        """The principal of a route that requires one. Raises Unauthorized without."""
        if self.principal is None:
            raise Unauthorized("Unauthorized")
        return self.principal


def unique_id(context: Mapping[str, Any]) -> str:
    """Return the id that API Gateway itself gave a request, from the event's `requestContext`.

    That is the extended id. Callers can choose the other one, `requestId`, by a header.
    """
    return str(context.get("extendedRequestId") or context["requestId"])
