from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from gatehouse.core.clock import Micros
from gatehouse.core.request import Call, Counted

# The `prev_hash` of an account's first event.
GENESIS = "0" * 64

Event = dict[str, Any]
"""One audit event, exactly as it is hashed, stored and shown. Published: fields are only added.

id ("audit:<uuid>"), seq (1, 2, ...), action, actor, via, target, source_address, request_id,
created_at (RFC 3339, when the change took effect), before, after, prev_hash, hash. An ending also
has recorded_at, when the event was written: it follows its change. An event of the chain of
machines has chain, "machine".
"""

MOST_WRITES = 60
"""How many requests with audited changes an identity that is not an admin makes in a minute."""


class Chain(StrEnum):
    """The two chains of an account, each verified by itself.

    What peers, sign-ins, deliveries and the sweeper do cannot delay what administrators do.
    """

    ADMINISTRATION = "administration"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who makes a change and from where. `via` is the key that was used, None if none was.

    `bounded` is the id of an identity that is not an admin: its changes are counted, once for
    each request, which `counted` is of.
    """

    actor: str
    request_id: str
    source_address: str | None = None
    via: str | None = None
    chain: Chain = Chain.ADMINISTRATION
    bounded: str | None = None
    counted: Counted = field(default_factory=Counted, compare=False, repr=False)

    @classmethod
    def of(cls, call: Call, *, chain: Chain = Chain.ADMINISTRATION) -> Self:
        """Return the origin of a request; on a public route the actor is `anonymous`."""
        caller = call.principal
        return cls(
            actor="anonymous" if caller is None else f"identity:{caller.identity_id}",
            request_id=call.request_id,
            source_address=call.source_address,
            via=None if caller is None else f"api_key:{caller.key_id}",
            chain=chain,
            bounded=None if caller is None or caller.is_admin else caller.identity_id,
            counted=call.counted,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "actor": self.actor,
            "request_id": self.request_id,
            "source_address": self.source_address,
            "via": self.via,
            "chain": self.chain.value,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote."""
        return cls(**{**fields, "chain": Chain(fields["chain"])})


@dataclass(frozen=True, slots=True)
class Change:
    """An audit event before it has its place in the chain. It must not contain a secret."""

    action: str
    target: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None

    @property
    def size(self) -> int:
        """How many bytes it takes in an item, rounded up: as JSON text it is longer."""
        return len(json.dumps(self.to_dict(), default=dict, ensure_ascii=False).encode())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "action": self.action,
            "target": self.target,
            "before": self.before,
            "after": self.after,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote."""
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Entry:
    """A change with its origin and the time at which it took effect.

    `follows`: it took effect before its event was written, as endings do.
    """

    change: Change
    origin: Origin
    at: Micros
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """An ending that took effect and whose events are still to be written.

    `counts` maps the partition key of a counter to how many of its things ended. `id` sorts by
    time.
    """

    id: str
    account_id: str
    at: Micros
    changes: tuple[Change, ...]
    origin: Origin
    counts: Mapping[str, int]

    @property
    def entries(self) -> list[Entry]:
        """Return the entries of the chain that record it."""
        return [Entry(change, self.origin, self.at, follows=True) for change in self.changes]


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
