"""Whether a request is signed as documented, checked without any of our own signing code."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

from standardwebhooks.webhooks import Webhook

from support.actors.http_receiver_server import Received

_DELIVERY = re.compile(r"delivery:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check_delivery(received: Received, *secrets: str, event: str | None = None) -> dict[str, Any]:
    """Check that a request is a delivery as documented, and return its signal.

    `secrets` are the live ones, the old one first: each of them must have signed, in both
    families of headers, and no other. The published library checks `webhook-signature`.
    """
    signatures = received.header("webhook-signature").split(" ")
    assert len(signatures) == len(secrets), signatures
    for secret, signature in zip(secrets, signatures, strict=True):
        alone = {**dict(received.headers), "webhook-signature": signature}
        Webhook(secret).verify(received.body, alone)
    assert received.header("X-Chorus-Signature") == _body_signature(secrets[0], received.body)
    following = [_body_signature(secrets[-1], received.body)] if len(secrets) > 1 else []
    assert received.all("X-Chorus-Signature-Next") == following
    assert received.method == "POST"
    assert received.header("Content-Type") == "application/json"
    assert received.header("User-Agent") == "Chorus-Webhook/1.0"
    assert received.header("webhook-id") == received.header("X-Chorus-Delivery")
    assert _DELIVERY.fullmatch(received.header("webhook-id"))
    signal = json.loads(received.body)
    if event is not None:
        assert received.header("X-Chorus-Event") == event
    return dict(signal)


def check_standard_webhook(
    secret: str, body: bytes, headers: Mapping[str, str] | tuple[tuple[str, str], ...]
) -> Any:
    """Check a request by Standard Webhooks alone, as a restart hook is signed; return its body."""
    lower = {name.lower(): value for name, value in dict(headers).items()}
    return Webhook(secret).verify(body, lower)


def _body_signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
