"""`STATS#<account>`: `TOTAL`, and `<hour>` with a number for each minute; the shards' positions.

Hours are numbered since the epoch and padded with zeros, so that they sort by time and before
`TOTAL`.
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
# 24 hours touch 25 hours' items; one more if another clock is ahead of ours; and the totals.
_READ_AT_ONCE = 25 + 1 + 1


def find_position(table: Table, shard: str) -> str | None:
    """Read a shard's position, consistently: the last record counted; None if there is none."""
    item = table.get({"pk": _POSITION, "sk": shard})
    return None if item is None else str(item["upto"])


def write(
    table: Table, shard: str, portion: Portion, *, seen: str | None, now: Micros
) -> list[Write]:
    """Return the writes of a portion. They fail if the shard's position is not the one seen."""
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
    """Read an account's totals and its signals by minute, in one consistent read."""
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
