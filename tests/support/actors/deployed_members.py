"""Members of an account on the deployed stack, let in by invites as their routes do it."""

from __future__ import annotations

from typing import Any

import httpx

from support.actors.deployed_tenant import Tenant
from support.worlds.deployed_stack import Deployed

IDENTITY = {
    "id", "name", "type", "is_admin", "claw_type", "status", "wallet_address", "scopes",
    "permissions", "created_at",
}  # fmt: skip


def invite(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    """Create an invite and return it with its code."""
    made = tenant.call("POST", "/invite/create", json={"name": "new", "type": "human", **fields})
    assert made.status_code == 201, made.text
    data: dict[str, Any] = made.json()["data"]
    return data


def redeem(stack: Deployed, code: str, **fields: Any) -> httpx.Response:
    """Redeem a code, whatever the answer."""
    body = {"code": code, "name": "bo", "type": "human", **fields}
    return stack.call_throttled("POST", "/invite", json=body)


def member(tenant: Tenant, **fields: Any) -> tuple[str, str]:
    """Let somebody in; return the identity's id and key.

    The code is a long one: the limit on guesses of short codes does not count it.
    """
    made = invite(tenant, long=True, **fields)
    joined = redeem(tenant.stack, made["code"])
    assert joined.status_code == 201, joined.text
    data = joined.json()["data"]
    return data["identity"]["id"], data["api_key"]


def change(tenant: Tenant, identity: str, **fields: Any) -> httpx.Response:
    """Change a member as the admin."""
    return tenant.call("PATCH", f"/admin/identities/{identity}", json=fields)
