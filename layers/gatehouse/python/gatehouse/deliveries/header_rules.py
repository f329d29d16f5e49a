"""Which headers of an attempt are kept, and how. Pure.

None stands for a value that is not kept: it is sealed, or a secret of the receiver.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

MOST = 32  # of a response
LONGEST = 256  # characters of a value
MOST_BYTES = 1_024  # of names and values together
_SECRET = frozenset({"set-cookie", "set-cookie2"})
_CUT = "…"


def kept_sent(signed: Mapping[str, str], sealed: Collection[str]) -> dict[str, str | None]:
    """Return the headers of a request: those that a webhook adds by their names only."""
    return {**dict.fromkeys(sealed), **signed}


def kept_received(headers: Mapping[str, str]) -> dict[str, str | None]:
    """Return the first headers of a response, up to `MOST` and as far as they fit.

    A value that is too long is cut and ends with an ellipsis. One that does not fit is left out.
    """
    kept: dict[str, str | None] = {}
    left = MOST_BYTES
    for name, value in headers.items():
        shown = None if name.lower() in _SECRET else _shortened(value)
        size = len(name.encode()) + len((shown or "").encode())
        if size <= left and len(kept) < MOST:
            kept[name] = shown
            left -= size
    return kept


def _shortened(value: str) -> str:
    return value if len(value) <= LONGEST else value[: LONGEST - 1] + _CUT
