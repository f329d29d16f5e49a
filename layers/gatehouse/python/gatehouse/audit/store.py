"""Events under `AUDIT#<account>`, sorted by id, and the chain's head under `HEAD`.

The chain of machines is under `AUDIT#<account>#machine`.
"""

from gatehouse.audit.model import Chain, Event, Head
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table, Write

# Ids are lower-case hex and begin with a digit for the next centuries: they sort before "HEAD".
HEAD = "HEAD"


def read_head(table: Table, account_id: str, chain: Chain) -> Head:
    """Read the head; an empty one for an account without events."""
    item = table.get({"pk": _pk(account_id, chain), "sk": HEAD})
    return Head() if item is None else Head(item["seq"], item["hash"], item["last_id"])


def append(table: Table, account_id: str, event: Event, *, chain: Chain) -> Write:
    """Write an event, if there is none with this id."""
    bare = event["id"].removeprefix("audit:")
    return table.put_new({"pk": _pk(account_id, chain), "sk": bare, "event": event})


def move_head(table: Table, account_id: str, *, chain: Chain, seen: Head, to: Head) -> Write:
    """Move the head, if it is still the one that was read."""
    item: Item = {
        "pk": _pk(account_id, chain),
        "sk": HEAD,
        "seq": to.seq,
        "hash": to.hash,
        "last_id": to.last_id,
    }
    if seen.seq == 0:
        return table.put_new(item)
    return table.put(
        item, condition="#hash = :seen", names={"#hash": "hash"}, values={":seen": seen.hash}
    )


def read_page(
    table: Table, account_id: str, *, chain: Chain, before: str | None, limit: int
) -> tuple[list[Event], bool]:
    """Read events older than the bare id `before`, newest first; True if there may be more."""
    items, more = table.query(
        _pk(account_id, chain), below=before or HEAD, newest_first=True, limit=limit
    )
    return [item["event"] for item in items], more


def _pk(account_id: str, chain: Chain) -> str:
    if chain is Chain.ADMINISTRATION:
        return keyspace.AUDIT.pk(account_id)
    return keyspace.AUDIT.pk(account_id, chain.value)
