"""Accounts, their keys and whoami, on the account surface: snake_case, `{"data": ...}`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Response
from pydantic import BaseModel, Field

from gatehouse.accounts import actions as accounts
from gatehouse.accounts.model import Account
from gatehouse.core import ids
from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.core.request import Call
from gatehouse.core.unset import UNSET
from gatehouse.credentials.model import ACCOUNT_PREFIX
from gatehouse.dynamo import connection
from gatehouse.identities import actions as identities
from gatehouse.keys import actions as keys
from gatehouse.keys import lists as key_lists
from gatehouse.keys import model, rotation
from gatehouse.keys.model import (
    LARGEST_METADATA,
    LONGEST_GRACE,
    MOST_PER_MINUTE,
    Key,
    KeyFilter,
    KeyRequest,
    KeyStatus,
)
from gatehouse.policy.actions import scope
from gatehouse.revocation import actions as revocation
from gatehouse.web import bodies
from gatehouse.web.account_views import (
    AccountView,
    CreatedKey,
    FirstKey,
    KeyView,
    ListedKey,
)
from gatehouse.web.door import Caller, Door, authenticated, next_cursor, position, public
from gatehouse.web.envelopes import Body, Data, Page, Patch, PermissionLists
from gatehouse.web.fields import (
    After,
    Between,
    Flag,
    Limit,
    Moment,
    Name,
    Scopes,
    free_form,
    id_in_path,
)
from gatehouse.web.surfaces import ACCOUNT

TABLES = connection.tables()
LISTING = "account:keys"

door = Door(ACCOUNT, title="Accounts")
handler = door.handler


class NewAccount(Body):
    """An account to open."""

    name: Name = Field(examples=["Acme"])


class OpenedAccount(BaseModel):
    """A new account and its first key."""

    account: AccountView
    api_key: FirstKey


class NewKey(Body):
    """A key to create. Only the name is required."""

    name: Name = Field(examples=["production"])
    scopes: Scopes | None = Field(None, description="Default: everything.")
    permissions: PermissionLists = PermissionLists()
    expires_at: Moment | None = None
    rate_limit: Annotated[int, Between(1, MOST_PER_MINUTE)] | None = Field(
        None, description="Requests per minute; null for no limit."
    )
    metadata: Annotated[dict[str, Any], free_form(LARGEST_METADATA)] = Field(default_factory=dict)


class Rotation(Body):
    """How long the old key works on."""

    grace_seconds: Annotated[int, Between(0, LONGEST_GRACE)] = Field(
        0, description=f"0 to {LONGEST_GRACE} ({LONGEST_GRACE // 86_400} days)."
    )


class KeyPatch(Patch):
    """What to change; fields that are left out stay as they are."""

    name: Name = ""
    enabled: bool = True
    expires_at: Moment | None = None
    rate_limit: Annotated[int, Between(1, MOST_PER_MINUTE)] | None = None
    metadata: Annotated[dict[str, Any], free_form(LARGEST_METADATA)] | None = None


class IdentityView(BaseModel):
    """The identity that owns the calling key."""

    id: str
    name: str
    type: str
    is_admin: bool
    claw_type: str
    status: str


class Grants(BaseModel):
    """What the calling key may do."""

    scopes: list[str]
    permissions: dict[str, list[str]]


class WhoAmI(BaseModel):
    """The caller. `operator`: the account is the one that operates the stack."""

    account: AccountView
    operator: bool
    identity: IdentityView
    key: KeyView
    grants: Grants


@door.route("POST", "/v1/accounts", needs=public, status=201)
async def open_account(call: Caller, body: NewAccount) -> Data[OpenedAccount]:
    """Create an account, if the stack allows it. The key is shown here and never again."""
    opened = accounts.open_account(TABLES, call, name=body.name, prefix=ACCOUNT_PREFIX)
    key, text = opened.minted.key, opened.minted.secret
    first = FirstKey(
        id=key.id,
        account_id=key.account_id,
        name=key.name,
        key_prefix=key.prefix,
        created_at=rfc3339(key.created_at),
        key=text,
        plain_key=text,
    )
    return Data(data=OpenedAccount(account=_account(opened.account), api_key=first))


@door.route("POST", "/v1/api-keys", needs=scope("services:write"), status=201)
async def create(call: Caller, body: NewKey) -> Data[CreatedKey]:
    """Create an API key. `key` is shown here and never again."""
    minted = keys.create(
        TABLES,
        call,
        KeyRequest(
            name=body.name,
            prefix=ACCOUNT_PREFIX,
            default_scopes=("*",),
            scopes=body.scopes,
            permissions=body.permissions.named(),
            expires_at=bodies.moment(body.expires_at, field="expires_at"),
            rate_limit=body.rate_limit if "rate_limit" in body.model_fields_set else UNSET,
            metadata=body.metadata,
        ),
    )
    return Data(data=CreatedKey(**_shown(minted.key, call), key=minted.secret))


@door.route("GET", "/v1/api-keys", needs=scope("services:read"), response_model_exclude_unset=True)
async def listing(
    call: Caller,
    response: Response,
    limit: Limit = 100,
    after: After = None,
) -> Page[list[ListedKey]]:
    """List the keys that are not revoked, oldest first."""
    page, next_position = key_lists.page(
        TABLES,
        call,
        KeyFilter.UNREVOKED,
        limit=limit,
        after=position(call, LISTING, after),
        newest_first=False,
    )
    views = [ListedKey(**_listed(key, call)) for key in page]
    cursor = next_cursor(response, call, LISTING, following=next_position)
    return Page(data=views) if cursor is None else Page(data=views, cursor=cursor)


@door.route("DELETE", "/v1/api-keys/{id}", needs=scope("services:write"), status=204)
async def revoke(
    call: Caller, response: Response, id: Annotated[str, id_in_path()], *, descendants: Flag = False
) -> None:
    """Revoke an API key, with the keys that it created if asked. Its next request is refused."""
    revoked = revocation.revoke(TABLES, call, _id(id), descendants=descendants)
    response.headers.update(revoked.headers())


@door.route("POST", "/v1/api-keys/{id}/rotate", needs=scope("services:write"), status=201)
async def rotate(
    call: Caller, id: Annotated[str, id_in_path()], body: Rotation
) -> Data[CreatedKey]:
    """Create a successor; the old key works for the grace, but not past its own expiry."""
    minted = rotation.rotate(
        TABLES, call, _id(id), grace_seconds=body.grace_seconds, prefix=ACCOUNT_PREFIX
    )
    return Data(data=CreatedKey(**_shown(minted.key, call), key=minted.secret))


@door.route("PATCH", "/v1/api-keys/{id}", needs=scope("services:write"))
async def patch(call: Caller, id: Annotated[str, id_in_path()], body: KeyPatch) -> Data[KeyView]:
    """Change a key; null clears an expiry, a rate limit or the metadata."""
    sent = body.model_fields_set
    expires_at = bodies.moment(body.expires_at, field="expires_at")
    changed = model.KeyPatch(
        name=body.name if "name" in sent else UNSET,
        enabled=body.enabled if "enabled" in sent else UNSET,
        expires_at=expires_at if "expires_at" in sent else UNSET,
        rate_limit=body.rate_limit if "rate_limit" in sent else UNSET,
        metadata=(body.metadata or {}) if "metadata" in sent else UNSET,
    )
    return Data(data=KeyView(**_shown(keys.patch(TABLES, call, _id(id), changed), call)))


@door.route("GET", "/v1/whoami", needs=authenticated)
async def whoami(call: Caller) -> Data[WhoAmI]:
    """Show the caller's account, identity and key, and what the key may do."""
    caller = call.caller
    identity = identities.get(TABLES.main, caller.account_id, caller.identity_id)
    return Data(
        data=WhoAmI(
            account=_account(accounts.get(TABLES, caller.account_id)),
            operator=caller.operator,
            identity=IdentityView(
                id=identity.id,
                name=identity.name,
                type=identity.type,
                is_admin=identity.is_admin,
                claw_type=identity.claw_type,
                status=identity.membership,
            ),
            key=KeyView(**_shown(keys.get_own(TABLES, call), call)),
            grants=Grants(
                scopes=list(caller.grants.scopes),
                permissions=caller.grants.permissions.to_dict(),
            ),
        )
    )


def _id(text: str) -> str:
    key_id = ids.read(text)
    if key_id is None:
        raise BadInput("invalid id", details={"field": "id"})
    return key_id


def _account(account: Account) -> AccountView:
    return AccountView(
        id=account.id,
        name=account.name,
        plan=account.plan,
        created_at=rfc3339(account.created_at),
    )


def _listed(key: Key, call: Call) -> dict[str, Any]:
    # During the grace of a rotation `revoked_at` lies in the future: the key is not revoked yet.
    revoked = keys.status(key, call.now) is KeyStatus.REVOKED
    return {
        "id": key.id,
        "account_id": key.account_id,
        "name": key.name,
        "key_prefix": key.prefix,
        "created_at": rfc3339(key.created_at),
        "revoked_at": rfc3339(key.revoked_at) if revoked else None,
    }


def _shown(key: Key, call: Call) -> dict[str, Any]:
    return _listed(key, call) | {
        "enabled": key.enabled,
        "expires_at": rfc3339(key.expires_at),
        "rate_limit": key.rate_limit,
        "metadata": dict(key.metadata),
        "scopes": list(key.grants.scopes),
        "permissions": key.grants.permissions.to_dict(),
    }
