"""The headers of requests out: which ones can be sent, and which ones callers may choose. Pure.

`check_custom` is the policy for headers that callers of the API choose. `can_be_sent` is the last
check before a request goes out; it knows only what would change where a request goes or ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gatehouse.core.errors import BadInput

MAX_CUSTOM = 20
MAX_CUSTOM_NAME = 128
MAX_CUSTOM_VALUE = 1_024
_MAX_SENT = 64

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110, 5.6.2
_CUSTOM_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
# As JSON Schema writes them. No pattern says that a name is reserved.
NAME_PATTERN = f"^{_TOKEN.pattern}$"
VALUE_PATTERN = f"^{_CUSTOM_VALUE.pattern}$"
_SENT_NAME = re.compile(rf"(?=.{{1,256}}\Z){_TOKEN.pattern}", re.ASCII)
_SENT_VALUE = re.compile(r"[\t\x20-\x7e]{0,8192}", re.ASCII)

# Headers of the connection, which say where a request goes and where it ends.
_CONNECTION = frozenset(
    {
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
# Besides those, headers that a delivery or a restart hook sets itself.
_RESERVED = _CONNECTION | {"date", "user-agent"}
_RESERVED_STARTS = ("content-", "proxy-", "webhook-", "x-chorus-")


def can_be_sent(headers: Mapping[str, str]) -> bool:
    """Return whether a request can have these headers."""
    names = {name.lower() for name in headers}
    return len(names) == len(headers) <= _MAX_SENT and all(
        _SENT_NAME.fullmatch(name)
        and name.lower() not in _CONNECTION
        and _SENT_VALUE.fullmatch(value)
        for name, value in headers.items()
    )


def check_custom(headers: Mapping[str, str] | None, *, field: str = "headers") -> dict[str, str]:
    """Check headers that a caller chose; None becomes {}.

    Raises:
        BadInput: The message names `field` and the header, never its value.

    """
    checked = dict(headers or {})
    if len(checked) > MAX_CUSTOM:
        raise _bad(field, f"must have at most {MAX_CUSTOM} entries")
    seen: set[str] = set()
    for name, value in checked.items():
        shown = ascii(name)[1:-1][:64]
        if len(name) > MAX_CUSTOM_NAME or not _TOKEN.fullmatch(name):
            raise _bad(
                field,
                f"must have names of 1 to {MAX_CUSTOM_NAME} characters that HTTP allows: {shown}",
            )
        # A receiver behind CGI cannot tell x_chorus_event from x-chorus-event.
        lowered = name.lower().replace("_", "-")
        if lowered in _RESERVED or lowered.startswith(_RESERVED_STARTS):
            raise _bad(field, f"must not set {shown}")
        if name.lower() in seen:
            raise _bad(field, f"must not set {shown} twice")
        seen.add(name.lower())
        if len(value) > MAX_CUSTOM_VALUE or not _CUSTOM_VALUE.fullmatch(value):
            raise _bad(
                field,
                f"must have values of 1 to {MAX_CUSTOM_VALUE} printable ASCII characters: {shown}",
            )
    return checked


def _bad(field: str, reason: str) -> BadInput:
    return BadInput(f"{field} {reason}", details={"field": field})
