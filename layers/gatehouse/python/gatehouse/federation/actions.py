"""Trust other instances (peers), and accept the signals that they send with a proof."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Chain, Change, Origin
from gatehouse.core import ids, reach, settings
from gatehouse.core.clock import Micros, ceil_seconds
from gatehouse.core.errors import (
    BadInput,
    BoundReached,
    Forbidden,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from gatehouse.core.maker import Maker
from gatehouse.core.reach import Reach
from gatehouse.core.request import Answered, Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Tables, Write
from gatehouse.federation import removal, rules, store
from gatehouse.federation.model import MOST_PEERS, Peer, PeerStatus, Proof, Received, Trusted
from gatehouse.identities import actions as identities
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.secrets import actions as vaults
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.actions import Vault
from gatehouse.signals import actions as signals


def trust(
    tables: Tables,
    call: Call,
    vault: Vault,
    *,
    name: str,
    endpoint: str,
    allowed_scopes: list[str] | None,
    expires_at: Micros | None,
) -> Trusted:
    """Trust another instance and create the secret shared with it, which is shown only here.

    Its rate limit is that of a key that was created without one. Raises GrantsExceeded if the peer
    reaches further than the caller's key, BadInput, BoundReached and IdempotencyReused.
    """
    idempotency.check(tables.main, call.guard)
    if expires_at is not None and expires_at <= call.now:
        raise BadInput("expires_at must be in the future", details={"field": "expires_at"})
    peer = Peer(
        id=ids.new(call.now),
        account_id=call.caller.account_id,
        name=keys.checked_name(name),
        endpoint=rules.check_endpoint(endpoint),
        allowed_scopes=rules.check_scopes(allowed_scopes),
        expires_at=expires_at,
        created_at=call.now,
        rate_limit=keys.default_rate_limit(settings.DEFAULT_RATE_LIMIT.number(), call.caller),
        maker=Maker.of(call.caller),
    )
    reach.check(Reach.of(call.caller), rules.reach_of(peer))
    secret = secrets.token_hex(rules.SECRET_BYTES)
    writes = store.create(tables.main, peer)
    writes["secret"] = secret_writes.put_new(tables.main, vault, removal.place(peer), secret)
    writes |= key_writes.check_caller(tables.main, call)
    try:
        audit.commit(
            tables.main,
            peer.account_id,
            writes=writes,
            changes=[Change("peer.trust", f"peer:{peer.id}", after=rules.audit_view(peer))],
            origin=Origin.of(call),
            now=call.now,
            claim=audit.Claim(call.guard, f"peer:{peer.id}") if call.guard else None,
        )
    except audit.Refused as refused:
        keys.refuse_ended(refused)
        raise BoundReached(f"An account has at most {MOST_PEERS} peers") from refused
    return Trusted(peer, secret)


def list_peers(table: Table, account_id: str, now: Micros) -> list[tuple[Peer, PeerStatus]]:
    """Return all peers of an account with their status, oldest first; at most `MOST_PEERS`."""
    peers = store.list_peers(table, account_id)
    creators = {
        identity_id: identities.get(table, account_id, identity_id)
        for identity_id in {peer.maker.identity_id for peer in peers}
        if identity_id is not None
    }
    return [
        (peer, rules.status(peer, creators.get(peer.maker.identity_id or ""), now))
        for peer in peers
    ]


def remove(tables: Tables, call: Call, peer_id: str) -> Peer:
    """Remove a peer: its next request is refused. Raises NotFound."""
    unknown = NotFound("Peer not found", code="PEER_NOT_FOUND")
    peer = store.read(tables.main, call.caller.account_id, peer_id)
    if peer is None:
        raise unknown
    if not removal.remove(tables.main, peer, origin=Origin.of(call), now=call.now):
        raise unknown
    return peer


def receive(  # noqa: PLR0913 - a request and its proof
    tables: Tables,
    call: Call,
    vault: Vault,
    *,
    peer_id: str | None,
    proof_header: str,
    raw: bytes,
    signal_type: str,
    content: str,
    from_identity: str,
    answered: Callable[[Received], Answered],
) -> Received:
    """Accept a peer's signal. `raw` is the request's body, which the proof signs.

    Under an Idempotency-Key, which is the peer's, the response that `answered` makes is stored.
    The nonce is marked as used, and the signal counted for the peer's rate limit, in the
    transaction that stores the signal: a replay stores nothing. Raises Unauthorized, with the same
    message whatever is wrong with the peer or its proof; Forbidden where the peer may not send this
    type; BadInput for a bad signal; IdempotencyReused and Replay; RateLimited; and Unavailable
    where other signals of the peer were stored at the same time, too often in a row.
    """
    peer, proof, secret = _authenticate(
        tables.main, vault, peer_id=peer_id, proof_header=proof_header, raw=raw, now=call.now
    )
    if not rules.may_send(peer, signal_type):
        raise Forbidden(
            f"This peer may not send {signal_type[:64]}", code="FEDERATION_SCOPE_DENIED"
        )
    guard = idempotency.sent_by(call.guard, account=peer.account_id, identity=f"peer:{peer.id}")
    idempotency.check(tables.main, guard)
    signal, stored = signals.receive(
        tables.main,
        peer.account_id,
        type=signal_type,
        content=content,
        from_identity=rules.sender(peer, keys.checked_name(from_identity, field="from_identity")),
        peer=f"peer:{peer.id}",
        now=call.now,
    )
    change = Change(
        "signal.receive",
        f"signal:{signal.id}",
        after={"signal_type": signal.type, "from_identity": signal.from_identity},
    )
    received = Received(
        signal.id, rules.receipt(secret, signal_id=signal.id, body_hash=proof.body_hash)
    )
    claim = audit.Claim(guard, f"signal:{signal.id}", answered(received)) if guard else None
    nonce = store.use_nonce(tables.main, peer.id, proof.nonce, ends_at=rules.nonce_ends_at(proof))
    writes = {**stored, "nonce": nonce}
    _commit_within_limit(tables.main, call, peer, writes=writes, change=change, claim=claim)
    return received


def _authenticate(
    table: Table,
    vault: Vault,
    *,
    peer_id: str | None,
    proof_header: str,
    raw: bytes,
    now: Micros,
) -> tuple[Peer, Proof, str]:
    """Return the peer that signed a request, its proof and its secret. Raises Unauthorized."""
    proof = rules.read_proof(proof_header)
    peer = store.find(table, peer_id) if peer_id and proof else None
    if peer is None or proof is None:
        raise _refused()
    secret = vaults.read(table, vault, removal.place(peer))
    if secret is None or not rules.is_valid(proof, secret, method="POST", body=raw, now=now):
        raise _refused()
    _check_status(table, peer, now)
    return peer, proof, secret


def _commit_within_limit(
    table: Table,
    call: Call,
    peer: Peer,
    *,
    writes: Mapping[str, Write],
    change: Change,
    claim: audit.Claim | None,
) -> None:
    """Commit a peer's signal and count it for the peer's rate limit, in one transaction.

    Raises Unauthorized if the nonce was used or the peer was removed, RateLimited, Unavailable.
    """
    origin = Origin(
        actor=f"peer:{peer.id}",
        request_id=call.request_id,
        source_address=call.source_address,
        chain=Chain.MACHINE,
    )
    pace = credentials.pace(peer.rate_limit)
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        _check_limit(peer, call.now)
        spend = store.spend(table, peer, pace=pace, now=call.now)
        try:
            audit.commit(
                table,
                peer.account_id,
                writes={**writes, "peer": spend},
                changes=[change],
                origin=origin,
                now=call.now,
                claim=claim,
            )
        except audit.Refused as refused:
            current = refused.failed.get("peer")
            if "nonce" in refused.failed or current is None:
                raise _refused() from refused
            conflict = refused
            peer = store.from_item(current)  # its other signals used up the limit meanwhile
        else:
            return
    raise Unavailable from conflict


def _check_status(table: Table, peer: Peer, now: Micros) -> None:
    """Raise Unauthorized if a peer has expired, or waits for the identity that trusted it.

    The identity is read and not a part of the transaction: a peer that sends without pause must not
    be able to delay the suspension of that identity.
    """
    creator = identities.get(table, peer.account_id, peer.maker.identity_id or "")
    if rules.status(peer, creator, now) is not PeerStatus.ACTIVE:
        raise _refused()


def _check_limit(peer: Peer, now: Micros) -> None:
    wait = rules.wait(peer, now)
    if wait:
        raise RateLimited("Rate limit exceeded", retry_after=ceil_seconds(wait))


def _refused() -> Unauthorized:
    return Unauthorized("The peer or its proof is not valid", code="FEDERATION_INVALID_PROOF")
