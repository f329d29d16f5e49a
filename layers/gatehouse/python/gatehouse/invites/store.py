"""`INVITES#<account>` by id. `INVITE#<code>` points to it. `GUESSES#<address>` counts wrong codes.

There is one counter per address and one for all addresses together. A counter covers a window
that starts with its first wrong code. TTL deletes it.
"""

from __future__ import annotations

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.grants import Grants, Permissions
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Write
from gatehouse.identities.model import IdentityType
from gatehouse.invites import rules
from gatehouse.invites.model import MOST_OPEN, Invite

_OPTIONAL = ("created_by_key", "rate_limit", "key_expires_at", "redeemed_by", "redeemed_at")


def read(table: Table, account_id: str, invite_id: str) -> Invite | None:
    """Read an invite, consistently; None where there is none."""
    item = table.get(_key(account_id, invite_id))
    return None if item is None else _from_item(item)


def find_by_code(table: Table, code: str) -> Invite | None:
    """Read an invite by its code, consistently; None where there is none."""
    pointer = table.get(_pointer(code))
    return None if pointer is None else read(table, pointer["account_id"], pointer["invite_id"])


def page(
    table: Table, account_id: str, *, after: str | None, limit: int
) -> tuple[list[Invite], bool]:
    """Read invites, newest first. Returns also whether there may be more."""
    position = None if after is None else _key(account_id, after)
    items, more = table.query(
        keyspace.INVITES.pk(account_id), after=position, newest_first=True, limit=limit
    )
    return [_from_item(item) for item in items], more


def count_open(table: Table, account_id: str, now: Micros) -> int:
    """Count an account's invites that can be redeemed."""
    return sum(rules.is_open(invite, now) for invite in list_all(table, account_id))


def create(table: Table, invite: Invite) -> dict[str, Write]:
    """Write a new invite and its pointer, and count it as open."""
    pointer = {**_pointer(invite.code), "account_id": invite.account_id, "invite_id": invite.id}
    return {
        "invite": table.put_new(_to_item(invite)),
        "code": table.put_new(pointer),
        "count": counters.move(table, keyspace.INVITES.pk(invite.account_id), by=1, most=MOST_OPEN),
    }


def redeem(table: Table, invite: Invite, *, seen: Invite) -> dict[str, Write]:
    """Write one more use, if no other use and no end was written since.

    The last use lowers the counter.
    """
    writes = {"invite": _replace(table, invite, seen=seen)}
    if invite.is_used_up:
        pk = keyspace.INVITES.pk(invite.account_id)
        writes["count"] = counters.move(table, pk, by=-1, most=MOST_OPEN)
    return writes


def list_all(table: Table, account_id: str) -> list[Invite]:
    """Read all invites of an account, oldest first."""
    return [_from_item(item) for item in table.query_all(keyspace.INVITES.pk(account_id))]


def end(table: Table, invite: Invite, *, seen: Invite) -> Write:
    """Write an open invite as it ended, if no other use and no other end was written since."""
    return _replace(table, invite, seen=seen)


def counter(account_id: str) -> str:
    """Return the partition key that names the counter of open invites."""
    return keyspace.INVITES.pk(account_id)


def correct_count(table: Table, account_id: str, *, seen: Item, to: int) -> None:
    """Set the counter of open invites. Raises ConditionFailed where it changed since `seen`."""
    counters.correct(table, keyspace.INVITES.pk(account_id), seen=seen, to=to)


def count_wrong_codes(table: Table, address: str, now: Micros) -> int:
    """Return how many wrong codes an address sent in its current window."""
    item = table.get(_guesses_key(address))
    return 0 if item is None or item["ends_at"] <= now else int(item["wrong"])


def add_wrong_code(table: Table, address: str, *, window: Micros, now: Micros) -> None:
    """Count a wrong code, in the current window or in a new one."""
    try:
        table.update(
            _guesses_key(address),
            "SET wrong = wrong + :one",
            condition="ends_at > :now",
            names={},
            values={":one": 1, ":now": now},
        )
    except ConditionFailed:
        _start_window(table, address, window=window, now=now)


def _replace(table: Table, invite: Invite, *, seen: Invite) -> Write:
    return table.put(
        _to_item(invite),
        condition="uses = :seen AND attribute_not_exists(ended)",
        names={},
        values={":seen": seen.uses},
    )


def _start_window(table: Table, address: str, *, window: Micros, now: Micros) -> None:
    ends_at = now + window
    try:
        table.update(
            _guesses_key(address),
            "SET wrong = :one, ends_at = :ends, #ttl = :ttl",
            condition="attribute_not_exists(ends_at) OR ends_at <= :now",
            names={"#ttl": "ttl"},
            values={
                ":one": 1,
                ":ends": ends_at,
                ":ttl": ends_at // SECOND + 60,
                ":now": now,
            },
        )
    except ConditionFailed:
        # Another request started it since our first update.
        add_wrong_code(table, address, window=window, now=now)


def _to_item(invite: Invite) -> Item:
    item: Item = {
        **_key(invite.account_id, invite.id),
        "code": invite.code,
        "name": invite.name,
        "type": invite.type.value,
        "scopes": list(invite.grants.scopes),
        "permissions": invite.grants.permissions.to_dict(),
        "max_uses": invite.max_uses,
        "uses": invite.uses,
        "expires_at": invite.expires_at,
        "created_by": invite.created_by,
        "created_at": invite.created_at,
        "operator": invite.operator,
    }
    for name in _OPTIONAL:
        value = getattr(invite, name)
        if value is not None:
            item[name] = value
    if invite.ended:
        item["ended"] = True
    return item


def _from_item(item: Item) -> Invite:
    return Invite(
        id=item["sk"],
        account_id=keyspace.INVITES.rest_of(item["pk"]),
        code=item["code"],
        name=item["name"],
        type=IdentityType(item["type"]),
        grants=Grants(tuple(item["scopes"]), Permissions.from_dict(item["permissions"])),
        max_uses=item["max_uses"],
        uses=item["uses"],
        expires_at=item["expires_at"],
        created_by=item["created_by"],
        created_at=item["created_at"],
        operator=item["operator"],
        ended=item.get("ended", False),
        rate_limit=item.get("rate_limit"),
        created_by_key=item.get("created_by_key"),
        key_expires_at=item.get("key_expires_at"),
        redeemed_by=item.get("redeemed_by"),
        redeemed_at=item.get("redeemed_at"),
    )


def _key(account_id: str, invite_id: str) -> dict[str, str]:
    return {"pk": keyspace.INVITES.pk(account_id), "sk": invite_id}


def _pointer(code: str) -> dict[str, str]:
    return {"pk": keyspace.INVITE.pk(code), "sk": "INVITE"}


def _guesses_key(address: str) -> dict[str, str]:
    return {"pk": keyspace.GUESSES.pk(address), "sk": "GUESSES"}
