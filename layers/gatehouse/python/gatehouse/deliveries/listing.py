"""Pages of deliveries, newest first, of one webhook or of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from gatehouse.core.clock import Micros
from gatehouse.deliveries import listing_store, partition_rules, rules, store
from gatehouse.deliveries.model import Delivery, DeliveryStatus
from gatehouse.dynamo.table import Table

_MOST_READ = 1_000  # deliveries that one page reads


def page(
    table: Table,
    webhook_ids: Sequence[str],
    *,
    status: DeliveryStatus | None,
    event: str | None = None,
    since: Micros = 0,
    limit: int,
    after: str | None,
) -> tuple[list[Delivery], str | None]:
    """List webhooks' deliveries, newest first, and the cursor: a bare id, None at the end.

    Reads only so many deliveries: a page may have fewer than `limit`, even none, and still have a
    cursor. `since`: only those of signals emitted from then on.
    """
    lowest = rules.lowest_id(since)
    page: list[Delivery] = []
    following = None
    found = _newest_first(table, webhook_ids, status, low=lowest, below=after, limit=limit)
    for number, one in enumerate(found):
        if one.id < lowest:
            break
        if number == _MOST_READ:
            return page, following
        if status in {None, one.status} and event in {None, one.event}:
            if len(page) == limit:
                return page, following
            page.append(one)
        following = one.id
    return page, None


def _newest_first(
    table: Table,
    webhook_ids: Sequence[str],
    status: DeliveryStatus | None,
    *,
    low: str,
    below: str | None,
    limit: int,
) -> Iterator[Delivery]:
    """Yield deliveries that may have the status."""
    if status not in rules.LISTED:
        # Most deliveries were delivered, and a pending one is among the newest.
        yield from listing_store.newest_first(table, webhook_ids, below=below, limit=limit + 1)
        return
    ids = listing_store.listed(
        table,
        webhook_ids,
        [status.value],
        low=low,
        high=None if below is None else partition_rules.below(below),
        limit=limit + 1,
    )
    while some := list(islice(ids, limit + 1)):
        # The index is a moment behind the table: a delivery may have another status by now.
        yield from store.list_by_ids(table, some)
