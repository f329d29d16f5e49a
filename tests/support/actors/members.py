"""Members, wallets and peers, created by calls to the rooms instead of HTTP requests."""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Origin
from gatehouse.aws import clients
from gatehouse.core.clock import Micros
from gatehouse.core.grants import FULL, Grants
from gatehouse.core.request import Answered, Call
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Tables
from gatehouse.federation import actions as federation
from gatehouse.federation import rules as peer_rules
from gatehouse.federation.model import Proof, Received, Trusted
from gatehouse.identities import actions as identities
from gatehouse.identities.model import Identity, IdentityPatch
from gatehouse.invites import actions as invites
from gatehouse.invites import redemption
from gatehouse.invites import writes as invite_writes
from gatehouse.invites.model import Invite, InviteRequest, Redeemed
from gatehouse.keys import actions as keys
from gatehouse.keys.model import Minted
from gatehouse.memberships import actions as memberships
from gatehouse.secrets.actions import Vault
from gatehouse.wallets import actions as wallets
from gatehouse.wallets import rules as wallet_rules
from gatehouse.wallets.model import Signed
from support.actors.visitor import Visitor, key_request, visitor
from support.aws import resources

NONCE_SECRET = "a secret of the tests"
SWEEPER = Origin(actor="system:sweeper", request_id="sweep")

_numbers = itertools.count(1)


def outside(now: Micros, *, token: str | None = None, source: str = "203.0.113.9") -> Call:
    """Make a call without a credential."""
    guard = idempotency.guard(
        token, account="public", identity=source, method="POST", path="/test", body=b"", now=now
    )
    return Call(request_id=f"outside-{next(_numbers)}", now=now, source_address=source, guard=guard)


def invited(caller: Visitor, **fields: Any) -> Invite:
    """Create an invite with a long code; its default is full grants."""
    asked = InviteRequest(**{"name": "new", "type": "human", "long": True, **fields})
    return invites.create(caller.tables, caller.call(), asked)


def redeem_invite(
    tables: Tables,
    invite: Invite,
    *,
    now: Micros,
    signed: Signed | None = None,
    token: str | None = None,
) -> Redeemed:
    """Redeem an invite, with a wallet if `signed` is set."""
    bind = signed and partial(wallets.binding, tables.main, signed, secret=NONCE_SECRET, now=now)
    request = redemption.RedeemRequest(
        code=invite.code,
        name="bo",
        type=invite.type.value,
        wallet_address=signed.address if signed else None,
        bind=bind,
    )
    return redemption.redeem(tables, outside(now, token=token), request)


def visitor_with(tables: Tables, minted: Minted, now: Micros) -> Visitor:
    """Return a visitor who calls with this key."""
    verdict = credentials.admit(tables.keys, minted.secret, credentials.Memory(), now)
    return Visitor(tables, verdict.principal(), minted, now)


def member(caller: Visitor, **fields: Any) -> Visitor:
    """Add a member by an invite."""
    came = redeem_invite(caller.tables, invited(caller, **fields), now=caller.now)
    return visitor_with(caller.tables, came.minted, caller.now)


def identity_of(caller: Visitor) -> Identity:
    """Read a visitor's identity."""
    return identities.get(caller.tables.main, caller.account_id, caller.principal.identity_id)


def key_of(admin: Visitor, owner: Visitor, **fields: Any) -> Minted:
    """Create a key for a member, as the admin."""
    asked = key_request(owner=owner.principal.identity_id, **fields)
    return keys.create(admin.tables, admin.call(), asked)


def identity_patch(**fields: Any) -> IdentityPatch:
    """Make a patch; `ceiling` stands for both of its halves."""
    ceiling: Grants | None = fields.pop("ceiling", None)
    if ceiling is not None:
        fields |= {"scopes": ceiling.scopes, "permissions": ceiling.permissions}
    return IdentityPatch(**fields)


def change(admin: Visitor, target: Visitor, **fields: Any) -> Identity:
    """Change a member, as the admin."""
    patch = identity_patch(**fields)
    return memberships.change(
        admin.tables, admin.call(), target.principal.identity_id, patch
    ).identity


def sweep(tables: Tables, now: Micros) -> int:
    """Run the sweep of memberships."""
    return memberships.sweep(tables, origin=SWEEPER, now=now)


def unlimited_admin(tables: Tables) -> Visitor:
    """Create an account and return its admin, whose key has no rate limit."""
    return visitor(tables).unlimited()


def empty_operator(tables: Tables, now: Micros, *, uses: int = 1) -> Invite:
    """Create the operator's account as `bootstrap --invite` does: without an identity.

    Returns its invite. For more than one use, that is a second invite by the system.
    """
    origin = Origin(actor="system:bootstrap", request_id="bootstrap")
    invite = invites.open_operator(tables, name="operator", origin=origin, now=now)
    if uses == 1:
        return invite
    asked = InviteRequest("first admins", "human", max_uses=uses, long=True)
    wide = replace(
        invites.prepare_for_operator(invite.account_id, asked, grants=FULL, now=now),
        rate_limit=None,
    )
    audit.commit(
        tables.main,
        invite.account_id,
        writes=invite_writes.create(tables.main, wide),
        changes=[invites.creation(wide)],
        origin=origin,
        now=now,
    )
    return wide


def signed(now: Micros, address: str | None = None, *, holder: Visitor | None = None) -> Signed:
    """Return a wallet's checked signature over a new nonce.

    The nonce is for signing in or, with `holder`, for attaching the wallet to that identity.
    """
    purpose = wallet_rules.SIGN_IN
    if holder is not None:
        purpose = wallet_rules.attaching(holder.account_id, holder.principal.identity_id)
    nonce = wallet_rules.write_nonce(NONCE_SECRET, secrets.token_bytes(8), now, purpose=purpose)
    return Signed(address or f"0x{secrets.token_hex(20)}", nonce)


def new_vault() -> Vault:
    """Create a KMS key like the template's, and return a vault with it."""
    return Vault(clients.kms(), resources.make_settings_key())


def trusted(admin: Visitor, vault: Vault, **fields: Any) -> Trusted:
    """Trust a peer, as the admin."""
    asked: dict[str, Any] = {
        "name": "other",
        "endpoint": "https://other.example",
        "allowed_scopes": None,
        "expires_at": None,
        **fields,
    }
    return federation.trust(admin.tables, admin.call(), vault, **asked)


def proof(secret: str, raw: bytes, now: Micros, **fields: Any) -> Proof:
    """Return a peer's proof for a body; `fields` replace parts before the signature."""
    parts: dict[str, Any] = {
        "timestamp": now // 1_000,
        "nonce": secrets.token_hex(16),
        "body_hash": hashlib.sha256(raw).hexdigest(),
        **fields,
    }
    return Proof(signature=peer_rules.sign(secret, method="POST", **parts), **parts)


def received(
    tables: Tables,
    vault: Vault,
    peer_id: str | None,
    shown: Proof | None,
    *,
    now: Micros,
    raw: bytes = b"{}",
    **fields: str,
) -> Received:
    """Receive a peer's signal."""
    said = {"signal_type": "task", "content": "do it", "from_identity": "agent-7", **fields}
    header = json.dumps(asdict(shown)) if shown else ""
    return federation.receive(
        tables,
        outside(now),
        vault,
        peer_id=peer_id,
        proof_header=header,
        raw=raw,
        answered=lambda made: Answered(201, made.receipt),
        **said,
    )
