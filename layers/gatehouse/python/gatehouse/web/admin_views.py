"""Answers of the admin surface: the audit trail, the configuration, and keys that were ended."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class AuditEvent(BaseModel):
    """One event of its chain, exactly as it was hashed.

    Only endings have `recorded_at`; only events of the chain of machines have `chain`.
    """

    id: str
    seq: int
    action: str
    actor: str
    via: str | None
    target: str
    source_address: str | None
    request_id: str
    created_at: str
    recorded_at: str = ""
    chain: str = ""
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    prev_hash: str
    hash: str


class ChainHead(BaseModel):
    """The head of the chain: the number and hash of the newest event."""

    seq: int
    hash: str


class AuditPage(BaseModel):
    """Events, newest first, and heads of chains as they were before the events were read.

    `head` is that of the chain that was asked for, otherwise of administration's.
    """

    head: ChainHead
    machine_head: ChainHead
    events: list[AuditEvent]
    cursor: str | None
    has_more: bool


class ConfigView(BaseModel):
    """The configuration of this stack."""

    embedding_provider: str
    gc_interval_minutes: int
    rate_limit_default: int
    extraction_types: list[str]
    bootstrap_path: str | None
    account_creation: str
    wallet_domains: list[str]
    require_wallet: bool
    version: str


class RotatedKey(BaseModel):
    """The successor. `api_key` is its text, which is shown only here."""

    id: str
    api_key: str


class RevokedKey(BaseModel):
    """The revoked key.

    `ended` lists its descendants, and what they and it made, as far as it ended now; only if that
    was asked for. `live_descendants` is how many keys live on, and is left out if none does.
    `live_identities` are the members whom invites of these keys let in, and who are still active.
    `changed` are webhooks, identities and keys that these keys raised, revived or redirected, and
    that stay so: look at them. `more` is true if the request's time was over before everything had
    ended, and left out otherwise: the rest ends within minutes.
    """

    id: str
    revoked: bool
    ended: list[str] = []
    live_descendants: int = 0
    live_identities: list[str] = []
    changed: list[str] = []
    more: bool = False
