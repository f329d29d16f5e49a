"""`WRITES#<account>` by identity: how many audited changes it made in a minute. TTL deletes it."""

from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import ConditionFailed, Table


def count(table: Table, account_id: str, identity_id: str, *, most: int, now: Micros) -> bool:
    """Count one change; False, and nothing is counted, if there were `most` in this minute."""
    key = {"pk": keyspace.WRITES.pk(account_id), "sk": identity_id}
    minute = now // MINUTE
    try:
        table.update(
            key,
            "SET made = made + :one",
            condition="since = :minute AND made < :most",
            names={},
            values={":one": 1, ":minute": minute, ":most": most},
        )
    except ConditionFailed as failed:
        item = failed.item
        if item is not None and item["since"] >= minute:
            # A clock that is behind counts in no minute; the newer one is full or has room.
            return bool(item["since"] > minute)
    else:
        return True
    try:
        table.update(
            key,
            "SET made = :one, since = :minute, #ttl = :ttl",
            condition="attribute_not_exists(since) OR since < :minute",
            names={"#ttl": "ttl"},
            values={":one": 1, ":minute": minute, ":ttl": (now + 2 * MINUTE) // SECOND},
        )
    except ConditionFailed:
        # Another request began the minute since our first update.
        return count(table, account_id, identity_id, most=most, now=now)
    return True
