"""Nonces that are not stored until they are used. Pure: random bytes are an argument.

A nonce is 40 hex digits: 8 of its creation time in seconds, 16 random, 16 of an HMAC over both.
It is valid for ten minutes, and only used nonces are stored.
"""

import hashlib
import hmac
import re

from gatehouse.core.clock import MINUTE, SECOND, Micros

LIFE: Micros = 10 * MINUTE
RANDOM_BYTES = 8
_SHAPE = re.compile(r"[0-9a-f]{40}", re.ASCII)


def write_nonce(secret: str, randomness: bytes, now: Micros) -> str:
    """Write a nonce."""
    body = f"{now // SECOND:08x}{randomness.hex()}"
    return body + _mac(secret, body)


def ends_at(secret: str, nonce: str) -> Micros | None:
    """Return when a nonce expires; None where this stack did not make it."""
    if not _SHAPE.fullmatch(nonce):
        return None
    body, mac = nonce[:-16], nonce[-16:]
    if not hmac.compare_digest(mac, _mac(secret, body)):
        return None
    return int(body[:8], 16) * SECOND + LIFE


def _mac(secret: str, body: str) -> str:
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()[:16]
