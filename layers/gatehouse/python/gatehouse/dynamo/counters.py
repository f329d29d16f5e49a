"""Counters of an account's live things, changed in the transaction that creates or ends one.

Things also end by expiry, which writes nothing: a counter may be too high, never too low. Who
reaches the maximum counts again and corrects it.
"""

from gatehouse.dynamo.table import Item, Table, Write

ATTRIBUTE = "live"


def move(table: Table, pk: str, *, by: int, most: int) -> Write:
    """Change a counter by `by`; an increase requires that it is below `most`."""
    values = {":by": by, ":zero": 0}
    condition = "attribute_exists(pk)"
    if by > 0:
        condition = "attribute_not_exists(live) OR live < :most"
        values[":most"] = most
    return table.change(
        _key(pk),
        "SET live = if_not_exists(live, :zero) + :by, moves = if_not_exists(moves, :zero) + :one",
        condition=condition,
        names={},
        values=values | {":one": 1},
    )


def take(table: Table, pk: str, *, by: int) -> Write:
    """Decrease a counter by `by`, for things that ended earlier."""
    return move(table, pk, by=-by, most=0)


def leave_one(table: Table, pk: str) -> Write:
    """Decrease a counter by one; the condition fails if it would reach zero."""
    return table.change(
        _key(pk),
        "SET live = live - :one, moves = moves + :one",
        condition="live > :one",
        names={},
        values={":one": 1},
    )


def begin(table: Table, pk: str) -> Write:
    """Create a counter with the value one; the condition fails if it exists."""
    return table.put_new({**_key(pk), ATTRIBUTE: 1, "moves": 1})


def correct(table: Table, pk: str, *, seen: Item, to: int) -> None:
    """Set a counter, if it has not changed since it was `seen`. Raises ConditionFailed otherwise.

    `moves` counts its changes, so that one that went down and up again counts as changed.
    """
    table.update(
        _key(pk),
        "SET live = :to",
        condition="moves = :moves",
        names={},
        values={":to": to, ":moves": seen["moves"]},
    )


def read(table: Table, pk: str) -> int:
    """Return a counter's value; zero if it does not exist."""
    item = table.get(_key(pk))
    return 0 if item is None else int(item[ATTRIBUTE])


def _key(pk: str) -> dict[str, str]:
    return {"pk": f"{pk}#COUNT", "sk": "COUNT"}
