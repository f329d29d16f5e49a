"""Holders of wallets: they attach, detach and sign in by the room's actions."""

from __future__ import annotations

from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.dynamo.table import Tables
from gatehouse.wallets import actions as wallets
from gatehouse.wallets.model import Signed, SignedIn
from support.actors.members import (
    NONCE_SECRET,
    invited,
    outside,
    redeem_invite,
    signed,
    visitor_with,
)
from support.actors.visitor import Visitor


def attach(holder: Visitor, wallet: Signed) -> Any:
    """Attach a wallet with a nonce that is the holder's own."""
    own = signed(holder.now, wallet.address, holder=holder)
    return attach_as_signed(holder, own)


def attach_as_signed(holder: Visitor, wallet: Signed) -> Any:
    """Attach a wallet with the nonce that it signed."""
    return wallets.attach(holder.tables, holder.call(), wallet, secret=NONCE_SECRET)


def sign_in(tables: Tables, address: str, now: Micros, **options: Any) -> SignedIn:
    """Sign in; `options` are `wallet`, the signature to use, and `token`, the Idempotency-Key."""
    wallet = options.get("wallet") or signed(now, address)
    call = outside(now, token=options.get("token"))
    return wallets.sign_in(tables, call, wallet, secret=NONCE_SECRET)


def with_wallet(caller: Visitor, **fields: Any) -> tuple[Visitor, str]:
    """Redeem an invite as a new member with a wallet."""
    wallet = signed(caller.now)
    result = redeem_invite(caller.tables, invited(caller, **fields), now=caller.now, signed=wallet)
    return visitor_with(caller.tables, result.minted, caller.now), wallet.address


def detach(holder: Visitor) -> Any:
    """Detach the wallet of the holder."""
    return wallets.detach(holder.tables, holder.call())
