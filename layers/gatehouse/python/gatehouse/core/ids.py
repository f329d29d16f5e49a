"""Ids and cursors.

Ids are UUIDs of version 7: they sort by creation time, so they serve as sort keys.
"""

import base64
import binascii
import hmac
import re
import secrets
from uuid import UUID

from gatehouse.core.clock import Micros
from gatehouse.core.errors import BadInput

_TAG_BYTES = 16
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new(moment: Micros) -> str:
    """Create a UUIDv7 (RFC 9562) with the milliseconds of `moment`."""
    return _uuid7(moment, secrets.randbits(12), secrets.randbits(62))


def new_of_two(moment: Micros, *, second: bool) -> str:
    """Create an id that sorts, among those of its millisecond, in the first or the second half."""
    return _uuid7(moment, secrets.randbits(11) | (second << 11), secrets.randbits(62))


def lowest(moment: Micros) -> str:
    """Return the lowest id of `moment`: ids of this time and later sort after it."""
    return _uuid7(moment, 0, 0)


def moment_of(made: str) -> Micros:
    """Return the time in an id that `new` created, in whole milliseconds."""
    return int(made[:8] + made[9:13], 16) * 1000


def read(text: str, *, kind: str | None = None) -> str | None:
    """Return the id in a text, which may begin with `<kind>:`; None if it is not an id.

    The result is in lower case. Braces, `urn:` and missing hyphens are not accepted: sort keys have
    the canonical form.
    """
    if kind is not None:
        text = text.removeprefix(f"{kind}:")
    lowered = text.lower()
    return lowered if _UUID.fullmatch(lowered) else None


def cursor(listing: str, account: str, position: str, *, secret: str) -> str:
    """Return an opaque cursor for the next page of an account's listing, signed with `secret`."""
    tag = _tag(listing, account, position, secret)
    return base64.urlsafe_b64encode(tag + position.encode()).decode().rstrip("=")


def read_cursor(listing: str, account: str, text: str, *, secret: str) -> str:
    """Return a cursor's position. Raises BadInput if `cursor` did not make it of the same four."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        position = raw[_TAG_BYTES:].decode()
    except (binascii.Error, ValueError) as error:
        raise BadInput("Invalid cursor", details={"field": "after"}) from error
    # Every listing is sorted by our ids, so another position is not one of our cursors. The whole
    # text is compared: the same bytes can be written in several ways.
    made = cursor(listing, account, position, secret=secret)
    if read(position) != position or not hmac.compare_digest(made, text):
        raise BadInput("Invalid cursor", details={"field": "after"})
    return position


def _uuid7(moment: Micros, high: int, low: int) -> str:
    value = (moment // 1000) & ((1 << 48) - 1)
    value = (value << 4) | 7
    value = (value << 12) | high
    value = (value << 2) | 0b10
    return str(UUID(int=(value << 62) | low))


def _tag(listing: str, account: str, position: str, secret: str) -> bytes:
    text = f"{listing}\n{account}\n{position}"
    return hmac.digest(secret.encode(), text.encode(), "sha256")[:_TAG_BYTES]
