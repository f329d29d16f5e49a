"""Lists of deliveries, newest first or oldest first, merged from the lanes of their webhooks.

The table itself lists all deliveries of a webhook. The index `by_listing`,
`LISTED#<webhook>#<state>#<lane>`, lists only those that are retrying, parked or dead letters. It
is a moment behind the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from gatehouse.deliveries import partition_rules, store
from gatehouse.deliveries.model import Delivery
from gatehouse.dynamo import keyspace, lanes
from gatehouse.dynamo.table import Table

_LISTED = ("listed_pk", "sk")
_FEWEST = 4  # ids of a lane that are worth a read


def newest_first(
    table: Table, webhook_ids: Sequence[str], *, below: str | None, limit: int
) -> Iterator[Delivery]:
    """Yield the deliveries of webhooks, newest first, as they are in the table.

    Only ids less than `below`. `limit` is how many are likely wanted: each lane is read in pages of
    about its share, and no lane is read on before its page is used up.
    """
    parts = {part for one in webhook_ids for part in partition_rules.partitions_of(one)}
    size = _page_size(limit, len(parts))

    def read(part: tuple[str, int], after: str | None) -> tuple[list[Delivery], bool]:
        pk = keyspace.DELIVERY.pk(*part)
        items, more = table.query(pk, below=after or below, newest_first=True, limit=size)
        return [store.from_item(item) for item in items], more

    found = lanes.merged(read, sorted(parts), key=lambda one: one.id, newest_first=True)
    wanted = frozenset(webhook_ids)  # another webhook may have the same partition
    return (one for one in found if one.webhook_id in wanted)


def listed(
    table: Table,
    webhook_ids: Sequence[str],
    states: Sequence[str],
    *,
    low: str | None = None,
    high: str | None = None,
    newest_first: bool = True,
    limit: int,
) -> Iterator[str]:
    """Yield the ids of webhooks' deliveries in some of the listed states, in order.

    From `low` to `high`, both inclusive.
    """
    partitions = [
        keyspace.LISTED.pk(webhook_id, state, lane)
        for webhook_id in webhook_ids
        for state in states
        for lane in range(partition_rules.LANES)
    ]
    size = _page_size(limit, len(partitions))

    def read(pk: str, after: str | None) -> tuple[list[str], bool]:
        lowest, highest = low or None, high  # a key of an index must not be empty
        if after is not None and newest_first:
            highest = partition_rules.below(after)
        elif after is not None:
            lowest = partition_rules.above(after)
        items = table.between(
            pk,
            index="by_listing",
            names=_LISTED,
            low=lowest,
            high=highest,
            newest_first=newest_first,
            limit=size,
        )
        return [item["sk"] for item in items], len(items) == size

    return lanes.merged(read, partitions, key=lambda one: one, newest_first=newest_first)


def list_ids(
    table: Table,
    webhook_id: str,
    state: str,
    *,
    low: str | None = None,
    high: str | None = None,
    newest_first: bool = True,
    limit: int,
) -> list[str]:
    """List the ids of a webhook's deliveries in one of the listed states."""
    found = listed(
        table,
        [webhook_id],
        [state],
        low=low,
        high=high,
        newest_first=newest_first,
        limit=limit,
    )
    return list(islice(found, limit))


def count(table: Table, webhook_id: str, state: str, *, low: str) -> int:
    """Count a webhook's deliveries in one of the listed states, from the id `low`.

    DynamoDB counts them, in each lane side by side, and returns none of them.
    """

    def read(lane: int) -> int:
        pk = keyspace.LISTED.pk(webhook_id, state, lane)
        return table.count(pk, index="by_listing", names=_LISTED, low=low)

    return sum(lanes.each(read, range(partition_rules.LANES)))


def _page_size(limit: int, partitions: int) -> int:
    return min(limit, limit // max(1, partitions) + _FEWEST)
