"""Checked signatures, attaching and detaching a wallet, and signing in with it.

The nonce is marked as used in the same transaction as the change that it allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gatehouse.accounts import actions as accounts
from gatehouse.audit import actions as audit
from gatehouse.audit.model import Chain, Change, Origin
from gatehouse.core import reach, settings
from gatehouse.core.clock import DAY, Micros, rfc3339
from gatehouse.core.errors import Conflict, NotFound, Unavailable
from gatehouse.core.maker import Maker
from gatehouse.core.reach import Reach
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import ADMIN_PREFIX
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Tables, Write
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import Identity, Membership
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.keys.model import NewKey, Succession
from gatehouse.wallets import ending, nonces, rules, store
from gatehouse.wallets.adapters import siwe_message
from gatehouse.wallets.model import Signed, SignedIn, Wallet

SIGN_IN_LIFE: Micros = DAY


def check_message(
    message: str, signature: str, *, domains: Sequence[str], chain_ids: Sequence[str], now: Micros
) -> Signed:
    """Check an EIP-4361 message and its EIP-191 signature (hex). The nonce is checked later.

    Raises Unauthorized, with the same message whatever is wrong.
    """
    try:
        signed = siwe_message.check(
            message, signature, domains=domains, chain_ids=chain_ids, now=now
        )
    except siwe_message.NotValid as error:
        raise nonces.invalid() from error
    # A wallet shows its user the URI, too: it must be one of ours, not only the domain.
    if not all(rules.is_own_uri(uri, domains) for uri in signed.uris):
        raise nonces.invalid()
    return signed


def binding(
    table: Table,
    signed: Signed,
    member: Identity,
    *,
    maker: Maker,
    expires_at: Micros | None,
    rate_limit: int | None,
    secret: str,
    now: Micros,
) -> Mapping[str, Write]:
    """Return the writes that bind a wallet to a new member and mark the nonce as used.

    `maker` made the invite. `expires_at` and `rate_limit` are those of the member's first key.
    Later keys from signing in never exceed them. Raises Unauthorized where the nonce is not valid.
    """
    wallet = Wallet(
        signed.address,
        member.account_id,
        member.id,
        expires_at=expires_at,
        rate_limit=rate_limit,
        maker=maker,
    )
    return {
        "wallet": store.bind(table, wallet),
        "nonce": nonces.use(table, signed, purpose=rules.SIGN_IN, secret=secret, now=now),
    }


def refusal(refused: audit.Refused) -> Exception:
    """Return the error for a refused transaction that had the writes of `binding`."""
    if "nonce" in refused.failed:
        return nonces.invalid()
    return Conflict("The wallet is already attached to an identity", code="WALLET_ATTACHED")


def attach(tables: Tables, call: Call, signed: Signed, *, secret: str) -> Identity:
    """Attach a wallet to the caller's identity.

    Raises GrantsExceeded unless the caller's key has the identity's whole ceiling: signing in
    returns such a key. Raises Conflict where the identity or the wallet is attached already,
    Unauthorized where the nonce is not valid, and Unavailable after too many conflicts.
    """
    caller = call.caller
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        before = identities.get_active(tables.main, caller.account_id, caller.identity_id)
        # Signing in creates keys with the whole ceiling, as long as the wallet is attached.
        reach.check(
            Reach.of(caller), Reach(before.ceiling, expires_at=None, rate_limit=caller.rate_limit)
        )
        if before.wallet_address is not None:
            raise Conflict("The identity already has a wallet", code="WALLET_ATTACHED")
        after = replace(before, wallet_address=signed.address, version=before.version + 1)
        wallet = Wallet(
            signed.address,
            caller.account_id,
            caller.identity_id,
            expires_at=None,  # a caller that expires was refused above
            rate_limit=caller.rate_limit,
            maker=Maker.of(caller),
        )
        try:
            audit.commit(
                tables.main,
                caller.account_id,
                writes={
                    "identity": identity_writes.replace(tables.main, after, seen=before),
                    "wallet": store.bind(tables.main, wallet),
                    "nonce": nonces.use(
                        tables.main,
                        signed,
                        purpose=nonces.attaching(call),
                        secret=secret,
                        now=call.now,
                    ),
                    **key_writes.check_caller(tables.main, call),
                },
                changes=[
                    Change(
                        "identity.attach_wallet",
                        f"identity:{after.id}",
                        before=before.audit_view(),
                        after=after.audit_view(),
                    )
                ],
                origin=Origin.of(call),
                now=call.now,
            )
        except audit.Refused as refused:
            keys.refuse_ended(refused)
            if set(refused.failed) == {"identity"}:
                conflict = refused
                continue
            raise refusal(refused) from refused
        return after
    raise Unavailable from conflict


def detach(tables: Tables, call: Call) -> Identity:
    """Detach the wallet of the caller's identity, and revoke the key of its last sign-in.

    Any key of the identity may do so: it only ends what was allowed. Raises NotFound where there
    is no wallet, and Unavailable after too many conflicts.
    """
    caller = call.caller
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        before = identities.get_active(tables.main, caller.account_id, caller.identity_id)
        wallet = store.find(tables.main, before.wallet_address) if before.wallet_address else None
        if wallet is None:
            raise NotFound("The identity has no wallet", code="WALLET_NOT_FOUND")
        ended = ending.end_previous(tables, wallet, call.now)
        try:
            return ending.unbind(tables, call, wallet, before, ended=ended)
        except audit.Refused as refused:
            conflict = refused
            continue  # the identity changed, somebody signed in, or the key ended meanwhile
    raise Unavailable from conflict


def sign_in(tables: Tables, call: Call, signed: Signed, *, secret: str) -> SignedIn:
    """Make a key with the identity's ceiling for a day, and revoke the previous sign-in key.

    Raises Unauthorized where the wallet, its identity or the nonce is not valid, and Unavailable
    after too many conflicts.
    """
    idempotency.check(tables.main, call.guard)
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        wallet = store.find(tables.main, signed.address)
        if wallet is None or (wallet.expires_at is not None and wallet.expires_at <= call.now):
            raise nonces.invalid()
        identity = identities.get(tables.main, wallet.account_id, wallet.identity_id)
        if identity.membership is not Membership.ACTIVE:
            raise nonces.invalid()
        try:
            return _sign_in(tables, call, signed, wallet, identity, secret=secret)
        except audit.Refused as refused:
            conflict = refused
            if "nonce" in refused.failed:
                raise nonces.invalid() from refused
            full = refused.failed.get("count")
            if full is not None:
                keys.recount_live(tables, wallet.account_id, seen=full, now=call.now)
    raise Unavailable from conflict


def _sign_in(
    tables: Tables,
    call: Call,
    signed: Signed,
    wallet: Wallet,
    identity: Identity,
    *,
    secret: str,
) -> SignedIn:
    until = min(call.now + SIGN_IN_LIFE, wallet.expires_at or call.now + SIGN_IN_LIFE)
    limit = settings.DEFAULT_RATE_LIMIT.number()
    new = NewKey(
        "wallet sign-in",
        ADMIN_PREFIX,
        identity.ceiling,
        until,
        min(limit, wallet.rate_limit or limit),
        wallet=wallet.address,
        succeeds=_used_limit(tables, wallet),
    )
    minted, writes = key_writes.prepare(
        tables,
        new,
        owner=identity,
        created_by=identity.id,
        operator=accounts.get(tables, wallet.account_id).operator,
        now=call.now,
    )
    ended = ending.end_previous(tables, wallet, call.now)
    changes = [key_writes.creation(minted.key), *ended.changes]
    del writes["count"]
    writes |= ended.writes | key_writes.count(
        tables.main, wallet.account_id, made=1 - sum(ended.counts.values())
    )
    writes["owner"] = identity_writes.unchanged(tables.main, identity)
    writes["wallet"] = store.set_sign_in_key(
        tables.main, replace(wallet, sign_in_key=minted.key.id), seen=wallet
    )
    writes["nonce"] = nonces.use(
        tables.main, signed, purpose=rules.SIGN_IN, secret=secret, now=call.now
    )
    signing = Change(
        "identity.sign_in",
        f"identity:{identity.id}",
        after={"wallet_address": signed.address, "until": rfc3339(until)},
    )
    audit.commit(
        tables.main,
        wallet.account_id,
        writes=writes,
        changes=[signing, *changes],
        origin=Origin(
            actor=f"identity:{identity.id}",
            request_id=call.request_id,
            source_address=call.source_address,
            chain=Chain.MACHINE,
            bounded=None if identity.is_admin else identity.id,
        ),
        now=call.now,
        claim=audit.Claim(call.guard, f"api_key:{minted.key.id}") if call.guard else None,
    )
    return SignedIn(identity, minted)


def _used_limit(tables: Tables, wallet: Wallet) -> Succession | None:
    """Return what was used of the previous sign-in key's limit: signing in again resets nothing."""
    if not wallet.sign_in_key:
        return None
    previous = keys.find(tables, wallet.account_id, wallet.sign_in_key)
    if previous is None:
        return None
    credential = credentials.find_by_digest(tables.keys, previous.digest)
    return None if credential is None else Succession(credential.tat)
