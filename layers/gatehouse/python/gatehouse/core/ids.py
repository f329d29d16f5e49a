"""Identifiers and cursors.

Ids are UUIDs of version 7: they sort by the time they were made, which makes them sort keys.
"""

import base64
import binascii
import hashlib
import re
import secrets
from uuid import UUID

from gatehouse.core.clock import Micros
from gatehouse.core.errors import BadInput

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new(moment: Micros) -> str:
    """Make a UUIDv7 (RFC 9562) that carries `moment` in milliseconds."""
    return _uuid7(moment, secrets.randbits(12), secrets.randbits(62))


def lowest(moment: Micros) -> str:
    """Give the id before which no id made at `moment` or later sorts."""
    return _uuid7(moment, 0, 0)


def moment_of(made: str) -> Micros:
    """Read the moment, in whole milliseconds, off an id of ours."""
    return int(made[:8] + made[9:13], 16) * 1000


def read(text: str, *, kind: str | None = None) -> str | None:
    """Take an id from a path or body, with or without `<kind>:` before it; None if it is none.

    The canonical lower-case form comes back. Braces, urn: and missing hyphens are refused,
    because what is not canonical is never a sort key of ours.
    """
    if kind is not None:
        text = text.removeprefix(f"{kind}:")
    lowered = text.lower()
    return lowered if _UUID.fullmatch(lowered) else None


def cursor(listing: str, account: str, position: str) -> str:
    """Say where the next page of an account's listing begins; opaque to the caller."""
    tag = _tag(listing, account, position)
    return base64.urlsafe_b64encode(tag + position.encode()).decode().rstrip("=")


def read_cursor(listing: str, account: str, text: str) -> str:
    """Give the position back. Another listing's, another account's or a made-up one is BadInput."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        position = raw[8:].decode()
    except (binascii.Error, ValueError) as error:
        raise BadInput("Invalid cursor", details={"field": "after"}) from error
    # Every listing goes by ids of ours, so a position that is none was made up.
    known = read(position) == position
    if len(text) > 512 or not known or raw[:8] != _tag(listing, account, position):  # noqa: PLR2004 - far above any of ours
        raise BadInput("Invalid cursor", details={"field": "after"})
    return position


def _uuid7(moment: Micros, high: int, low: int) -> str:
    value = (moment // 1000) & ((1 << 48) - 1)
    value = (value << 4) | 7
    value = (value << 12) | high
    value = (value << 2) | 0b10
    return str(UUID(int=(value << 62) | low))


def _tag(listing: str, account: str, position: str) -> bytes:
    # Not a secret: a cursor opens nothing beyond its own account, this only tells it apart.
    return hashlib.sha256(f"{listing}\n{account}\n{position}".encode()).digest()[:8]
