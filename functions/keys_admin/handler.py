"""Keys, the audit trail and the configuration, on the admin surface: `{"data", "meta"}`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Response
from pydantic import BaseModel, Field

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Chain, Head
from gatehouse.core import ids, settings
from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.core.request import Call
from gatehouse.core.unset import UNSET
from gatehouse.credentials.model import ADMIN_PREFIX
from gatehouse.dynamo import connection
from gatehouse.keys import actions as keys
from gatehouse.keys import lists as key_lists
from gatehouse.keys import rotation
from gatehouse.keys.model import (
    LONGEST_GRACE,
    MOST_PER_MINUTE,
    Key,
    KeyFilter,
    KeyRequest,
    KeyStatus,
    Minted,
)
from gatehouse.policy import actions as policy
from gatehouse.policy.model import MANAGE
from gatehouse.revocation import actions as revocation
from gatehouse.web import bodies, reference
from gatehouse.web.admin_views import (
    AuditEvent,
    AuditPage,
    ChainHead,
    ConfigView,
    RevokedKey,
    RotatedKey,
)
from gatehouse.web.door import Caller, Door, next_cursor, position
from gatehouse.web.envelopes import Answer, Body, Meta, PermissionLists, answer
from gatehouse.web.fields import (
    After,
    Between,
    Limit,
    Moment,
    Name,
    Scopes,
    id_in_path,
    id_of,
    read_id,
)
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()
KEY_LISTING = "admin:keys"
AUDIT_LISTING = "admin:audit"

door = Door(ADMIN, title="Admin")
handler = door.handler
manage = policy.require(MANAGE)


class NewKey(Body):
    """A key to create for an identity."""

    owner: Annotated[str, id_of("identity")] = Field(
        examples=["identity:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"]
    )
    name: Name = "default"
    scopes: Scopes | None = Field(None, description="Default: everything.")
    permissions: PermissionLists = PermissionLists()
    expires_at: Moment | None = None
    rate_limit: Annotated[int, Between(1, MOST_PER_MINUTE)] | None = Field(
        None, description="Requests per minute; null for no limit."
    )


class Rotation(Body):
    """How long the old key works on."""

    grace_seconds: Annotated[int, Between(0, LONGEST_GRACE)] = Field(
        0, description=f"0 to {LONGEST_GRACE} ({LONGEST_GRACE // 86_400} days)."
    )


class KeyView(BaseModel):
    """A key in lists, without its hash.

    `parent` is the key that created or rotated it, null if no key did.
    """

    id: str
    owner: str
    name: str
    key_prefix: str
    permissions: dict[str, list[str]]
    ring_scopes: list[str]
    scopes: list[str]
    created_by: str
    parent: str | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    rate_limit: int | None
    revoked: bool
    revoked_at: str | None


class CreatedKey(KeyView):
    """A new key. `api_key` is its text, which is shown only here."""

    api_key: str


class Revoke(Body):
    """What else to revoke."""

    descendants: bool = Field(
        default=False,
        description="Also end all that they made: keys, webhooks, invites, peers and wallets.",
    )


class Revocation(Answer[RevokedKey]):
    """The answer to a revocation. The contract has `revoked` in both places."""

    revoked: bool


@door.route("POST", "/admin/api-keys", needs=manage, status=201)
async def create(call: Caller, body: NewKey) -> Answer[CreatedKey]:
    """Create an API key for an identity. `api_key` is shown here and never again."""
    owner = ids.read(body.owner, kind="identity")
    if owner is None:
        raise BadInput("owner must be an identity's id", details={"field": "owner"})
    minted = keys.create(
        TABLES,
        call,
        KeyRequest(
            name=body.name,
            prefix=ADMIN_PREFIX,
            default_scopes=("*",),
            scopes=body.scopes,
            permissions=body.permissions.named(),
            expires_at=bodies.moment(body.expires_at, field="expires_at"),
            rate_limit=body.rate_limit if "rate_limit" in body.model_fields_set else UNSET,
            owner=owner,
        ),
    )
    return answer(call, CreatedKey(**_view(minted.key, call), api_key=minted.secret))


@door.route("GET", "/admin/api-keys", needs=manage, response_model_exclude_unset=True)
async def listing(
    call: Caller,
    response: Response,
    limit: Limit = 100,
    after: After = None,
) -> Answer[list[KeyView]]:
    """List the account's API keys, newest first, revoked ones included and marked."""
    page, next_position = key_lists.page(
        TABLES, call, KeyFilter.ALL, limit=limit, after=position(call, KEY_LISTING, after)
    )
    cursor = next_cursor(response, call, KEY_LISTING, following=next_position)
    return answer(call, [KeyView(**_view(key, call)) for key in page], cursor)


@door.route("POST", "/admin/api-keys/{id}/rotate", needs=manage, response_model_exclude_unset=True)
async def rotate(
    call: Caller, id: Annotated[str, id_in_path("api_key")], body: Rotation
) -> Answer[RotatedKey]:
    """Create a successor with the same owner and grants; the old key works for the grace."""
    minted: Minted = rotation.rotate(
        TABLES,
        call,
        read_id(id, "api_key"),
        grace_seconds=body.grace_seconds,
        prefix=ADMIN_PREFIX,
    )
    return answer(call, RotatedKey(id=f"api_key:{minted.key.id}", api_key=minted.secret))


@door.route("POST", "/admin/api-keys/{id}/revoke", needs=manage, response_model_exclude_unset=True)
async def revoke(
    call: Caller, id: Annotated[str, id_in_path("api_key")], body: Revoke
) -> Revocation:
    """Revoke an API key. The very next request with it is refused."""
    revoked = revocation.revoke(TABLES, call, read_id(id, "api_key"), descendants=body.descendants)
    also: dict[str, Any] = {}
    if body.descendants:
        also["ended"] = list(revoked.ended)
    if revoked.live_identities:
        also["live_identities"] = list(revoked.live_identities)
    if revoked.live_descendants:
        also["live_descendants"] = revoked.live_descendants
    if revoked.changed:
        also["changed"] = list(revoked.changed)
    if revoked.more:
        also["more"] = True
    return Revocation(
        data=RevokedKey(id=f"api_key:{revoked.key.id}", revoked=True, **also),
        revoked=True,
        meta=Meta(request_id=call.shown_id),
    )


@door.route("GET", "/admin/audit", needs=manage, response_model_exclude_unset=True)
async def audit_trail(
    call: Caller,
    response: Response,
    limit: Limit = 50,
    after: After = None,
    action: Annotated[str, Field(max_length=64)] | None = None,
    actor: Annotated[str, Field(max_length=128)] | None = None,
    chain: Chain | None = None,
) -> Answer[AuditPage]:
    """Read the audit trail, newest first. A filtered page may be short although there are more.

    `chain` reads one of the two chains; without it both are one list.
    """
    account = call.caller.account_id
    heads = {one: _head(audit.head(TABLES.main, account, one)) for one in Chain}
    events, next_position = audit.page(
        TABLES.main,
        account,
        limit=limit,
        before=position(call, AUDIT_LISTING, after),
        action=action,
        actor=actor,
        chains=tuple(Chain) if chain is None else (chain,),
    )
    cursor = next_cursor(response, call, AUDIT_LISTING, following=next_position)
    page = AuditPage(
        head=heads[chain or Chain.ADMINISTRATION],
        machine_head=heads[Chain.MACHINE],
        events=[AuditEvent(**event) for event in events],
        cursor=cursor,
        has_more=cursor is not None,
    )
    return answer(call, page, cursor)


@door.route("GET", "/admin/config", needs=manage, response_model_exclude_unset=True)
async def config(call: Caller) -> Answer[ConfigView]:
    """Show the configuration of this stack, without secrets."""
    return answer(
        call,
        ConfigView(
            embedding_provider="queue" if settings.EMBEDDING_QUEUE.text() else "none",
            gc_interval_minutes=settings.SWEEP_MINUTES.number(),
            rate_limit_default=settings.DEFAULT_RATE_LIMIT.number(),
            extraction_types=list(settings.EXTRACTION_TYPES.entries()),
            bootstrap_path=settings.BOOTSTRAP_PATH.text() or None,
            account_creation=settings.ACCOUNT_CREATION.text(),
            wallet_domains=list(settings.WALLET_DOMAINS.entries()),
            require_wallet=settings.REQUIRE_WALLET.text() == "true",
            version=reference.VERSION,
        ),
    )


def _head(head: Head) -> ChainHead:
    return ChainHead(seq=head.seq, hash=head.hash)


def _view(key: Key, call: Call) -> dict[str, Any]:
    # During the grace of a rotation `revoked_at` lies in the future: the key is not revoked yet.
    revoked = keys.status(key, call.now) is KeyStatus.REVOKED
    return {
        "id": f"api_key:{key.id}",
        "owner": f"identity:{key.owner}",
        "name": key.name,
        "key_prefix": key.prefix,
        "permissions": key.grants.permissions.to_dict(),
        "ring_scopes": list(key.grants.permissions.ring_scopes),
        "scopes": list(key.grants.scopes),
        "created_by": f"identity:{key.created_by}",
        "parent": f"api_key:{key.parent}" if key.parent else None,
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "last_used_at": rfc3339(key.last_used_at),
        "rate_limit": key.rate_limit,
        "revoked": revoked,
        "revoked_at": rfc3339(key.revoked_at) if revoked else None,
    }
