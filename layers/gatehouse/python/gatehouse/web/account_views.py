"""Answers of the account surface that show accounts and their keys."""

from __future__ import annotations

from pydantic import BaseModel

from gatehouse.web.exact import ExactObject


class AccountView(BaseModel):
    """An account."""

    id: str
    name: str
    plan: str
    created_at: str


class FirstKey(BaseModel):
    """An account's first key. `key` and `plain_key` are both its text, which is shown only here."""

    id: str
    account_id: str
    name: str
    key_prefix: str
    created_at: str
    key: str
    plain_key: str


class ListedKey(BaseModel):
    """A key in lists."""

    id: str
    account_id: str
    name: str
    key_prefix: str
    created_at: str
    revoked_at: str | None


class KeyView(ListedKey):
    """A key with all fields that a PATCH may change."""

    enabled: bool
    expires_at: str | None
    rate_limit: int | None
    metadata: ExactObject
    scopes: list[str]
    permissions: dict[str, list[str]]


class CreatedKey(KeyView):
    """A new key. `key` is its text, which is shown only here."""

    key: str
