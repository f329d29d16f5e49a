"""Verify keys for other products: `POST /v1/keys/verify`.

A function of its own, since those products call it on each of their own requests: its IAM role may
read keys and spend requests, and create nothing.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.core.grants import ATOMS, MEMORY_OPERATIONS, SIGNAL_TYPES
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import LONGEST_TEXT, Code
from gatehouse.dynamo import connection
from gatehouse.policy.actions import scope
from gatehouse.policy.model import ACTIONS
from gatehouse.verification import actions as verification
from gatehouse.verification.model import Denial, KeyQuestion, Verified
from gatehouse.web.door import Caller, Door
from gatehouse.web.envelopes import Body, Data
from gatehouse.web.exact import ExactObject
from gatehouse.web.fields import AskedLabel, one_of
from gatehouse.web.surfaces import ACCOUNT

TABLES = connection.tables()
MEMORY = credentials.Memory()

door = Door(ACCOUNT, title="Verify")
handler = door.handler


class Verification(Body):
    """A key that your product received, and what its sender wants to do."""

    key: Annotated[str, Field(max_length=LONGEST_TEXT)]
    scope: Annotated[str, one_of(ATOMS)] | None = None
    action: Annotated[str, one_of(ACTIONS)] | None = None
    signal_type: Annotated[str, one_of(SIGNAL_TYPES)] | None = None
    task_type: AskedLabel | None = None
    ring: AskedLabel | None = None
    memory_op: Annotated[str, one_of(MEMORY_OPERATIONS)] | None = None


class RateLimit(BaseModel):
    """The state of a key's rate limit; seconds are rounded up."""

    limit: int
    remaining: int
    reset: int


class VerifiedKey(BaseModel):
    """The answer. If the caller may not see the key, all but `valid` and `code` is null."""

    valid: bool
    code: Code | Denial
    key_id: str | None
    account_id: str | None
    identity: str | None
    scopes: list[str] | None
    permissions: dict[str, list[str]] | None
    ratelimit: RateLimit | None
    expires_at: str | None
    metadata: ExactObject | None


@door.route("POST", "/v1/keys/verify", needs=scope("services:read"))
async def verify(call: Caller, body: Verification) -> Data[VerifiedKey]:
    """Verify a key for another product. Only VALID spends one of the key's requests."""
    question = KeyQuestion(
        scope=_one_of(body.scope, ATOMS, "scope"),
        action=_one_of(body.action, ACTIONS, "action"),
        signal_type=_one_of(body.signal_type, SIGNAL_TYPES, "signal_type"),
        task_type=body.task_type,
        ring=body.ring,
        memory_op=_one_of(body.memory_op, MEMORY_OPERATIONS, "memory_op"),
    )
    return Data(data=_verified(verification.verify(TABLES, call, body.key, question, MEMORY)))


def _one_of(value: str | None, allowed: tuple[str, ...], field: str) -> str | None:
    if value is not None and value not in allowed:
        raise BadInput(f"{field} must be one of {', '.join(allowed)}", details={"field": field})
    return value


def _verified(verified: Verified) -> VerifiedKey:
    key, state = verified.key, verified.limit_state
    return VerifiedKey(
        valid=verified.code is Code.VALID,
        code=verified.code,
        key_id=key.id if key else None,
        account_id=key.account_id if key else None,
        identity=f"identity:{key.owner}" if key else None,
        scopes=list(key.grants.scopes) if key else None,
        permissions=key.grants.permissions.to_dict() if key else None,
        ratelimit=RateLimit(limit=state.limit, remaining=state.remaining, reset=state.reset)
        if state
        else None,
        expires_at=rfc3339(key.expires_at) if key and key.expires_at else None,
        metadata=dict(key.metadata) if key else None,
    )
