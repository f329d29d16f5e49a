"""Lanes: partitions over which the items of one list are spread, so that none of them is too busy.

The lane of an item is derived from its id. A list reads its lanes side by side and merges them by
id, so a position in the list is an id whatever the lanes are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

_SIDE_BY_SIDE = 16

Lane = TypeVar("Lane")
Read = TypeVar("Read")

Page = tuple[list[Read], bool]
"""Items in order; True: there may be more."""


def each(read: Callable[[Lane], Read], lanes: Sequence[Lane]) -> list[Read]:
    """Read every lane, side by side; return the results in the order of the lanes."""
    return list(pool().map(read, lanes))


def merged(
    read: Callable[[Lane, str | None], Page[Read]],
    lanes: Sequence[Lane],
    *,
    key: Callable[[Read], str],
    newest_first: bool,
) -> Iterator[Read]:
    """Yield the items of all lanes by their ids, reading on in a lane only when it is used up.

    `read` returns a page of a lane that follows the item with an id; None: the first page. The
    first pages are read side by side.
    """

    def follow(lane: Lane, first: Page[Read]) -> Iterator[Read]:
        items, more = first
        while items:
            yield from items
            if not more:
                return
            items, more = read(lane, key(items[-1]))

    pages = each(lambda lane: read(lane, None), lanes)
    streams = [follow(lane, page) for lane, page in zip(lanes, pages, strict=True)]
    return heapq.merge(*streams, key=key, reverse=newest_first)


@cache
def pool() -> ThreadPoolExecutor:
    """Return the threads of this environment that read lanes."""
    return ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="lane")
