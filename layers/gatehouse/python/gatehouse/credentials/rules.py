"""The format of a key, its state, and its rate limit. Pure: `now` is an argument.

The format is published: `<prefix>_<64 hex><8 hex>`, that is 32 random bytes and the CRC-32 of
everything before it. The checksum lets us refuse a mistyped key without reading the table.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace

from gatehouse.core.clock import MINUTE, Micros, ceil_seconds
from gatehouse.core.principal import RateLimitState
from gatehouse.credentials.model import SOCKET_PARAMETERS, Code, Credential, Pace

SECRET_BYTES = 32
_SHAPE = re.compile(r"(?:hb|hk|chorus)_[0-9a-f]{72}", re.ASCII)
_LONGEST = len("chorus_") + 72


def format_key(prefix: str, secret: bytes) -> str:
    """Write a key from 32 random bytes."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a key has {SECRET_BYTES} random bytes")
    body = f"{prefix}_{secret.hex()}"
    return f"{body}{zlib.crc32(body.encode()):08x}"


def is_well_formed(key: str) -> bool:
    """Check shape and checksum. The duration of this check reveals no secret."""
    return (
        len(key) <= _LONGEST
        and _SHAPE.fullmatch(key) is not None
        and int(key[-8:], 16) == zlib.crc32(key[:-8].encode())
    )


def hash_key(key: str) -> str:
    """Return the SHA-256 under which the table stores a key.

    A key has 256 random bits, so it needs neither a salt nor a slow hash.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def shown_prefix(key: str) -> str:
    """Shorten a key to what may be shown of it: the prefix, `_` and four hex digits."""
    prefix, _, rest = key.partition("_")
    return f"{prefix}_{rest[:4]}"


def find_in_headers(headers: Mapping[str, str]) -> str | None:
    """Return the key in a request's headers, None if no header has one. Names in lower case.

    The first header that is present decides, right or wrong: if we went on to the next one, a
    proxy's own key could replace a caller's wrong one.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, value = authorization.partition(" ")
        return value.strip() if scheme.lower() == "bearer" else ""
    for name in ("x-hammurabi-api-key", "x-api-key"):
        found = headers.get(name)
        if found is not None:
            return found.strip()
    return None


def find_in_query(query: Mapping[str, str]) -> str | None:
    """Return the key in a WebSocket's address, for clients that cannot set headers there."""
    for name in SOCKET_PARAMETERS:
        value = query.get(name)
        if value is not None:
            return value.strip()
    return None


def pace(limit: int) -> Pace:
    """Convert requests per minute to GCRA's two numbers.

    The interval is rounded up and the window is `limit` intervals: a burst of exactly `limit`
    requests passes, and in t seconds never more than limit + t * limit / 60.
    """
    interval = -(-MINUTE // limit)
    return Pace(interval, 2 * interval - limit * interval)


def code_of(credential: Credential, now: Micros) -> Code:
    """Return the code of a credential, without looking at its rate limit."""
    revoked_at = credential.revoked_at
    if credential.ended or (revoked_at is not None and revoked_at <= now):
        return Code.REVOKED
    if credential.expires_at is not None and credential.expires_at <= now:
        return Code.EXPIRED
    if not credential.enabled or credential.owner.membership != "active":
        return Code.DISABLED
    return Code.VALID


def state_after(limit: int, tat: Micros, now: Micros) -> RateLimitState:
    """Return the state of a limit after an accepted request that set `tat` to this value."""
    interval = pace(limit).interval
    ahead = max(0, tat - now)
    return RateLimitState(limit, max(0, limit - -(-ahead // interval)), ceil_seconds(ahead))


def is_over_limit(credential: Credential, now: Micros) -> bool:
    """Check whether a limited key has no request left now."""
    return credential.rate_limit is not None and _next_request_at(credential) > now


def state_when_refused(credential: Credential, now: Micros) -> RateLimitState:
    """Return the state of a limit for a caller who is over it."""
    wait = max(1, ceil_seconds(_next_request_at(credential) - now))
    reset = ceil_seconds((credential.tat or 0) - now)
    return RateLimitState(credential.rate_limit or 0, 0, reset, wait)


def is_last_use_stale(credential: Credential, now: Micros) -> bool:
    """Check whether to write an unlimited key's last use: at most once a minute."""
    return credential.last_used_at is None or credential.last_used_at <= now - MINUTE


def next_request_at(limit: int, tat: Micros) -> Micros:
    """Return the earliest time of the next request of a key with this limit and `tat`."""
    interval = pace(limit).interval
    return tat + interval - limit * interval


def shows_unchanged(successor: Credential, digest: str, now: Micros) -> bool:
    """Check that the old key with this digest is in its grace and its item was not changed."""
    until = successor.predecessor_until
    return successor.predecessor == digest and until is not None and until > now


def in_place_of(old: Credential, successor: Credential) -> Credential:
    """Return a key in its grace as it is admitted: its own grants, its successor's limit.

    The owner is the successor's too, since it was read last.
    """
    return replace(
        old,
        owner=successor.owner,
        rate_limit=successor.rate_limit,
        tat=successor.tat,
        last_used_at=successor.predecessor_used_at,
        successor=None,
    )


def _next_request_at(credential: Credential) -> Micros:
    if credential.rate_limit is None or credential.tat is None:
        return 0
    return next_request_at(credential.rate_limit, credential.tat)
