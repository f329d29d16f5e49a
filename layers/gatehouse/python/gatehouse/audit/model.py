from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from gatehouse.core.request import Call

# The `prev_hash` of an account's first event.
GENESIS = "0" * 64

Event = dict[str, Any]
"""One audit event, exactly as it is hashed, stored and shown. Published: fields are only added.

id ("audit:<uuid>"), seq (1, 2, ...), action, actor, via, target, source_address, request_id,
created_at (RFC 3339), before, after, prev_hash, hash.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who makes a change and from where. `via` is the key that was used, None if none was."""

    actor: str
    request_id: str
    source_address: str | None = None
    via: str | None = None

    @classmethod
    def of(cls, call: Call) -> Self:
        """Return the origin of a request; on a public route the actor is `anonymous`."""
        caller = call.principal
        return cls(
            actor="anonymous" if caller is None else f"identity:{caller.identity_id}",
            request_id=call.request_id,
            source_address=call.source_address,
            via=None if caller is None else f"api_key:{caller.key_id}",
        )


@dataclass(frozen=True, slots=True)
class Change:
    """An audit event before it has its place in the chain. It must not contain a secret."""

    action: str
    target: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event of an account's chain: its number, hash and bare id."""

    seq: int = 0
    hash: str = GENESIS
    last_id: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A place where a chain is wrong. `seq` and `id` are those of the event found there, if any.

    `position` counts the events that were verified, from 1; 0 where the problem is with none.
    """

    kind: str  # edited, broken, gap or truncated
    seq: int
    id: str | None
    message: str
    position: int = field(default=0, compare=False)
