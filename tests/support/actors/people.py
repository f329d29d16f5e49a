"""Accounts, their members and their keys, created by the rooms or by HTTP requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gatehouse.accounts import actions as accounts
from gatehouse.core import clock, ids
from gatehouse.core.grants import FULL, Grants
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Tables, transact
from gatehouse.identities import writes as identities
from gatehouse.identities.model import ClawType, Identity, IdentityType, Membership
from support.aws.api_gateway import Front

SOURCE = "203.0.113.7"  # the address that requests come from


@dataclass(frozen=True)
class Holder:
    """A caller: the bare ids of account, identity and key, and the key's text."""

    account_id: str
    identity_id: str
    key_id: str
    key: str


class People:
    """`tenant()` creates an account, `member()` an identity in it, `key_for()` a key of that."""

    def __init__(self, front: Front, tables: Tables) -> None:
        self.front = front
        self.tables = tables

    def tenant(self, name: str = "Acme") -> Holder:
        """Create an account, as its route does, and return its admin with the key `default`."""
        call = Call(request_id="request-0", now=clock.now(), source_address=SOURCE)
        opened = accounts.open_account(self.tables, call, name=name, prefix="hk")
        key = opened.minted.key
        return Holder(key.account_id, key.owner, key.id, opened.minted.secret)

    def member(
        self,
        admin: Holder,
        *,
        is_admin: bool = False,
        claw_type: ClawType = ClawType.EMPLOYEE,
        membership: Membership = Membership.ACTIVE,
        ceiling: Grants = FULL,
    ) -> Identity:
        """Write an identity straight into the table. The counter of admins does not change."""
        now = clock.now()
        identity = Identity(
            id=ids.new(now),
            account_id=admin.account_id,
            name="member",
            type=IdentityType.HUMAN,
            is_admin=is_admin,
            claw_type=claw_type,
            membership=membership,
            created_at=now,
            ceiling=ceiling,
        )
        transact(self.tables.main.client, [identities.create(self.tables.main, identity)])
        return identity

    def key_for(self, admin: Holder, identity: Identity, **fields: Any) -> Holder:
        """Create a key for a member, as the admin."""
        body = {"owner": f"identity:{identity.id}", **fields}
        made = self.front("POST", "/admin/api-keys", key=admin.key, body=body)
        assert made.status == 201, made.text
        data = made.json()["data"]
        return Holder(
            admin.account_id,
            identity.id,
            data["id"].removeprefix("api_key:"),
            data["api_key"],
        )

    def employee(self, admin: Holder, **fields: Any) -> Holder:
        """Add an employee with a key."""
        return self.key_for(admin, self.member(admin), **fields)

    def key(self, holder: Holder, **fields: Any) -> Holder:
        """Create another key of the same identity, on the account surface."""
        body = {"name": "another", **fields}
        made = self.front("POST", "/v1/api-keys", key=holder.key, body=body)
        assert made.status == 201, made.text
        data = made.json()["data"]
        return replace(holder, key_id=data["id"], key=data["key"])
