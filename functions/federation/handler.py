"""Federation: the peers that this instance trusts, and the signals that they send."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import Request, Response
from pydantic import BaseModel, Field

from gatehouse.core import ids
from gatehouse.core.clock import rfc3339
from gatehouse.core.grants import MOST_ENTRIES, SIGNAL_TYPES
from gatehouse.core.request import Answered
from gatehouse.dynamo import connection
from gatehouse.federation import actions as federation
from gatehouse.federation.model import SCOPES, Peer, PeerStatus, Received
from gatehouse.policy import actions as policy
from gatehouse.policy.model import MANAGE
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.signals.model import LONGEST_CONTENT
from gatehouse.web import bodies
from gatehouse.web.door import Caller, Door, public
from gatehouse.web.envelopes import Answer, Body, answer, written
from gatehouse.web.fields import (
    MESSAGE,
    AtMost,
    Moment,
    Name,
    Url,
    id_in_path,
    one_of,
    read_id,
)
from gatehouse.web.strict_route import send
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()

door = Door(ADMIN, title="Federation")
handler = door.handler
manage = policy.require(MANAGE)


PeerScopes = Annotated[list[Annotated[str, one_of(SCOPES)]], AtMost(MOST_ENTRIES)]


class NewPeer(Body):
    """Another instance to trust."""

    name: Name
    endpoint: Url = Field(examples=["https://other.example/federation/inbound"])
    allowed_scopes: PeerScopes | None = Field(
        None, description="signal:* (default) or signal:<type>"
    )
    expires_at: Moment | None = None


class TrustedPeer(BaseModel):
    """A new peer. `shared_secret` is shown here and never again."""

    peer_id: str
    shared_secret: str
    expires_at: str | None


class PeerView(BaseModel):
    """A peer. `status` is active, expired or waiting; `rate_limit` is in signals per minute.

    A peer waits while the admin who trusted it is suspended, removed or demoted.
    """

    id: str
    name: str
    endpoint: str
    status: str
    allowed_scopes: list[str]
    expires_at: str | None
    rate_limit: int
    created_by: str
    created_by_key: str | None
    created_at: str


class RemovedPeer(BaseModel):
    """A removed peer."""

    id: str
    deleted: bool


class InboundSignal(Body):
    """A signal that a peer sends."""

    signal_type: Annotated[str, one_of(SIGNAL_TYPES)]
    content: Annotated[str, Field(max_length=LONGEST_CONTENT, json_schema_extra=MESSAGE)]
    from_identity: Name


class Receipt(BaseModel):
    """The stored signal's id, and an HMAC of it under the shared secret."""

    signal_id: str
    receipt: str


@door.route(
    "POST", "/federation/trust", needs=manage, status=201, response_model_exclude_unset=True
)
async def trust(call: Caller, body: NewPeer) -> Answer[TrustedPeer]:
    """Trust another instance. `shared_secret` is shown here and never again."""
    trusted = federation.trust(
        TABLES,
        call,
        _vault(),
        name=body.name,
        endpoint=body.endpoint,
        allowed_scopes=body.allowed_scopes,
        expires_at=bodies.moment(body.expires_at, field="expires_at"),
    )
    peer = trusted.peer
    return answer(
        call,
        TrustedPeer(
            peer_id=f"peer:{peer.id}",
            shared_secret=trusted.secret,
            expires_at=rfc3339(peer.expires_at),
        ),
    )


@door.route("GET", "/admin/peers", needs=manage, response_model_exclude_unset=True)
async def list_peers(call: Caller) -> Answer[list[PeerView]]:
    """List the peers, oldest first, without their secrets."""
    peers = federation.list_peers(TABLES.main, call.caller.account_id, call.now)
    return answer(call, [_view(peer, status) for peer, status in peers])


@door.route("DELETE", "/admin/peers/{id}", needs=manage, response_model_exclude_unset=True)
async def remove(call: Caller, id: Annotated[str, id_in_path("peer")]) -> Answer[RemovedPeer]:
    """Remove a peer. Its next request is refused."""
    peer_id = read_id(id, "peer")
    peer = federation.remove(TABLES, call, peer_id)
    return answer(call, RemovedPeer(id=f"peer:{peer.id}", deleted=True))


@door.route("POST", "/federation/inbound", needs=public, status=201, response_model=Answer[Receipt])
async def inbound(call: Caller, request: Request, body: InboundSignal) -> Response:
    """Accept a peer's signal. X-Federation-Peer and X-Federation-Proof prove who sent it."""

    def shown(received: Received) -> Answered:
        receipt = Receipt(signal_id=f"signal:{received.signal_id}", receipt=received.receipt)
        return written(answer(call, receipt), status=201)

    received = federation.receive(
        TABLES,
        call,
        _vault(),
        peer_id=ids.read(request.headers.get("x-federation-peer", ""), kind="peer"),
        proof_header=request.headers.get("x-federation-proof", ""),
        raw=request.state.raw_body,
        signal_type=body.signal_type,
        content=body.content,
        from_identity=body.from_identity,
        answered=shown,
    )
    return send(shown(received))


@cache
def _vault() -> Vault:
    return vaults.vault(TABLES.main)


def _view(peer: Peer, status: PeerStatus) -> PeerView:
    return PeerView(
        id=f"peer:{peer.id}",
        name=peer.name,
        endpoint=peer.endpoint,
        status=status,
        allowed_scopes=list(peer.allowed_scopes),
        expires_at=rfc3339(peer.expires_at),
        rate_limit=peer.rate_limit,
        created_by=peer.maker.created_by,
        created_by_key=peer.maker.created_by_key,
        created_at=rfc3339(peer.created_at),
    )
