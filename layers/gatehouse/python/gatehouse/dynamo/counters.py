"""How many live things of a kind an account has, moved in the transaction that makes or ends one.

Things also end by expiry, which is no write: a tally may be too high, never too low. Whoever meets
the bound counts again and corrects it.
"""

from gatehouse.dynamo.table import Item, Table, Write

ATTRIBUTE = "live"


def move(table: Table, pk: str, *, by: int, most: int) -> Write:
    """Move a tally; upwards only below the bound `most`."""
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


def leave_one(table: Table, pk: str) -> Write:
    """Move a tally down by one, but never to zero."""
    return table.change(
        _key(pk),
        "SET live = live - :one, moves = moves + :one",
        condition="live > :one",
        names={},
        values={":one": 1},
    )


def begin(table: Table, pk: str) -> Write:
    """Count the first one, if there never was any."""
    return table.put_new({**_key(pk), ATTRIBUTE: 1, "moves": 1})


def correct(table: Table, pk: str, *, seen: Item, to: int) -> None:
    """Set a tally right, if it has not moved since it was seen. Raises ConditionFailed otherwise.

    `moves` tells a tally that stood still from one that went down and up again.
    """
    table.update(
        _key(pk),
        "SET live = :to",
        condition="moves = :moves",
        names={},
        values={":to": to, ":moves": seen["moves"]},
    )


def read(table: Table, pk: str) -> int:
    """Read a tally; zero where nothing was ever counted."""
    item = table.get(_key(pk))
    return 0 if item is None else int(item[ATTRIBUTE])


def _key(pk: str) -> dict[str, str]:
    return {"pk": f"{pk}#COUNT", "sk": "COUNT"}
