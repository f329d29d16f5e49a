"""What peers and wallets sign, written from the documentation and without our own signing code."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gatehouse.core import clock

if TYPE_CHECKING:
    from support.aws.api_gateway import Front

DOMAIN = "app.example"

# ruff: noqa: PLC0415 - The wallets' libraries take seconds to import, and few tests need them.


def peer_request(
    peer: dict[str, Any], *, body: bytes, sent: bytes | None = None, **parts: Any
) -> tuple[bytes, dict[str, str]]:
    """Prove a body as a peer does; return the body and the two headers.

    `parts` replace `timestamp`, `nonce` or `secret` before the proof is signed, or `peer_id` and
    `proof` as they are sent. `sent` replaces the body after it was signed.
    """
    proof = {
        "timestamp": parts.get("timestamp", clock.now() // 1_000),
        "nonce": parts.get("nonce", uuid.uuid4().hex),
        "body_hash": hashlib.sha256(body).hexdigest(),
    }
    text = "\n".join(("POST", proof["body_hash"], str(proof["timestamp"]), proof["nonce"]))
    secret = parts.get("secret", peer["shared_secret"])
    proof["signature"] = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    headers = {
        "X-Federation-Peer": parts.get("peer_id", peer["peer_id"]),
        "X-Federation-Proof": parts.get("proof", json.dumps(proof)),
    }
    return (body if sent is None else sent), headers


def peer_receipt(peer: dict[str, Any], signal_id: str, body: bytes) -> str:
    """Return the receipt that a peer expects for a body it sent."""
    body_hash = hashlib.sha256(body).hexdigest()
    text = "\n".join(("receipt", signal_id.removeprefix("signal:"), body_hash))
    return hmac.new(peer["shared_secret"].encode(), text.encode(), hashlib.sha256).hexdigest()


def new_wallet() -> Any:
    """Create an Ethereum account with a private key."""
    from eth_account import Account

    return Account.create()


def sign_in_message(
    wallet: Any, *, nonce: str, domain: str, uri: str, **fields: Any
) -> dict[str, str]:
    """Write an EIP-4361 message and sign it with the wallet.

    `fields` replace parts of the message; a moment among them is a datetime.
    """
    from eth_account.messages import encode_defunct
    from siwe import ISO8601Datetime, SiweMessage

    parts = {"issued_at": datetime.fromtimestamp(clock.now() / clock.SECOND, UTC), **fields}
    moments = {
        name: ISO8601Datetime.from_datetime(value)
        for name, value in parts.items()
        if isinstance(value, datetime)
    }
    message = SiweMessage(
        **{
            "domain": domain,
            "address": wallet.address,
            "uri": uri,
            "version": "1",
            "chain_id": 1,
            "nonce": nonce,
            **parts,
            **moments,
        }
    ).prepare_message()
    return {
        "message": message,
        "signature": wallet.sign_message(encode_defunct(text=message)).signature.to_0x_hex(),
    }


def signed(front: Front, wallet: Any, *, key: str | None = None, **fields: Any) -> dict[str, str]:
    """Sign a message with a new nonce from the front door in process.

    It signs in or, with `key`, attaches the wallet to the identity of that key.
    """
    asked = front("POST", "/auth/attach-nonce", key=key) if key else front("GET", "/auth/nonce")
    nonce = asked.json()["data"]["nonce"]
    parts = {"nonce": nonce, "domain": DOMAIN, "uri": f"https://{DOMAIN}/login", **fields}
    return sign_in_message(wallet, **parts)


def proven(peer: dict[str, Any], **fields: Any) -> tuple[str, dict[str, str]]:
    """Return the body of a peer's signal and the two headers that prove it."""
    signal = {"signal_type": "task", "content": "do it", "from_identity": "agent-7", **fields}
    body, headers = peer_request(peer, body=json.dumps(signal).encode())
    return body.decode(), headers
