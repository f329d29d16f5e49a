"""The looked-up item, `KEY#<sha256>` in the keys table, under 1 KiB for the usual key.

Attribute names are short because every authorised request reads and writes the item:
id, acc, own, iv, pre, adm, claw, mem, op, sc, pm, en, lim, ivl, ref, exp, rev, over, tat, nxt and
used.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants, Permissions
from gatehouse.credentials import rules
from gatehouse.credentials.model import Credential, Owner
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Tables, Write

# A live key with a limit: what both branches demand before they look at the time.
_LIVE = (
    "attribute_exists(pk) AND en = :true AND mem = :active"
    " AND attribute_not_exists(#over) AND (attribute_not_exists(rev) OR rev > :now)"
    " AND (attribute_not_exists(#exp) OR #exp > :now)"
    " AND attribute_exists(ivl)"
)
# What is older never overwrites what is newer.
_OLDER = "attribute_exists(pk) AND iv < :iv"
_DRAINED = f"{_LIVE} AND (attribute_not_exists(tat) OR tat <= :now)"
_BUSY = f"{_LIVE} AND tat > :now AND nxt <= :now"


class Refused(Exception):
    """The conditional update did not pass; `known` is the item as it stood, None for none."""

    def __init__(self, known: Credential | None) -> None:
        super().__init__("refused")
        self.known = known


def read(table: Table, digest: str) -> Credential | None:
    """Read a key, consistently."""
    item = table.get(_key(digest))
    return None if item is None else from_item(item)


def last_uses(tables: Tables, digests: Sequence[str]) -> dict[str, Micros]:
    """Read when keys were used last, by digest; those never used are left out."""
    found = tables.batch_get_keys([keyspace.KEY.pk(digest) for digest in digests])
    return {keyspace.KEY.rest_of(pk): item["used"] for pk, item in found.items() if "used" in item}


def known(tables: Tables, digests: Sequence[str]) -> dict[str, Credential]:
    """Read keys by digest, a moment old at most; unknown ones are left out."""
    found: dict[str, Credential] = {}
    wanted = list(dict.fromkeys(digests))
    for start in range(0, len(wanted), 100):
        keys = [keyspace.KEY.pk(digest) for digest in wanted[start : start + 100]]
        for item in tables.batch_get_keys(keys).values():
            one = from_item(item)
            found[one.digest] = one
    return found


def spend(table: Table, digest: str, *, busy: bool, now: Micros) -> Credential:
    """Spend one request of a limited key in one conditional update, or raise Refused.

    DynamoDB has neither max() nor arithmetic in a condition, so GCRA's two cases are two
    updates: a drained key starts from now, a busy one moves on by an interval.
    """
    if busy:
        expression = "SET tat = tat + ivl, nxt = nxt + ivl, used = :now"
        condition = _BUSY
    else:
        expression = "SET tat = :now + ivl, nxt = :now + #ref, used = :now"
        condition = _DRAINED
    names = {"#exp": "exp", "#over": "over"}
    if not busy:
        names["#ref"] = "ref"
    try:
        item = table.update(
            _key(digest),
            expression,
            condition=condition,
            names=names,
            values={":now": now, ":true": True, ":active": "active"},
        )
    except ConditionFailed as failed:
        raise Refused(from_item(failed.item) if failed.item else None) from failed
    return from_item(item)


def touch(table: Table, digest: str, now: Micros) -> None:
    """Note the use of an unlimited key. Raises ConditionFailed where it is gone."""
    table.update(
        _key(digest),
        "SET used = :now",
        condition="attribute_exists(#pk)",
        names={"#pk": "pk"},
        values={":now": now},
    )


def issue(table: Table, known: Credential) -> Write:
    """Write a new looked-up item."""
    return table.put_new(to_item(known))


def revoke(table: Table, digest: str, at: Micros, *, now: Micros) -> Write:
    """Set the moment from which the key is refused.

    Where that is now, a mark says so too: an authorizer whose clock is a little behind would
    otherwise go on letting the key through.
    """
    over = at <= now
    return table.change(
        _key(digest),
        "SET rev = :at" + (", #over = :true" if over else ""),
        condition="attribute_exists(#pk)",
        names={"#pk": "pk"} | ({"#over": "over"} if over else {}),
        values={":at": at} | ({":true": True} if over else {}),
    )


def amend(
    table: Table,
    digest: str,
    *,
    enabled: bool,
    expires_at: Micros | None,
    rate_limit: int | None,
) -> Write:
    """Write what a PATCH may change, all of it, since both items of a key always agree.

    `tat` stays whatever the new limit: it only ever grows, which is what lets an environment
    trust its memory of it, and the window of every limit is the same minute.
    """
    sets, removes = ["en = :en"], []
    names = {"#pk": "pk", "#exp": "exp"}
    values: dict[str, Any] = {":en": enabled}
    if expires_at is None:
        removes.append("#exp")
    else:
        sets.append("#exp = :exp")
        values |= {":exp": expires_at}
    names["#ref"] = "ref"
    if rate_limit is None:
        removes += ["lim", "ivl", "#ref", "nxt"]
    else:
        numbers = rules.pace(rate_limit)
        sets += [
            "lim = :lim",
            "ivl = :ivl",
            "#ref = :ref",
            "nxt = if_not_exists(tat, :zero) + :back",
        ]
        values |= {
            ":lim": rate_limit,
            ":ivl": numbers.interval,
            ":ref": numbers.refill,
            ":zero": 0,
            ":back": numbers.interval - rate_limit * numbers.interval,
        }
    expression = f"SET {', '.join(sets)}" + (f" REMOVE {', '.join(removes)}" if removes else "")
    return table.change(
        _key(digest), expression, condition="attribute_exists(#pk)", names=names, values=values
    )


def follow(table: Table, digest: str, *, owner: Owner) -> None:
    """Carry an identity's state into a key of it, unless the key knows a newer one already.

    Grants are left alone: whoever read them a moment ago may have been overtaken by a `cut`.
    """
    expression, values = _following(owner)
    with contextlib.suppress(ConditionFailed):
        table.update(_key(digest), expression, condition=_OLDER, names={}, values=values)


def cut(table: Table, digest: str, *, owner: Owner, grants: Grants, enabled: bool) -> Write:
    """Carry an identity's state and narrower grants into a key, for a transaction."""
    expression, values = _following(owner)
    return table.change(
        _key(digest),
        f"{expression}, sc = :sc, pm = :pm, en = :en",
        condition=_OLDER,
        names={},
        values=values
        | {
            ":sc": list(grants.scopes),
            ":pm": grants.permissions.to_dict(),
            ":en": enabled,
        },
    )


def _following(owner: Owner) -> tuple[str, dict[str, Any]]:
    return (
        "SET adm = :adm, claw = :claw, mem = :mem, iv = :iv",
        {
            ":adm": owner.is_admin,
            ":claw": owner.claw_type,
            ":mem": owner.membership,
            ":iv": owner.version,
        },
    )


def to_item(known: Credential) -> Item:
    """Write the whole item, as it is when a key is made."""
    item: dict[str, Any] = {
        **_key(known.digest),
        "id": known.key_id,
        "acc": known.account_id,
        "own": known.owner.identity_id,
        "iv": known.owner.version,
        "pre": known.key_prefix,
        "adm": known.owner.is_admin,
        "claw": known.owner.claw_type,
        "mem": known.owner.membership,
        "op": known.operator,
        "sc": list(known.grants.scopes),
        "pm": known.grants.permissions.to_dict(),
        "en": known.enabled,
    }
    if known.rate_limit is not None:
        numbers = rules.pace(known.rate_limit)
        item |= {"lim": known.rate_limit, "ivl": numbers.interval, "ref": numbers.refill}
    if known.expires_at is not None:
        item["exp"] = known.expires_at
    return item


def from_item(item: Item) -> Credential:
    """Read the item back, however it was changed since."""
    return Credential(
        digest=keyspace.KEY.rest_of(item["pk"]),
        key_id=item["id"],
        account_id=item["acc"],
        key_prefix=item["pre"],
        owner=Owner(item["own"], item["adm"], item["claw"], item["mem"], item["iv"]),
        grants=Grants(tuple(item["sc"]), Permissions.from_dict(item["pm"])),
        operator=item["op"],
        enabled=item["en"],
        rate_limit=item.get("lim"),
        expires_at=item.get("exp"),
        revoked_at=item.get("rev"),
        ended=item.get("over", False),
        tat=item.get("tat"),
        last_used_at=item.get("used"),
    )


def _key(digest: str) -> dict[str, str]:
    return {"pk": keyspace.KEY.pk(digest)}
