from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from gatehouse.core.request import Call

# What the first event of an account names as its predecessor's hash.
GENESIS = "0" * 64

Event = dict[str, Any]
"""One audit event, exactly as it is hashed, stored and shown. Published; fields are only added.

id ("audit:<uuid>"), seq (1, 2, ...), action, actor, via, target, source_address, request_id,
created_at (RFC 3339), before, after, prev_hash, hash.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who does it and from where. `via` is the key that was used, None for none."""

    actor: str
    request_id: str
    source_address: str | None = None
    via: str | None = None

    @classmethod
    def of(cls, call: Call) -> Self:
        """Name a request's caller; a public route's is nobody we know."""
        known = call.principal
        return cls(
            actor="anonymous" if known is None else f"identity:{known.identity_id}",
            request_id=call.request_id,
            source_address=call.source_address,
            via=None if known is None else f"api_key:{known.key_id}",
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What is done, before it has a place in the chain. No secret may stand in it."""

    action: str
    target: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of an account's chain: the last event's number, hash and bare id."""

    seq: int = 0
    hash: str = GENESIS
    last_id: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A place where a chain does not hold. `seq` and `id` are the event's, where one is there."""

    kind: str  # edited, broken, gap or truncated
    seq: int
    id: str | None
    message: str
