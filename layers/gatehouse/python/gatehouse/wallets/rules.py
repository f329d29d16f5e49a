"""Nonces that need no storage until they are used. Pure but for the randomness handed in.

A nonce is 40 hex digits: 8 of the second it was made in, 16 random, 16 of an HMAC over both. It is
made by nobody else, good for ten minutes, and remembered only once it was used.
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
    """Say until when a nonce is good; None when it is none of ours."""
    if not _SHAPE.fullmatch(nonce):
        return None
    body, mac = nonce[:-16], nonce[-16:]
    if not hmac.compare_digest(mac, _mac(secret, body)):
        return None
    return int(body[:8], 16) * SECOND + LIFE


def _mac(secret: str, body: str) -> str:
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()[:16]
