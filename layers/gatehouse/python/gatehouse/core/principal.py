"""The caller, passed from the authorizer to the handlers as flat strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants

# The one scope that opens a socket of live logs.
SOCKET_SCOPE = "services:read"


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """The state of a rate limit after this request. Seconds are rounded up."""

    limit: int
    remaining: int
    reset: int
    retry_after: int = 0  # above zero: this request is over the limit

    @property
    def exceeded(self) -> bool:
        """True if this request must be answered with 429."""
        return self.retry_after > 0


@dataclass(frozen=True, slots=True)
class Principal:
    """A valid key and its owner. `expires_at` and `rate_limit` are None where it has none.

    `session` is the digest of the session that the caller came with, None if they sent a key.
    `key_digest` is the SHA-256 of the key.
    """

    key_id: str
    account_id: str
    identity_id: str
    key_prefix: str
    grants: Grants
    is_admin: bool
    claw_type: str
    membership: str
    operator: bool
    expires_at: Micros | None = None
    rate_limit: int | None = None
    limit_state: RateLimitState | None = None
    key_digest: str = ""
    session: str | None = None

    def narrowed_to(self, scope: str) -> Self:
        """Return this caller with `scope` as its only scope, or with none if its grants lack it.

        For a WebSocket: there API Gateway refuses an authorizer's answer of more than 8 KB, and
        whole grants can be longer.
        """
        return replace(self, grants=Grants((scope,) if self.grants.opens(scope) else ()))

    def to_context(self) -> dict[str, str]:
        """Return the authorizer's context for API Gateway, which passes strings only."""
        context = {
            "key_id": self.key_id,
            "account_id": self.account_id,
            "identity_id": self.identity_id,
            "key_prefix": self.key_prefix,
            "grants": self.grants.to_text(),
            "is_admin": _flag(self.is_admin),
            "claw_type": self.claw_type,
            "membership": self.membership,
            "operator": _flag(self.operator),
            "key_digest": self.key_digest,
        }
        if self.session is not None:
            context["session"] = self.session
        if self.expires_at is not None:
            context["expires_at"] = str(self.expires_at)
        if self.rate_limit is not None:
            context["rate_limit"] = str(self.rate_limit)
        if self.limit_state is not None:
            state = self.limit_state
            context["limit_state"] = (
                f"{state.limit} {state.remaining} {state.reset} {state.retry_after}"
            )
        return context

    @classmethod
    def from_context(cls, context: Mapping[str, str]) -> Self:
        """Build from what `to_context` returned. Raises KeyError for a missing field."""
        expires_at = context.get("expires_at")
        rate_limit = context.get("rate_limit")
        state = context.get("limit_state")
        return cls(
            key_id=context["key_id"],
            account_id=context["account_id"],
            identity_id=context["identity_id"],
            key_prefix=context["key_prefix"],
            grants=Grants.from_text(context["grants"]),
            is_admin=context["is_admin"] == "true",
            claw_type=context["claw_type"],
            membership=context["membership"],
            operator=context["operator"] == "true",
            expires_at=None if expires_at is None else int(expires_at),
            rate_limit=None if rate_limit is None else int(rate_limit),
            key_digest=context.get("key_digest", ""),
            session=context.get("session"),
            limit_state=None if state is None else RateLimitState(*map(int, state.split())),
        )


def _flag(value: bool) -> str:  # noqa: FBT001 - the value is the whole argument
    return "true" if value else "false"
