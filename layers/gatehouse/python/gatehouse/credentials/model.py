from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants
from gatehouse.core.principal import Principal, RateLimitState

SERVICES_PREFIX = "hb"
ACCOUNT_PREFIX = "hk"
ADMIN_PREFIX = "chorus"

LONGEST_TEXT = 10_240  # characters of a text that may be a key: no header has more

# The query parameters that may carry the key of a WebSocket, in the order in which they count.
SOCKET_PARAMETERS = ("token", "access_token", "api_key")


class Code(StrEnum):
    """The result for one key. Where several apply, the first in this order is returned."""

    VALID = "VALID"
    NOT_FOUND = "NOT_FOUND"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    DISABLED = "DISABLED"
    RATE_LIMITED = "RATE_LIMITED"


@dataclass(frozen=True, slots=True)
class Owner:
    """The copy of the owning identity in the looked-up item.

    `version` is the identity's: an older version never overwrites a newer one.
    """

    identity_id: str
    is_admin: bool
    claw_type: str
    membership: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """The two numbers of GCRA, in microseconds.

    `interval` is the time that one request uses up. `refill` is twice the interval minus the
    window: a request with an unused key sets the earliest next moment to now + `refill`. It is
    negative for every limit above two.
    """

    interval: Micros
    refill: Micros


@dataclass(frozen=True, slots=True)
class Credential:
    """The looked-up item of a key. It holds the key's SHA-256 (`digest`), never the key.

    `rate_limit` is requests per minute, None for no limit; `tat` is GCRA's theoretical arrival
    time, None until the first limited request. `ended` is True after a revocation without grace,
    so that an authorizer whose clock is slow refuses the key too.

    `successor` is the digest of the key that a rotation with a grace created: this key then counts
    in the successor's limit. The successor's item has the other side: `predecessor` is this key's
    digest, `predecessor_until` the end of its grace. The latter is None once this key's own item
    changed: then an authorizer must read that item again before it admits this key.
    """

    digest: str
    key_id: str
    account_id: str
    key_prefix: str
    owner: Owner
    grants: Grants
    operator: bool
    enabled: bool = True
    rate_limit: int | None = None
    expires_at: Micros | None = None
    revoked_at: Micros | None = None
    ended: bool = False
    tat: Micros | None = None
    last_used_at: Micros | None = None
    successor: str | None = None
    predecessor: str | None = None
    predecessor_until: Micros | None = None
    predecessor_used_at: Micros | None = None


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key that was just generated. `text` is shown once; the other two fields are stored."""

    text: str = field(repr=False)
    digest: str
    shown_prefix: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one key. `credential` is None only if the table has no such key."""

    code: Code
    credential: Credential | None = None
    limit_state: RateLimitState | None = None

    def principal(self) -> Principal:
        """Return the caller. Raises ValueError unless the code is VALID or RATE_LIMITED."""
        credential = self.credential
        if credential is None or self.code not in {Code.VALID, Code.RATE_LIMITED}:
            raise ValueError(f"a verdict {self.code} has no principal")
        return Principal(
            key_id=credential.key_id,
            account_id=credential.account_id,
            identity_id=credential.owner.identity_id,
            key_prefix=credential.key_prefix,
            grants=credential.grants,
            is_admin=credential.owner.is_admin,
            claw_type=credential.owner.claw_type,
            membership=credential.owner.membership,
            operator=credential.operator,
            expires_at=credential.expires_at,
            rate_limit=credential.rate_limit,
            limit_state=self.limit_state,
            key_digest=credential.digest,
        )
