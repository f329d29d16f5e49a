"""Nonces of messages that wallets sign: made here, and marked as used with what they allow."""

from __future__ import annotations

import secrets

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unauthorized
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Table, Write
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Purpose
from gatehouse.wallets import rules, store
from gatehouse.wallets.model import Signed


def nonce_secret(table: Table, vault: Vault) -> str:
    """Read the stack's own secret that signs nonces. The first call creates it."""
    return vaults.stack_secret(table, vault, Purpose.NONCE)


def sign_in_nonce(secret: str, now: Micros) -> str:
    """Make a nonce to sign in, valid once and for ten minutes. Nothing is written."""
    return _nonce(secret, rules.SIGN_IN, now)


def attach_nonce(secret: str, call: Call) -> str:
    """Make a nonce to attach a wallet, valid once, for ten minutes and for this identity alone."""
    return _nonce(secret, attaching(call), call.now)


def use(table: Table, signed: Signed, *, purpose: str, secret: str, now: Micros) -> Write:
    """Return the write that marks a message's nonce as used. Raises Unauthorized for another."""
    ends_at = rules.ends_at(secret, signed.nonce, purpose=purpose)
    if ends_at is None or ends_at <= now:
        raise invalid()
    return store.use_nonce(table, signed.nonce, ends_at=ends_at)


def attaching(call: Call) -> str:
    """Return the purpose of the nonces with which the caller's identity attaches a wallet."""
    return rules.attaching(call.caller.account_id, call.caller.identity_id)


def invalid() -> Unauthorized:
    """Return the error for a message that is not valid, the same whatever is wrong."""
    return Unauthorized(
        "The message, its signature or its nonce is not valid", code="AUTH_INVALID_SIGNATURE"
    )


def _nonce(secret: str, purpose: str, now: Micros) -> str:
    return rules.write_nonce(secret, secrets.token_bytes(rules.RANDOM_BYTES), now, purpose=purpose)
