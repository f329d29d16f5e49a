"""The headers that a caller of the API may add to a request that goes out. Pure."""

from __future__ import annotations

import re

MOST_HEADERS = 64
LONGEST_VALUE = 8_192

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
# Where a request goes and where it ends is said by the door out and by nobody else.
_FRAMING = frozenset(
    {
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)


def flaw(name: str, value: str) -> str | None:
    """Say why a header cannot be sent, never quoting its value; None when it can."""
    if not _NAME.fullmatch(name):
        return "must have names of letters, digits and hyphens"
    if name.lower() in _FRAMING:
        return f"must not set {name}"
    if len(value) > LONGEST_VALUE or not _VALUE.fullmatch(value):
        return f"must have printable ASCII values of at most {LONGEST_VALUE:,} characters"
    return None
