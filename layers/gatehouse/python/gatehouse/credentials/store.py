"""The looked-up item, `KEY#<sha256>` in the keys table, under 1 KiB for the usual key.

Attribute names are short because every authorised request reads and writes the item:
id, acc, own, iv, pre, adm, claw, mem, op, sc, pm, en, lim, ivl, ref, exp, rev, over, tat, nxt and
used; next on a key in the grace of a rotation, and prev, prev_until and prev_used on its successor.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants, Permissions
from gatehouse.credentials import rules
from gatehouse.credentials.model import Credential, Owner
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Tables

# A live key with a limit: both conditions below require this before they compare times.
_LIVE = (
    "attribute_exists(pk) AND en = :true AND mem = :active"
    " AND attribute_not_exists(#over) AND (attribute_not_exists(rev) OR rev > :now)"
    " AND (attribute_not_exists(#exp) OR #exp > :now)"
    " AND attribute_not_exists(#next) AND attribute_exists(ivl)"
)
# A predecessor spends its successor's requests. Its own item says whether it is live itself.
_OWNER_ACTIVE = "mem = :active AND attribute_exists(ivl)"
# That item has not changed since, so it need not be read.
_PREDECESSOR_UNCHANGED = "prev = :prev AND prev_until > :now"
_UNUSED = "(attribute_not_exists(tat) OR tat <= :now)"
_BUSY = "tat > :now AND nxt <= :now"
# An older version of the identity never overwrites a newer one.
OWNER_IS_OLDER = "attribute_exists(pk) AND iv < :iv"


class NotAdmitted(Exception):
    """The condition of `spend` failed; `credential` is the item as it was, None if missing."""

    def __init__(self, credential: Credential | None) -> None:
        super().__init__("the condition of the update failed")
        self.credential = credential


def read(table: Table, digest: str) -> Credential | None:
    """Read a credential consistently; None if there is none."""
    item = table.get(item_key(digest))
    return None if item is None else from_item(item)


def read_many(tables: Tables, digests: Sequence[str]) -> dict[str, Credential]:
    """Read credentials by digest, eventually consistently. Unknown digests are left out."""
    found: dict[str, Credential] = {}
    wanted = list(dict.fromkeys(digests))
    for start in range(0, len(wanted), 100):
        keys = [keyspace.KEY.pk(digest) for digest in wanted[start : start + 100]]
        for item in tables.batch_get_keys(keys).values():
            credential = from_item(item)
            found[credential.digest] = credential
    return found


def read_last_uses(tables: Tables, digests: Sequence[str]) -> dict[str, Micros]:
    """Read the times of last use by digest. Keys that were never used are left out."""
    items = tables.batch_get_keys([keyspace.KEY.pk(digest) for digest in digests])
    used = {pk: item["used"] for pk, item in items.items() if "used" in item}
    # In a grace the uses of the old key are written to its successor.
    successors = {keyspace.KEY.pk(item["next"]): pk for pk, item in items.items() if "next" in item}
    for pk, item in tables.batch_get_keys(list(successors)).items() if successors else ():
        if item.get("prev") == keyspace.KEY.rest_of(successors[pk]) and "prev_used" in item:
            used[successors[pk]] = item["prev_used"]
    return {keyspace.KEY.rest_of(pk): at for pk, at in used.items()}


def spend(table: Table, digest: str, *, busy: bool, now: Micros) -> Credential:
    """Spend one request of a limited key in one conditional update. Raises NotAdmitted."""
    return _spend(
        table,
        digest,
        busy=busy,
        used="used",
        condition=_LIVE,
        names={"#exp": "exp", "#over": "over", "#next": "next"},
        values={":now": now, ":true": True, ":active": "active"},
    )


def spend_as_predecessor(
    table: Table, digest: str, *, predecessor: str, busy: bool, unchanged: bool, now: Micros
) -> Credential:
    """Spend one request of a successor's limit for the old key. Raises NotAdmitted.

    `unchanged` also requires that the old key is in its grace and its item was not changed, for
    callers who have not read that item now. Returns the successor.
    """
    condition, values = _OWNER_ACTIVE, {":now": now, ":active": "active"}
    if unchanged:
        condition = f"{condition} AND {_PREDECESSOR_UNCHANGED}"
        values[":prev"] = predecessor
    return _spend(
        table,
        digest,
        busy=busy,
        used="prev_used",
        condition=condition,
        names={},
        values=values,
    )


def write_last_use(table: Table, digest: str, now: Micros, *, of_predecessor: bool = False) -> None:
    """Write an unlimited key's last use. Raises ConditionFailed if the item is missing."""
    table.update(
        item_key(digest),
        "SET prev_used = :now" if of_predecessor else "SET used = :now",
        condition="attribute_exists(#pk)",
        names={"#pk": "pk"},
        values={":now": now},
    )


def update_owner(table: Table, digest: str, *, owner: Owner) -> None:
    """Copy an identity into the item, unless the item has this version or a newer one.

    The grants stay as they are: a `writes.narrow` may have written newer ones since the caller
    read them.
    """
    expression, values = owner_update(owner)
    with contextlib.suppress(ConditionFailed):
        table.update(
            item_key(digest), expression, condition=OWNER_IS_OLDER, names={}, values=values
        )


def owner_update(owner: Owner) -> tuple[str, dict[str, Any]]:
    """Return the update expression that copies an identity into the item, and its values."""
    return (
        "SET adm = :adm, claw = :claw, mem = :mem, iv = :iv",
        {
            ":adm": owner.is_admin,
            ":claw": owner.claw_type,
            ":mem": owner.membership,
            ":iv": owner.version,
        },
    )


def to_item(credential: Credential) -> Item:
    """Return the item of a new key. It has no last use, revocation or successor yet.

    It has a `tat` if it takes over the limit of the key that it succeeds.
    """
    item: dict[str, Any] = {
        **item_key(credential.digest),
        "id": credential.key_id,
        "acc": credential.account_id,
        "own": credential.owner.identity_id,
        "iv": credential.owner.version,
        "pre": credential.key_prefix,
        "adm": credential.owner.is_admin,
        "claw": credential.owner.claw_type,
        "mem": credential.owner.membership,
        "op": credential.operator,
        "sc": list(credential.grants.scopes),
        "pm": credential.grants.permissions.to_dict(),
        "en": credential.enabled,
    }
    if credential.rate_limit is not None:
        pace = rules.pace(credential.rate_limit)
        item |= {"lim": credential.rate_limit, "ivl": pace.interval, "ref": pace.refill}
        if credential.tat is not None:
            item["nxt"] = rules.next_request_at(credential.rate_limit, credential.tat)
    if credential.tat is not None:
        item["tat"] = credential.tat
    if credential.expires_at is not None:
        item["exp"] = credential.expires_at
    if credential.predecessor is not None:
        item |= {"prev": credential.predecessor, "prev_until": credential.predecessor_until}
    return item


def from_item(item: Item) -> Credential:
    """Return the credential that an item holds."""
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
        successor=item.get("next"),
        predecessor=item.get("prev"),
        predecessor_until=item.get("prev_until"),
        predecessor_used_at=item.get("prev_used"),
    )


def item_key(digest: str) -> dict[str, str]:
    """Return the primary key of a credential's item."""
    return {"pk": keyspace.KEY.pk(digest)}


def _spend(
    table: Table,
    digest: str,
    *,
    busy: bool,
    used: str,
    condition: str,
    names: Mapping[str, str],
    values: Mapping[str, Any],
) -> Credential:
    """Move the limit of a key on by one request, and set the attribute `used`.

    DynamoDB has neither max() nor arithmetic in a condition, so GCRA's two cases are two
    updates: an unused key (`busy` False) starts at now, a busy one moves on by an interval.
    """
    if busy:
        expression = f"SET tat = tat + ivl, nxt = nxt + ivl, {used} = :now"
    else:
        expression = f"SET tat = :now + ivl, nxt = :now + #ref, {used} = :now"
        names = {**names, "#ref": "ref"}
    try:
        item = table.update(
            item_key(digest),
            expression,
            condition=f"{condition} AND {_BUSY if busy else _UNUSED}",
            names=names,
            values=values,
        )
    except ConditionFailed as failed:
        raise NotAdmitted(from_item(failed.item) if failed.item else None) from failed
    return from_item(item)
