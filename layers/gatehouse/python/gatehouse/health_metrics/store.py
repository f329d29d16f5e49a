"""`STATS#<account>`: `TOTAL`, and `<hour>` with a number for each minute; where readers stand.

Hours are numbered since the epoch and padded, so that they sort before `TOTAL` and by time.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from gatehouse.core.clock import DAY, SECOND, Micros
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Table, Write
from gatehouse.health_metrics import rules
from gatehouse.health_metrics.model import Portion, Sums

_POSITION = keyspace.STATS.pk("POSITION")
_TOTAL = "TOTAL"
_KEPT: Micros = 3 * DAY
_HOUR: Micros = rules.MINUTES_AN_HOUR * 60 * SECOND
# The hours that 24 hours lie in, one that a clock ahead of ours may have begun, and the totals.
_READ_AT_ONCE = 25 + 1 + 1


def position(table: Table, shard: str) -> str | None:
    """Read up to where a shard was counted, consistently; None where nothing was."""
    item = table.get({"pk": _POSITION, "sk": shard})
    return None if item is None else str(item["upto"])


def write(
    table: Table, shard: str, portion: Portion, *, seen: str | None, now: Micros
) -> list[Write]:
    """Add a portion's sums and move the shard's position, if it is still where it was seen."""
    item = {
        "pk": _POSITION,
        "sk": shard,
        "upto": portion.upto,
        "ttl": (now + _KEPT) // SECOND,
    }
    if seen is None:
        moved = table.put_new(item)
    else:
        moved = table.put(item, condition="upto = :seen", names={}, values={":seen": seen})
    added = [_add(table, account_id, sums) for account_id, sums in portion.sums.items()]
    return [moved, *chain.from_iterable(added)]


def _add(table: Table, account_id: str, sums: Sums) -> list[Write]:
    pk = keyspace.STATS.pk(account_id)
    writes = [
        table.add(
            {"pk": pk, "sk": f"{hour:08d}"},
            {f"m{minute}": count for minute, count in counts.items()},
            also={"ttl": (hour * _HOUR + _KEPT) // SECOND},
        )
        for hour, counts in rules.by_hour(sums.minutes).items()
    ]
    moved = {name: by for name, by in sums.totals.items() if by}
    if moved:
        writes.append(table.add({"pk": pk, "sk": _TOTAL}, moved, also={}))
    return writes


def read(table: Table, account_id: str) -> tuple[Mapping[str, int], Mapping[int, int]]:
    """Read an account's totals and its signals by the minute, in one consistent read."""
    items, _ = table.query(keyspace.STATS.pk(account_id), newest_first=True, limit=_READ_AT_ONCE)
    totals: Mapping[str, int] = {}
    minutes: dict[int, int] = {}
    for item in items:
        if item["sk"] == _TOTAL:
            totals = item
            continue
        first = int(item["sk"]) * rules.MINUTES_AN_HOUR
        minutes |= {
            first + int(name[1:]): count for name, count in item.items() if name.startswith("m")
        }
    return totals, minutes
