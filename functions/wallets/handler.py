"""Redeeming invites, and Sign-In with Ethereum.

This is a separate function because the library that checks signatures loads many modules.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gatehouse.audit.actions import Refused
from gatehouse.core import clock, settings
from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import FieldRequired
from gatehouse.core.request import Call
from gatehouse.dynamo import connection
from gatehouse.identities.model import Identity, IdentityType
from gatehouse.invites import redemption
from gatehouse.keys.model import Minted
from gatehouse.secrets import actions as vaults
from gatehouse.wallets import actions as wallets
from gatehouse.wallets import nonces
from gatehouse.wallets.model import LONGEST_MESSAGE, LONGEST_SIGNATURE, Signed
from gatehouse.web.door import Caller, Door, authenticated, public
from gatehouse.web.envelopes import Answer, Body, answer
from gatehouse.web.fields import Label, Name, documented, one_of
from gatehouse.web.people_views import (
    IdentityView,
)
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()

door = Door(ADMIN, title="Wallet")
handler = door.handler


Message = Annotated[str, Field(max_length=LONGEST_MESSAGE)]
Signature = Annotated[str, Field(max_length=LONGEST_SIGNATURE)]
_SOME: dict[str, Any] = {"minLength": 1}
_SIGNED = ("message", "signature")


class Redemption(Body):
    """A new member and the code of the invite. `message` and `signature` attach a wallet."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": [*_SIGNED],
                    "properties": {name: {"type": "string", **_SOME} for name in _SIGNED},
                },
                {"properties": {name: {"enum": [None, ""]} for name in _SIGNED}},
            ]
        }
    )

    code: Label
    name: Name
    type: Annotated[str, one_of(IdentityType)] = Field(
        description="human or agent, as the invite says"
    )
    message: Message | None = None
    signature: Signature | None = None


class SignedMessage(Body):
    """An EIP-4361 message and its EIP-191 signature, hex."""

    message: Annotated[Message, documented(**_SOME)]
    signature: Annotated[Signature, documented(**_SOME)]


class Nonce(BaseModel):
    """Valid once, for ten minutes."""

    nonce: str


class IdentityWithKey(BaseModel):
    """An identity and a new key of it. The key is shown here and never again."""

    identity: IdentityView
    api_key: str
    api_key_id: str
    expires_at: str | None


class Attached(BaseModel):
    """The identity with its wallet, null after it was detached."""

    identity: IdentityView


@door.route("POST", "/invite", needs=public, status=201, response_model_exclude_unset=True)
async def redeem(call: Caller, body: Redemption) -> Answer[IdentityWithKey]:
    """Redeem an invite: a new identity and its key. The first one becomes the admin."""
    needs_wallet = settings.REQUIRE_WALLET.text() == "true" or body.message or body.signature
    signed = _signed(call, body.message, body.signature) if needs_wallet else None
    bind = None
    if signed is not None:
        bind = partial(wallets.binding, TABLES.main, signed, secret=_secret(), now=call.now)
    request = redemption.RedeemRequest(
        code=body.code,
        name=body.name,
        type=body.type,
        wallet_address=signed.address if signed else None,
        bind=bind,
    )
    try:
        redeemed = redemption.redeem(TABLES, call, request)
    except Refused as refused:
        raise wallets.refusal(refused) from refused
    return answer(call, _with_key(redeemed.identity, redeemed.minted))


@door.route("GET", "/auth/nonce", needs=public, response_model_exclude_unset=True)
async def nonce(call: Caller) -> Answer[Nonce]:
    """Return a nonce for a message that signs in. Nothing is stored until it is used."""
    return answer(call, Nonce(nonce=nonces.sign_in_nonce(_secret(), clock.now())))


@door.route("POST", "/auth/attach-nonce", needs=authenticated, response_model_exclude_unset=True)
async def attach_nonce(call: Caller) -> Answer[Nonce]:
    """Return a nonce with which only the caller's identity attaches a wallet."""
    return answer(call, Nonce(nonce=nonces.attach_nonce(_secret(), call)))


@door.route("POST", "/auth/attach-wallet", needs=authenticated, response_model_exclude_unset=True)
async def attach(call: Caller, body: SignedMessage) -> Answer[Attached]:
    """Attach a wallet to the caller's identity, with a nonce from `POST /auth/attach-nonce`.

    The key must have the identity's whole ceiling and no expiry.
    """
    signed = _signed(call, body.message, body.signature)
    identity = wallets.attach(TABLES, call, signed, secret=_secret())
    return answer(call, Attached(identity=_identity(identity)))


@door.route("DELETE", "/auth/wallet", needs=authenticated, response_model_exclude_unset=True)
async def detach(call: Caller) -> Answer[Attached]:
    """Detach the wallet of the caller's identity. The key of its last sign-in is revoked."""
    return answer(call, Attached(identity=_identity(wallets.detach(TABLES, call))))


@door.route("POST", "/auth/siwe-login", needs=public, response_model_exclude_unset=True)
async def sign_in(call: Caller, body: SignedMessage) -> Answer[IdentityWithKey]:
    """Sign in with a wallet: returns a key for a day, and revokes the previous sign-in key."""
    signed = _signed(call, body.message, body.signature)
    result = wallets.sign_in(TABLES, call, signed, secret=_secret())
    return answer(call, _with_key(result.identity, result.minted))


def _signed(call: Call, message: str | None, text: str | None) -> Signed:
    if not message:
        raise FieldRequired("message")
    if not text:
        raise FieldRequired("signature")
    return wallets.check_message(
        message,
        text,
        domains=settings.WALLET_DOMAINS.entries(),
        chain_ids=settings.WALLET_CHAIN_IDS.entries(),
        now=call.now,
    )


@cache
def _secret() -> str:
    """Read the secret that signs nonces. Cached, because it never changes."""
    return nonces.nonce_secret(TABLES.main, vaults.vault(TABLES.main))


def _with_key(identity: Identity, minted: Minted) -> IdentityWithKey:
    expires_at = minted.key.expires_at
    return IdentityWithKey(
        identity=_identity(identity),
        api_key=minted.secret,
        api_key_id=f"api_key:{minted.key.id}",
        expires_at=rfc3339(expires_at),
    )


def _identity(identity: Identity) -> IdentityView:
    return IdentityView(
        id=f"identity:{identity.id}",
        name=identity.name,
        type=identity.type,
        is_admin=identity.is_admin,
        claw_type=identity.claw_type,
        status=identity.membership,
        wallet_address=identity.wallet_address,
        scopes=list(identity.ceiling.scopes),
        permissions=identity.ceiling.permissions.to_dict(),
        created_at=rfc3339(identity.created_at),
    )
