"""Time as whole microseconds since the epoch, UTC, in a plain int.

GCRA needs exact integer arithmetic and DynamoDB's numbers are decimal, so no float and no
datetime is stored. RFC 3339 with `Z` is used in requests and responses only.
"""

import re
import time
from datetime import UTC, datetime
from typing import overload

Micros = int

SECOND: Micros = 1_000_000
MINUTE: Micros = 60 * SECOND
HOUR: Micros = 60 * MINUTE
DAY: Micros = 24 * HOUR

# The latest time that RFC 3339 can express.
LATEST: Micros = 253_402_300_799 * SECOND

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def now() -> Micros:
    """Return the current time."""
    return time.time_ns() // 1000


@overload
def rfc3339(moment: Micros) -> str: ...
@overload
def rfc3339(moment: Micros | None) -> str | None: ...
def rfc3339(moment: Micros | None) -> str | None:
    """Format a time with milliseconds and `Z`: 2026-01-31T09:30:00.250Z. None stays None."""
    if moment is None:
        return None
    whole, rest = divmod(moment, SECOND)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:03d}Z"


def parse(text: str) -> Micros:
    """Parse RFC 3339 with an offset or `Z`. Raises ValueError for any other text or date."""
    if not _RFC3339.fullmatch(text):
        msg = "not RFC 3339"
        raise ValueError(msg)
    # Python accepts at most six fractional digits; the others are below our resolution.
    trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
    try:
        moment = datetime.fromisoformat(trimmed)
        whole = int(moment.replace(microsecond=0).timestamp())
    except OverflowError as error:
        raise ValueError(str(error)) from error
    if whole > LATEST // SECOND:
        raise ValueError("later than RFC 3339 can express")
    return whole * SECOND + moment.microsecond


def ceil_seconds(span: Micros) -> int:
    """Round a duration up to whole seconds; a negative one is zero."""
    return max(0, -(-span // SECOND))
