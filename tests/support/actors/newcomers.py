"""Wallets that sign messages and peers that sign requests, through the front door in process."""

from __future__ import annotations

import json
from typing import Any

from support.actors.signers import peer_request, sign_in_message
from support.aws.api_gateway import Front

DOMAIN = "app.example"


def signed(front: Front, wallet: Any, **fields: Any) -> dict[str, str]:
    """Return a sign-in message with a new nonce and its signature, as a wallet makes them."""
    nonce = front("GET", "/auth/nonce").json()["data"]["nonce"]
    return sign_in_message(
        wallet, **{"nonce": nonce, "domain": DOMAIN, "uri": f"https://{DOMAIN}/login", **fields}
    )


def proven(peer: dict[str, Any], **fields: Any) -> tuple[str, dict[str, str]]:
    """Return a peer's request: the body of a signal and the two headers that prove it."""
    signal = {"signal_type": "task", "content": "do it", "from_identity": "agent-7", **fields}
    body, headers = peer_request(peer, body=json.dumps(signal).encode())
    return body.decode(), headers
