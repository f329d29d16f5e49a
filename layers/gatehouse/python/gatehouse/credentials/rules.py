"""The format of a key, and what is said of one. Pure: `now` is an argument.

The format is published: `<prefix>_<64 hex><8 hex>`, 32 random bytes and the CRC-32 of all that
stands before it. A mistyped or made-up key is refused without asking anybody.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping

from gatehouse.core.clock import MINUTE, Micros, ceil_seconds
from gatehouse.core.principal import RateLimitState
from gatehouse.credentials.model import Code, Credential, Pace

SECRET_BYTES = 32
_SHAPE = re.compile(r"(?:hb|hk|chorus)_[0-9a-f]{72}", re.ASCII)
_LONGEST = len("chorus_") + 72


def write(prefix: str, secret: bytes) -> str:
    """Write a key from 32 random bytes."""
    if len(secret) != SECRET_BYTES:
        raise ValueError("a key has 32 random bytes")
    body = f"{prefix}_{secret.hex()}"
    return f"{body}{zlib.crc32(body.encode()):08x}"


def is_well_formed(key: str) -> bool:
    """Tell whether shape and checksum are right. Cheap, and no secret depends on its timing."""
    return (
        len(key) <= _LONGEST
        and _SHAPE.fullmatch(key) is not None
        and int(key[-8:], 16) == zlib.crc32(key[:-8].encode())
    )


def digest(key: str) -> str:
    """Hash a key as the table knows it. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()


def shown_prefix(key: str) -> str:
    """Shorten a key to what may be shown of it: prefix, `_`, four hex digits."""
    prefix, _, rest = key.partition("_")
    return f"{prefix}_{rest[:4]}"


def presented(headers: Mapping[str, str]) -> str | None:
    """Take the credential of a request, None where there is none. Header names in lower case.

    The first that is present decides, right or wrong: falling through to the next would let a
    proxy's own key stand in for a caller's bad one.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, value = authorization.partition(" ")
        return value.strip() if scheme.lower() == "bearer" else ""
    for name in ("x-hammurabi-api-key", "x-api-key"):
        presented = headers.get(name)
        if presented is not None:
            return presented.strip()
    return None


def presented_in_query(query: Mapping[str, str]) -> str | None:
    """Take the credential of a WebSocket's address, for callers that can set no header there."""
    for name in ("token", "access_token", "api_key"):
        presented = query.get(name)
        if presented is not None:
            return presented.strip()
    return None


def pace(limit: int) -> Pace:
    """Turn requests per minute into GCRA's two numbers.

    The interval is rounded up and the window is `limit` intervals: a burst of exactly `limit`
    passes, and in t seconds never more than limit + t * limit / 60.
    """
    interval = -(-MINUTE // limit)
    return Pace(interval, 2 * interval - limit * interval)


def standing(known: Credential, now: Micros) -> Code:
    """Judge everything but the rate limit."""
    if known.ended or (known.revoked_at is not None and known.revoked_at <= now):
        return Code.REVOKED
    if known.expires_at is not None and known.expires_at <= now:
        return Code.EXPIRED
    if not known.enabled or known.owner.membership != "active":
        return Code.DISABLED
    return Code.VALID


def state_after(limit: int, tat: Micros, now: Micros) -> RateLimitState:
    """Describe the limit after a request passed that moved `tat` to this value."""
    interval = pace(limit).interval
    ahead = max(0, tat - now)
    return RateLimitState(limit, max(0, limit - -(-ahead // interval)), ceil_seconds(ahead))


def is_over(known: Credential, now: Micros) -> bool:
    """Tell whether a limited key has no request left at this moment."""
    return known.rate_limit is not None and _allow_at(known) > now


def state_refused(known: Credential, now: Micros) -> RateLimitState:
    """Describe the limit to a caller who is over it."""
    wait = max(1, ceil_seconds(_allow_at(known) - now))
    return RateLimitState(known.rate_limit or 0, 0, ceil_seconds((known.tat or 0) - now), wait)


def is_use_stale(known: Credential, now: Micros) -> bool:
    """Tell whether an unlimited key's last use should be written: at most once a minute."""
    return known.last_used_at is None or known.last_used_at <= now - MINUTE


def _allow_at(known: Credential) -> Micros:
    if known.rate_limit is None or known.tat is None:
        return 0
    interval = pace(known.rate_limit).interval
    return known.tat + interval - known.rate_limit * interval
