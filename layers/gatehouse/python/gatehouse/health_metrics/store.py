"""`STATS#<account>#<lane>`: `TOTAL`, and `<hour>` with a number for each minute, in 16 lanes.

Each shard of the stream writes into one lane, so that shards do not conflict; a reader sums the
lanes. `STATS#POSITION#<shard>` is how far a shard is counted. Hours are numbered since the epoch
and padded with zeros, so that they sort by time and before `TOTAL`.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from itertools import chain

from gatehouse.core.clock import DAY, SECOND, Micros
from gatehouse.dynamo import keyspace, lanes
from gatehouse.dynamo.table import Item, Table, Write
from gatehouse.health_metrics import rules
from gatehouse.health_metrics.model import TOTALS, Portion, Sums

LANES = 16
_POSITION = "POSITION"
_TOTAL = "TOTAL"
_KEPT: Micros = 3 * DAY
_HOUR: Micros = rules.MINUTES_AN_HOUR * 60 * SECOND
# 24 hours touch 25 hours' items; one more if another clock is ahead of ours; and the totals.
_READ_AT_ONCE = 25 + 1 + 1


def find_position(table: Table, shard: str) -> str | None:
    """Read a shard's position, consistently: the last record counted; None if there is none."""
    item = table.get(_position(shard))
    return None if item is None else str(item["upto"])


def write(
    table: Table, shard: str, portion: Portion, *, seen: str | None, now: Micros
) -> list[Write]:
    """Return the writes of a portion. They fail if the shard's position is not the one seen."""
    item = {
        **_position(shard),
        "upto": portion.upto,
        "ttl": (now + _KEPT) // SECOND,
    }
    if seen is None:
        moved = table.put_new(item)
    else:
        moved = table.put(item, condition="upto = :seen", names={}, values={":seen": seen})
    lane = zlib.crc32(shard.encode()) % LANES
    added = [
        _add(table, keyspace.STATS.pk(account_id, lane), sums)
        for account_id, sums in portion.sums.items()
    ]
    return [moved, *chain.from_iterable(added)]


def _add(table: Table, pk: str, sums: Sums) -> list[Write]:
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
    """Read an account's totals and its signals by minute, consistently in each lane."""

    def read_lane(lane: int) -> list[Item]:
        pk = keyspace.STATS.pk(account_id, lane)
        return table.query(pk, newest_first=True, limit=_READ_AT_ONCE)[0]

    totals: Counter[str] = Counter()
    minutes: Counter[int] = Counter()
    for item in chain.from_iterable(lanes.each(read_lane, range(LANES))):
        if item["sk"] == _TOTAL:
            totals.update({name: item.get(name, 0) for name in TOTALS})
            continue
        first = int(item["sk"]) * rules.MINUTES_AN_HOUR
        minutes.update(
            {first + int(name[1:]): count for name, count in item.items() if name.startswith("m")}
        )
    return totals, minutes


def _position(shard: str) -> dict[str, str]:
    return {"pk": keyspace.STATS.pk(_POSITION, shard), "sk": _POSITION}
