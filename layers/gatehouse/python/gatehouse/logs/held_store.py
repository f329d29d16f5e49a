"""Lines that are held for a viewer until its backlog has been sent.

HELD#<connection> / <number>      some of these lines, compressed
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence

from gatehouse.core.clock import HOUR, SECOND, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Table, TransactionCanceled
from gatehouse.logs import store
from gatehouse.logs.model import Line, Viewer

_PAGE = 100
_LARGEST_BODY = 300_000  # bytes, of the 400 KB of an item
_KEPT: Micros = 3 * HOUR  # longer than any socket; then items that a crash left behind expire


def hold_lines(table: Table, viewer: Viewer, lines: Sequence[Line], *, now: Micros) -> int:
    """Write lines for a viewer whose backlog is not sent yet; return how many were written.

    The rest must be sent: the viewer has become live, or has left.
    """
    written, number = 0, viewer.held
    for count, body in _bodies(lines):
        next_number = _write(table, viewer, body, number=number, now=now)
        if next_number is None:
            break
        written, number = written + count, next_number
    return written


def _write(table: Table, viewer: Viewer, body: bytes, *, number: int, now: Micros) -> int | None:
    """Write one item under `number`, or a later one if that is taken; return the next number."""
    conflict: TransactionCanceled | None = None
    for _ in store.CONFLICTS.tries():
        writes = [
            table.change(
                store.viewer_key(viewer.group, viewer.id),
                "SET held = :next",
                condition="held = :number AND live = :no",
                names={},
                values={":next": number + 1, ":number": number, ":no": False},
            ),
            table.overwrite(
                {
                    "pk": keyspace.HELD.pk(viewer.id),
                    "sk": f"{number:06d}",
                    "body": body,
                    "ttl": (now + _KEPT) // SECOND,
                }
            ),
        ]
        try:
            store.transact_with_retries(table, writes)
        except TransactionCanceled as canceled:
            item = canceled.failed.get(0)
            if item is None or item["live"]:
                return None
            conflict, number = canceled, item["held"]
        else:
            return number + 1
    raise Unavailable from conflict


def _bodies(lines: Sequence[Line]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines in as few items as can hold them, each with its number of lines."""
    fields = [[line.id, line.at, line.message, line.part, line.parts] for line in lines]
    body = zlib.compress(json.dumps(fields).encode())
    if len(body) <= _LARGEST_BODY or len(lines) == 1:
        yield len(lines), body
        return
    half = len(lines) // 2
    yield from _bodies(lines[:half])
    yield from _bodies(lines[half:])


def read_held(table: Table, connection: str, *, first: int) -> list[list[Line]]:
    """Read the held lines of a viewer, one list for each item from number `first` on."""
    pk = keyspace.HELD.pk(connection)
    after = {"pk": pk, "sk": f"{first - 1:06d}"} if first else None
    found: list[list[Line]] = []
    more = True
    while more:
        items, more = table.query(pk, after=after, limit=_PAGE)
        found += [
            [Line(*fields) for fields in json.loads(zlib.decompress(item["body"]))]
            for item in items
        ]
        after = {"pk": items[-1]["pk"], "sk": items[-1]["sk"]} if items else after
    return found


def delete_held(table: Table, connection: str) -> None:
    """Delete the held lines of a viewer."""
    items = table.query_all(keyspace.HELD.pk(connection))
    keys = [{"pk": item["pk"], "sk": item["sk"]} for item in items]
    for start in range(0, len(keys), _PAGE):
        writes = [table.delete(key) for key in keys[start : start + _PAGE]]
        store.transact_with_retries(table, writes)
