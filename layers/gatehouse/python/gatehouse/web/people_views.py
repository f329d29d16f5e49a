"""Answers of the admin surface that show invites, identities and the policy."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class InviteView(BaseModel):
    """An invite. `redeemed` is true once it has no uses left.

    `code` is null if the invite allows more than the caller's own key.
    """

    id: str
    code: str | None
    name: str
    type: str
    scopes: list[str]
    permissions: dict[str, list[str]]
    max_uses: int
    uses: int
    redeemed: bool
    redeemed_by: str | None
    created_by: str
    created_by_key: str | None
    created_at: str
    redeemed_at: str | None
    expires_at: str


class IdentityView(BaseModel):
    """An identity with its membership and its ceiling."""

    id: str
    name: str
    type: str
    is_admin: bool
    claw_type: str
    status: str
    wallet_address: str | None
    scopes: list[str]
    permissions: dict[str, list[str]]
    created_at: str


class MadeView(BaseModel):
    """The ids of webhooks, peers and open invites that an identity made."""

    webhooks: list[str]
    peers: list[str]
    invites: list[str]


class RuleView(BaseModel):
    """One rule of the policy."""

    name: str
    order: int
    effect: str
    description: str


class PolicyView(BaseModel):
    """The rules in the order of evaluation; the first one that applies decides."""

    rules: list[RuleView]


class DecisionView(BaseModel):
    """The outcome, the deciding rule, the reasons, and the smallest change that would allow it."""

    allowed: bool
    rule: str
    reasons: list[str]
    would_allow: dict[str, Any]
