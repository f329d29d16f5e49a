"""Accounts of the end-to-end tests, made through the API where it can make them."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from gatehouse.core import ids
from gatehouse.core.grants import Grants, Permissions
from gatehouse.credentials import writes as credentials
from gatehouse.dynamo.table import Tables, transact
from gatehouse.identities import writes as identities
from gatehouse.identities.model import ClawType, Identity, IdentityType, Membership
from gatehouse.keys import writes as key_writes
from gatehouse.keys.model import NewKey
from support.worlds.deployed_stack import Deployed


@dataclass(frozen=True)
class Tenant:
    """An account of its own and the key of its admin."""

    stack: Deployed
    account_id: str
    identity_id: str
    key_id: str
    key: str

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request with the admin's key."""
        return self.stack.call(method, path, key=self.key, **more)

    def make_key(self, **fields: Any) -> dict[str, Any]:
        """Make a key on the account surface and return the answer, which holds its text."""
        made = self.call("POST", "/v1/api-keys", json={"name": "test", **fields})
        assert made.status_code == 201, made.text
        data: dict[str, Any] = made.json()["data"]
        return data

    def events(self, **query: Any) -> list[dict[str, Any]]:
        """Read the whole audit trail, oldest first."""
        events: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = self.call("GET", "/admin/audit", params={"limit": 100, **query, **after})
            assert page.status_code == 200, page.text
            data = page.json()["data"]
            events += data["events"]
            if not data["has_more"]:
                return events[::-1]
            after = {"after": data["cursor"]}


def open_tenant(stack: Deployed) -> Tenant:
    """Open an account through the public route."""
    body = {"name": f"Tenant {uuid.uuid4().hex[:8]}"}
    made = stack.call_throttled("POST", "/v1/accounts", json=body)
    assert made.status_code == 201, made.text
    data = made.json()["data"]
    key = data["api_key"]["key"]
    me = stack.call("GET", "/v1/whoami", key=key).json()["data"]
    return Tenant(stack, data["account"]["id"], me["identity"]["id"], data["api_key"]["id"], key)


def the_operator(stack: Deployed) -> Tenant:
    """Return the operator's account with the key that the stack was bootstrapped with."""
    me = stack.call("GET", "/v1/whoami", key=stack.admin_key).json()["data"]
    return Tenant(
        stack, me["account"]["id"], me["identity"]["id"], me["key"]["id"], stack.admin_key
    )


def add_member(
    tenant: Tenant,
    *,
    claw_type: ClawType = ClawType.EMPLOYEE,
    scopes: tuple[str, ...] = ("*",),
) -> str:
    """Add a member who is not an admin, and return a key of theirs.

    The rooms write both items directly, as they write an account's first admin: an invite for
    each member would use up the public route's throttle.
    """
    tables = Tables(
        tenant.stack.room_table("KeysTableName"), tenant.stack.room_table("MainTableName")
    )
    now = time.time_ns() // 1000
    grants = Grants(scopes, Permissions())
    member = Identity(
        id=ids.new(now),
        account_id=tenant.account_id,
        name="member",
        type=IdentityType.AGENT,
        is_admin=False,
        claw_type=claw_type,
        membership=Membership.ACTIVE,
        created_at=now,
        ceiling=grants,
    )
    minted, writes = key_writes.prepare(
        tables,
        NewKey("member", "hk", grants, None, 6_000),
        owner=member,
        created_by=tenant.identity_id,
        operator=False,
        now=now,
    )
    transact(tables.main.client, [identities.create(tables.main, member), *writes.values()])
    return minted.secret


def with_wrong_checksum(key: str) -> str:
    """Return the key with its last digit changed."""
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def unknown_key(prefix: str = "hk") -> str:
    """Return a key of the right shape and checksum that no table holds."""
    return credentials.mint(prefix).text
