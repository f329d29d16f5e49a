"""The headers of a delivery. Pure, and published: receivers verify these bytes.

Two signatures cover the same body: `X-Chorus-Signature`, keyed with the secret's text, and Standard
Webhooks, keyed with the bytes that follow `whsec_` in base64.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from gatehouse.webhooks.model import SECRET_PREFIX


def headers(
    secrets: Sequence[str], *, delivery_id: str, event: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return every header of one attempt.

    `secrets` are the live texts, `whsec_` and base64, at least one, the oldest first. The id is
    sent as passed, `delivery:<uuid>`, and is the same for all attempts; the timestamp, in seconds
    since the epoch, is that of the attempt. Raises ValueError on a malformed secret.
    """
    written = {
        "Content-Type": "application/json",
        "User-Agent": "Chorus-Webhook/1.0",
        "X-Chorus-Event": event,
        "X-Chorus-Signature": _over_body(secrets[0], body),
        "X-Chorus-Delivery": delivery_id,
        **standard(secrets, message_id=delivery_id, timestamp=timestamp, body=body),
    }
    if len(secrets) > 1:
        written["X-Chorus-Signature-Next"] = _over_body(secrets[-1], body)
    return written


def standard(
    secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return only the headers of Standard Webhooks, for any message."""
    message = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_over_message(secret, message) for secret in secrets),
    }


def _over_body(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def _over_message(secret: str, message: bytes) -> str:
    if not secret.startswith(SECRET_PREFIX):
        # The error must not contain the text, which may be a secret.
        raise ValueError(f"A webhook's secret must start with {SECRET_PREFIX}")
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    return "v1," + base64.b64encode(hmac.digest(key, message, "sha256")).decode()
