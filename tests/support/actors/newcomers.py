"""Wallets that really sign and peers that really prove, through the front door of one process."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from eth_account.messages import encode_defunct
from siwe import ISO8601Datetime, SiweMessage

from gatehouse.core import clock
from support.aws.api_gateway import Front

DOMAIN = "app.example"


def signed(front: Front, wallet: Any, **fields: Any) -> dict[str, str]:
    """Write a sign-in message with a fresh nonce and sign it, as a wallet does."""
    nonce = front("GET", "/auth/nonce").json()["data"]["nonce"]
    message = SiweMessage(
        **{
            "domain": DOMAIN,
            "address": wallet.address,
            "uri": f"https://{DOMAIN}/login",
            "version": "1",
            "chain_id": 1,
            "nonce": nonce,
            "issued_at": ISO8601Datetime.from_datetime(
                datetime.fromtimestamp(clock.now() / clock.SECOND, UTC)
            ),
            **fields,
        }
    ).prepare_message()
    return {
        "message": message,
        "signature": wallet.sign_message(encode_defunct(text=message)).signature.to_0x_hex(),
    }


def proven(peer: dict[str, Any], **fields: Any) -> tuple[str, dict[str, str]]:
    """Write a signal as a peer sends it: the body and the two headers."""
    said = {"signal_type": "task", "content": "do it", "from_identity": "agent-7", **fields}
    body = json.dumps(said)
    proof = {
        "timestamp": clock.now() // 1_000,
        "nonce": uuid.uuid4().hex,
        "body_hash": hashlib.sha256(body.encode()).hexdigest(),
    }
    text = "\n".join(("POST", proof["body_hash"], str(proof["timestamp"]), proof["nonce"]))
    proof["signature"] = hmac.new(
        peer["shared_secret"].encode(), text.encode(), hashlib.sha256
    ).hexdigest()
    return body, {"X-Federation-Peer": peer["peer_id"], "X-Federation-Proof": json.dumps(proof)}
