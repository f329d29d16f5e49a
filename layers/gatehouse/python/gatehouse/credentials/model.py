from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants
from gatehouse.core.principal import Principal, RateLimitState

SERVICES_PREFIX = "hb"
ACCOUNT_PREFIX = "hk"
ADMIN_PREFIX = "chorus"


class Code(StrEnum):
    """What can be said of a credential, in the order in which it is said."""

    VALID = "VALID"
    NOT_FOUND = "NOT_FOUND"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    DISABLED = "DISABLED"
    RATE_LIMITED = "RATE_LIMITED"


@dataclass(frozen=True, slots=True)
class Owner:
    """What the looked-up item carries of the identity that owns the key.

    `version` is the identity's: what is older never overwrites what is newer.
    """

    identity_id: str
    is_admin: bool
    claw_type: str
    membership: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """The two numbers of GCRA, in microseconds: a request's interval and its refill.

    `refill` is twice the interval less the window. It is what the earliest next moment is
    ahead of now when a drained key is used, negative for every limit above two.
    """

    interval: Micros
    refill: Micros


@dataclass(frozen=True, slots=True)
class Credential:
    """A key as the authorizer reads it. No secret: the table knows its SHA-256 only.

    `rate_limit` is requests per minute, None for none; `tat` is GCRA's theoretical arrival
    time, None until the first limited request. `ended` is True once it was revoked without a
    grace: then no clock is asked, since a judge's may be behind the revoker's.
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


@dataclass(frozen=True, slots=True)
class Fresh:
    """A key just made: `text` is shown once, the other two are kept."""

    text: str = field(repr=False)
    digest: str
    shown_prefix: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one credential. `credential` is there whenever the table knew it."""

    code: Code
    credential: Credential | None = None
    limit_state: RateLimitState | None = None

    def principal(self) -> Principal:
        """Name the caller. Only of a verdict that is VALID or RATE_LIMITED."""
        known = self.credential
        if known is None or self.code not in {Code.VALID, Code.RATE_LIMITED}:
            raise ValueError(f"no principal behind {self.code}")
        return Principal(
            key_id=known.key_id,
            account_id=known.account_id,
            identity_id=known.owner.identity_id,
            key_prefix=known.key_prefix,
            grants=known.grants,
            is_admin=known.owner.is_admin,
            claw_type=known.owner.claw_type,
            membership=known.owner.membership,
            operator=known.operator,
            expires_at=known.expires_at,
            rate_limit=known.rate_limit,
            limit_state=self.limit_state,
        )
