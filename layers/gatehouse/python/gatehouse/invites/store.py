"""`INVITES#<account>` by id, found by code through `INVITE#<code>`; wrong guesses as `GUESSES#...`.

A guess counter is one item per address and one for all, each a window that begins with its first
wrong code and is forgotten by TTL.
"""

from __future__ import annotations

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.grants import Grants, Permissions
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Write
from gatehouse.identities.model import IdentityType
from gatehouse.invites import rules
from gatehouse.invites.model import MOST_OPEN, Invite

_OPTIONAL = ("rate_limit", "key_expires_at", "redeemed_by", "redeemed_at")


def read(table: Table, account_id: str, invite_id: str) -> Invite | None:
    """Read an invite, consistently."""
    item = table.get(_key(account_id, invite_id))
    return None if item is None else _from_item(item)


def find(table: Table, code: str) -> Invite | None:
    """Read an invite by its code, consistently."""
    pointer = table.get(_pointer(code))
    return None if pointer is None else read(table, pointer["account_id"], pointer["invite_id"])


def page(
    table: Table, account_id: str, *, after: str | None, limit: int
) -> tuple[list[Invite], bool]:
    """Read invites, newest first; True: there may be more."""
    position = None if after is None else _key(account_id, after)
    items, more = table.query(
        keyspace.INVITES.pk(account_id), after=position, newest_first=True, limit=limit
    )
    return [_from_item(item) for item in items], more


def count_open(table: Table, account_id: str, now: Micros) -> int:
    """Count the invites that can be redeemed."""
    found = (_from_item(item) for item in table.query_all(keyspace.INVITES.pk(account_id)))
    return sum(rules.is_open(invite, now) for invite in found)


def create(table: Table, invite: Invite) -> dict[str, Write]:
    """Write a new invite, its pointer and the tally of open ones."""
    pointer = {**_pointer(invite.code), "account_id": invite.account_id, "invite_id": invite.id}
    return {
        "invite": table.put_new(_to_item(invite)),
        "code": table.put_new(pointer),
        "count": counters.move(table, keyspace.INVITES.pk(invite.account_id), by=1, most=MOST_OPEN),
    }


def redeem(table: Table, invite: Invite, *, seen: Invite) -> dict[str, Write]:
    """Write one use more, if nobody was faster; the last one closes the invite."""
    writes = {
        "invite": table.put(
            _to_item(invite), condition="uses = :seen", names={}, values={":seen": seen.uses}
        )
    }
    if invite.is_used_up:
        pk = keyspace.INVITES.pk(invite.account_id)
        writes["count"] = counters.move(table, pk, by=-1, most=MOST_OPEN)
    return writes


def correct_count(table: Table, account_id: str, *, seen: Item, to: int) -> None:
    """Set the tally of open invites right. Raises ConditionFailed when it moved."""
    counters.correct(table, keyspace.INVITES.pk(account_id), seen=seen, to=to)


def guesses(table: Table, who: str, now: Micros) -> int:
    """Read how many wrong codes came in the current window."""
    item = table.get(_guesses(who))
    return 0 if item is None or item["ends_at"] <= now else int(item["wrong"])


def note_guess(table: Table, who: str, *, window: Micros, now: Micros) -> None:
    """Count a wrong code, in the current window or a new one."""
    try:
        table.update(
            _guesses(who),
            "SET wrong = wrong + :one",
            condition="ends_at > :now",
            names={},
            values={":one": 1, ":now": now},
        )
    except ConditionFailed:
        _begin_window(table, who, window=window, now=now)


def _begin_window(table: Table, who: str, *, window: Micros, now: Micros) -> None:
    ends_at = now + window
    try:
        table.update(
            _guesses(who),
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
        # Somebody else began it a moment ago.
        note_guess(table, who, window=window, now=now)


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
        rate_limit=item.get("rate_limit"),
        key_expires_at=item.get("key_expires_at"),
        redeemed_by=item.get("redeemed_by"),
        redeemed_at=item.get("redeemed_at"),
    )


def _key(account_id: str, invite_id: str) -> dict[str, str]:
    return {"pk": keyspace.INVITES.pk(account_id), "sk": invite_id}


def _pointer(code: str) -> dict[str, str]:
    return {"pk": keyspace.INVITE.pk(code), "sk": "INVITE"}


def _guesses(who: str) -> dict[str, str]:
    return {"pk": keyspace.GUESSES.pk(who), "sk": "GUESSES"}
