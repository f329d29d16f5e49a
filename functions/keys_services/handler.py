"""API keys on the services surface: camelCase fields, bare bodies."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import BaseModel, Field

from gatehouse.core import ids
from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.core.request import Call
from gatehouse.core.unset import UNSET
from gatehouse.credentials.model import SERVICES_PREFIX
from gatehouse.dynamo import connection
from gatehouse.keys import actions as keys
from gatehouse.keys import lists as key_lists
from gatehouse.keys.model import MOST_PER_MINUTE, Key, KeyFilter, KeyRequest, KeyStatus
from gatehouse.policy.actions import scope
from gatehouse.revocation import actions as revocation
from gatehouse.web import bodies
from gatehouse.web.door import Caller, Door, next_cursor, position
from gatehouse.web.envelopes import Body
from gatehouse.web.fields import After, Between, Flag, Limit, Moment, Name, Scopes, id_in_path
from gatehouse.web.surfaces import SERVICES

TABLES = connection.tables()
LISTING = "services:keys"

door = Door(SERVICES, title="Keys")
handler = door.handler


class NewKey(Body):
    """A key to create. Without scopes it opens nothing."""

    name: Name = Field(examples=["billing worker"])
    scopes: Scopes | None = Field(None, examples=[["services:read"]])
    expiresAt: Moment | None = Field(None, examples=["2030-01-01T00:00:00Z"])
    rateLimit: Annotated[int, Between(1, MOST_PER_MINUTE)] | None = Field(
        None, description="Requests per minute; null for no limit."
    )


class KeyView(BaseModel):
    """A key in lists."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    createdBy: str
    createdAt: str
    lastUsedAt: str | None
    expiresAt: str | None
    rateLimit: int | None
    status: KeyStatus


class CreatedKey(KeyView):
    """A new key. `key` is its text, which is shown only here."""

    key: str


@door.route("POST", "/api/auth/keys", needs=scope("services:write"), status=201)
async def create(call: Caller, body: NewKey) -> CreatedKey:
    """Create an API key. `key` is shown here and never again."""
    minted = keys.create(
        TABLES,
        call,
        KeyRequest(
            name=body.name,
            prefix=SERVICES_PREFIX,
            default_scopes=(),
            scopes=body.scopes,
            expires_at=bodies.moment(body.expiresAt, field="expiresAt"),
            rate_limit=body.rateLimit if "rateLimit" in body.model_fields_set else UNSET,
            field_names={"expires_at": "expiresAt", "rate_limit": "rateLimit"},
        ),
    )
    return CreatedKey(**_view(minted.key, call), key=minted.secret)


@door.route("GET", "/api/auth/keys", needs=scope("services:read"))
async def listing(
    call: Caller,
    response: Response,
    status: Annotated[str, Query(pattern="^(active|all)$")] = "active",
    limit: Limit = 100,
    after: After = None,
) -> list[KeyView]:
    """List API keys, newest first. `?status=all` adds revoked and expired ones."""
    which = KeyFilter.ALL if status == "all" else KeyFilter.LIVE
    page, next_position = key_lists.page(
        TABLES, call, which, limit=limit, after=position(call, LISTING, after)
    )
    next_cursor(response, call, LISTING, following=next_position)
    return [KeyView(**_view(key, call)) for key in page]


@door.route("DELETE", "/api/auth/keys/{id}", needs=scope("services:write"), status=204)
async def revoke(
    call: Caller, response: Response, id: Annotated[str, id_in_path()], *, descendants: Flag = False
) -> None:
    """Revoke an API key, with the keys that it created if asked. Its next request is refused."""
    key_id = ids.read(id)
    if key_id is None:
        raise BadInput("Invalid key id", details={"field": "id"})
    revoked = revocation.revoke(TABLES, call, key_id, descendants=descendants)
    response.headers.update(revoked.headers())


def _view(key: Key, call: Call) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.grants.scopes),
        "createdBy": key.created_by,
        "createdAt": rfc3339(key.created_at),
        "lastUsedAt": rfc3339(key.last_used_at),
        "expiresAt": rfc3339(key.expires_at),
        "rateLimit": key.rate_limit,
        "status": keys.status(key, call.now),
    }
