"""Nonces that are not stored until they are used. Pure: random bytes are an argument.

A nonce is 40 hex digits: 8 of its creation time in seconds, 16 random, 16 of an HMAC over both and
over what it is for. It is valid for ten minutes, and only used nonces are stored. A nonce for one
purpose is not valid for another: a message that was signed to sign in never attaches a wallet.
"""

import hashlib
import hmac
import re
from collections.abc import Collection

from gatehouse.core.clock import MINUTE, SECOND, Micros

LIFE: Micros = 10 * MINUTE
RANDOM_BYTES = 8
_SHAPE = re.compile(r"[0-9a-f]{40}", re.ASCII)

_URI = re.compile(r"(https?)://([^/?#\\\s@]+)(?:[/?#]\S*)?", re.ASCII)
_LOCAL_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]+)?", re.ASCII)

SIGN_IN = "sign-in"
"""The purpose of a nonce that anybody gets: to sign in, or to redeem an invite with a wallet."""


def attaching(account_id: str, identity_id: str) -> str:
    """Return the purpose of a nonce with which only this identity attaches a wallet."""
    return f"attach:{account_id}:{identity_id}"


def is_own_uri(uri: str, domains: Collection[str]) -> bool:
    """Return whether a URI is on one of the domains: with https, or http on this machine."""
    found = _URI.fullmatch(uri)
    if found is None or found[2] not in domains:
        return False
    return found[1] == "https" or _LOCAL_HOST.fullmatch(found[2]) is not None


def write_nonce(secret: str, randomness: bytes, now: Micros, *, purpose: str) -> str:
    """Write a nonce."""
    body = f"{now // SECOND:08x}{randomness.hex()}"
    return body + _mac(secret, body, purpose)


def ends_at(secret: str, nonce: str, *, purpose: str) -> Micros | None:
    """Return when a nonce expires; None where this stack did not make it for this purpose."""
    if not _SHAPE.fullmatch(nonce):
        return None
    body, mac = nonce[:-16], nonce[-16:]
    if not hmac.compare_digest(mac, _mac(secret, body, purpose)):
        return None
    return int(body[:8], 16) * SECOND + LIFE


def _mac(secret: str, body: str, purpose: str) -> str:
    text = f"{purpose}\n{body}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()[:16]
